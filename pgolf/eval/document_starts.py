"""Where the validation stream's documents begin.

Position and target as in `pgolf.eval.windows`. Arrays are int64.
"""

import numpy as np
import numpy.typing as npt

from pgolf.eval.chunks import shares
from pgolf.eval.windows import Int64Array


def document_borders(tokens: npt.NDArray[np.uint16], bos_id: int) -> Int64Array:
    """Borders [K + 1] of the documents of x[0..N]: document k reads positions borders[k] .. borders[k + 1] - 1.

    Its targets are one further on, so that of the next document it has the BOS as its last target. The first one
    begins at 0 even without a BOS; a BOS at N begins none, since nothing follows it.
    """
    targets = tokens.size - 1
    starts = np.flatnonzero(tokens[1:targets] == bos_id) + 1
    return np.concatenate([[0], starts, [targets]]).astype(np.int64)


def document_shares(borders: Int64Array, parts: int) -> Int64Array:
    """Borders [parts + 1] of contiguous shares of the documents, of about as many targets each."""
    found: Int64Array = np.searchsorted(borders, shares(int(borders[-1]), parts))
    return found
