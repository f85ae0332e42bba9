"""Orders in which the targets of a text can be scored.

An order gives each target its place, [N], from the lengths of the documents alone. Shapes: N targets, D documents.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from pgolf.audit.scorer import Tokens

Places = npt.NDArray[np.int64]
Order = Callable[[Tokens, int | None], Places]


def document_of_target(tokens: Tokens, bos_id: int | None) -> Places:
    """The document that each target belongs to, [N], from 0: that of the token before it.

    So a document's last target is the start of the next one, as in pgolf.eval and in the challenge's scripts.
    """
    if bos_id is None:
        return np.zeros(len(tokens) - 1, dtype=np.int64)
    return np.cumsum(tokens[:-1] == bos_id) - int(tokens[0] == bos_id)


def _in_file_order(tokens: Tokens, _bos_id: int | None) -> Places:
    return np.arange(len(tokens) - 1)


def _by_length(sign: int) -> Order:
    def places(tokens: Tokens, bos_id: int | None) -> Places:
        document_N = document_of_target(tokens, bos_id)
        length_D = np.bincount(document_N)
        turn_D = np.empty(len(length_D), dtype=np.int64)
        turn_D[np.argsort(sign * length_D, kind="stable")] = np.arange(len(length_D))
        place_N = np.empty(len(document_N), dtype=np.int64)
        place_N[np.lexsort((np.arange(len(document_N)), turn_D[document_N]))] = np.arange(len(document_N))
        return place_N

    return places


ORDERS: Mapping[str, Order] = {
    "file": _in_file_order,
    "shortest document first": _by_length(1),
    "longest document first": _by_length(-1),
}
