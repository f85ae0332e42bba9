"""Document boundaries in the validation stream, and shares of whole documents.

Position and target as in `pgolf.eval.windows`. Arrays are int64.
"""

import numpy as np
import numpy.typing as npt

from pgolf.eval.chunks import shares
from pgolf.eval.windows import Int64Array


def document_borders(tokens: npt.NDArray[np.uint16], bos_id: int) -> Int64Array:
    """Bounds [K + 1] of the documents of x[0..N]: document k reads positions borders[k] .. borders[k + 1] - 1.

    Its targets are shifted by one, so its last target is the next document's BOS. The first document begins at 0 even
    without a BOS; a BOS at N begins none, since nothing follows it.
    """
    targets = tokens.size - 1
    starts = np.flatnonzero(tokens[1:targets] == bos_id) + 1
    return np.concatenate([[0], starts, [targets]]).astype(np.int64)


def document_shares(borders: Int64Array, parts: int) -> Int64Array:
    """Bounds [parts + 1] of contiguous shares of documents with about equal numbers of targets."""
    found: Int64Array = np.searchsorted(borders, shares(int(borders[-1]), parts))
    return found
