"""The network's loss by where a target stands and what it is: sums over parts of the validation text, from its trace.

Read once, block by block: besides the tokens it holds one block of the trace and some numbers per document.
Shapes: T targets of a block, K documents, P parts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import Dataset
from pgolf.corpus.model_file import read_model
from pgolf.corpus.shards import Tokens, validation_bytes, validation_tokens
from pgolf.corpus.token_kinds import KINDS, token_kinds
from pgolf.errors import DataError
from pgolf.eval.document_starts import document_borders
from pgolf.eval.trace import Trace, iterate_trace, read_plan
from pgolf.eval.windows import Int64Array, WindowPlan

# Parts of the last stride of a window, where nearly all targets stand.
_LAST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """One part. low, high: least and greatest value in it, both included; None for a kind of token."""

    by: str
    number: int
    label: str
    low: int | None
    high: int | None
    targets: int
    bytes: int
    loss_sum_nats: float
    entropy_sum_nats: float


class Sums:
    """Sums per part. edges [P + 1]: part p holds the values edges[p] .. edges[p + 1] - 1."""

    def __init__(self, by: str, edges: Int64Array) -> None:
        self.by = by
        self._edges = edges
        self._sums_4P = np.zeros((4, len(edges) - 1))
        # A table: values are looked up faster than they are sought.
        self._part_of = np.repeat(np.arange(len(edges) - 1, dtype=np.int16), np.diff(edges))

    def add(self, value_T: Int64Array, columns: list[npt.NDArray[np.float64]]) -> None:
        """Add targets by their values; columns: loss, entropy and bytes of each."""
        part_T = self._part_of[np.minimum(value_T, len(self._part_of) - 1)]
        for row, weights in enumerate([None, *columns]):
            self._sums_4P[row] += np.bincount(part_T, weights=weights, minlength=self._sums_4P.shape[1])

    def parts(self, labels: tuple[str, ...] = ()) -> Iterator[Part]:
        """The parts that hold any target, in order; each is named by its values, or by its label."""
        for number, (targets, loss, entropy, size) in enumerate(self._sums_4P.T):
            if targets:
                low, high = int(self._edges[number]), int(self._edges[number + 1]) - 1
                label = labels[number] if labels else f"{low:,}" if low == high else f"{low:,}–{high:,}"
                values: tuple[int | None, int | None] = (None, None) if labels else (low, high)
                sums = int(targets), int(size), float(loss), float(entropy)
                yield Part(self.by, number, label, values[0], values[1], *sums)


def break_down(trace_path: Path, dataset: Dataset) -> list[Part]:
    """The parts of the validation text by position, offset, length and kind.

    position: tokens of context before the target in its window. offset: tokens before it in its document. length:
    targets of its document. kind: what its token stands for (`pgolf.corpus.token_kinds`).
    Raises DataError or a subclass for files that cannot be read, or a trace of other tokens.
    """
    plan = read_plan(trace_path)
    tokens = validation_tokens(dataset, window=plan.window)
    if tokens.size - 1 != plan.targets:
        raise DataError(
            f"{trace_path} is of {plan.targets:,} targets, {dataset.folder} has {tokens.size - 1:,}; "
            "they belong to different data"
        )
    borders_K = document_borders(tokens, dataset.bos_id)
    longest = int(np.diff(borders_K).max())
    length_K = np.diff(borders_K)
    position = Sums("position", _position_edges(plan))
    offset, length = Sums("offset", _doubling(longest)), Sums("length", _doubling(longest + 1))
    kind = Sums("kind", np.arange(len(KINDS) + 1, dtype=np.int64))
    kind_V = token_kinds(read_model(dataset.tokenizer_model), dataset.vocab_size).astype(np.int64)
    bytes_of = _bytes_of(dataset, tokens)
    for block, context_T in _with_context(trace_path, plan):
        read_T = block.target - 1
        document_T = np.searchsorted(borders_K, read_T, side="right") - 1
        columns = [block.loss_nats.astype(np.float64), block.entropy_nats.astype(np.float64), bytes_of(block.target)]
        position.add(context_T, columns)
        offset.add(read_T - borders_K[document_T], columns)
        length.add(length_K[document_T], columns)
        kind.add(kind_V[tokens[block.target]], columns)
    return [*position.parts(), *offset.parts(), *length.parts(), *kind.parts(KINDS)]


def _with_context(path: Path, plan: WindowPlan) -> Iterator[tuple[Trace, Int64Array]]:
    """Each block of a trace with the number of tokens before each target in its window, its own position excluded."""
    first = 0
    for block in iterate_trace(path):
        last = first + len(block)
        window = int(np.searchsorted(plan.first_record, first, side="right")) - 1
        beyond = int(np.searchsorted(plan.first_record, last, side="left"))
        bounds = np.clip(plan.first_record[window : beyond + 1], first, last)
        yield block, block.target - 1 - np.repeat(plan.start[window:beyond], np.diff(bounds))
        first = last


def _bytes_of(dataset: Dataset, tokens: Tokens) -> Callable[[Int64Array], npt.NDArray[np.float64]]:
    """A function: targets [T], not empty -> bytes of text behind each, float64 [T]; as `pgolf.corpus.target_bytes`."""
    counted = validation_bytes(dataset)
    if counted is not None:
        return lambda target_T: counted[target_T].astype(np.float64)
    table = ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=dataset.vocab_size)

    def of(target_T: Int64Array) -> npt.NDArray[np.float64]:
        first, last = int(target_T.min()), int(target_T.max())
        return table.target_bytes(tokens[first - 1 : last + 1])[target_T - first].astype(np.float64)

    return of


def _doubling(most: int) -> Int64Array:
    """0, 1, 2, 4, … up to a value above `most`."""
    return np.array([0, *(1 << power for power in range(most.bit_length() + 1))], np.int64)


def _position_edges(plan: WindowPlan) -> Int64Array:
    """Doubling up to the last stride, then even parts of it."""
    last = plan.window - plan.stride
    step = max(1, plan.stride // _LAST_PARTS)
    doubling = _doubling(last)
    return np.unique([*doubling[doubling < last], *range(last, plan.window, step), plan.window])
