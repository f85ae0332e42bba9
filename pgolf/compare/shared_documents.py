"""The documents that all arms scored wholly: equal bytes of one text, whatever their tokens and windows are.

Scored is a whole number of windows, so arms of other tokens or windows end at other places of the text. Their totals
are of other bytes; those of documents that both scored to the end are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from pgolf.compare.arms import Arm, Score
from pgolf.compare.comparison import ByDocument, Per
from pgolf.errors import ResultsError
from pgolf.eval.bpb import bits_per_byte

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLosses:
    """Losses in nats of one scorer by document, seed -> [K]; targets and bytes of each that were scored, [K].

    numbers: of the documents in the text, ascending, [K]. whole: whether all targets of it were scored, each once, [K].
    """

    by_seed: Mapping[int, Float64Array]
    targets: Int64Array
    bytes: Int64Array
    numbers: Int64Array
    whole: BoolArray

    def of(self, numbers: Int64Array) -> "DocumentLosses":
        """Those documents alone; it has all of them."""
        kept = np.searchsorted(self.numbers, numbers)
        return DocumentLosses(
            by_seed={seed: losses[kept] for seed, losses in self.by_seed.items()},
            targets=self.targets[kept],
            bytes=self.bytes[kept],
            numbers=numbers,
            whole=self.whole[kept],
        )

    @property
    def mean(self) -> ByDocument:
        """The mean over its seeds."""
        return ByDocument(loss_nats=np.mean([*self.by_seed.values()], axis=0), targets=self.targets, bytes=self.bytes)

    @property
    def scores(self) -> dict[int, Score]:
        """What every seed comes to over these documents."""
        targets, size = int(self.targets.sum()), int(self.bytes.sum())
        totals = {seed: float(losses.sum()) for seed, losses in self.by_seed.items()}
        return {
            seed: Score(total / targets, bits_per_byte(total, size) if size else None) for seed, total in totals.items()
        }


def on_shared_documents(
    arms: Sequence[Arm], found: Sequence[DocumentLosses], per: Per
) -> tuple[list[Arm], list[DocumentLosses], tuple[str, ...]]:
    """Arms and losses over the documents that all scored wholly, and what to say of it: nothing if they agree.

    Raises ResultsError where no document is left, and for documents of other bytes.
    """
    first = found[0]
    if all(_same(first, other, per) for other in found[1:]):
        return list(arms), list(found), ()
    numbers = reduce(np.intersect1d, (of_arm.numbers[of_arm.whole] for of_arm in found))
    if not len(numbers):
        names = ", ".join(arm.name for arm in arms)
        raise ResultsError(f"no document of the text was scored wholly by all of {names}; validate on more documents")
    common = [of_arm.of(numbers) for of_arm in found]
    for arm, of_arm in zip(arms[1:], common[1:]):
        for number, ours, theirs in zip(numbers, common[0].bytes, of_arm.bytes):
            if ours != theirs:
                raise ResultsError(
                    f"document {number + 1:,} of the text has {ours:,} bytes for {arms[0].name} and {theirs:,} for "
                    f"{arm.name}: the bytes of one are not those of the text; run both with --documents"
                )
    size = int(common[0].bytes.sum())
    left = []
    for arm, of_arm in zip(arms, found):
        count = len(of_arm.numbers) - len(numbers)
        several = "s" if count != 1 else ""
        left.append(f"{count:,} document{several} ({int(of_arm.bytes.sum()) - size:,} bytes) of {arm.name}")
    said = f"compared over the {len(numbers):,} documents ({size:,} bytes) that all arms scored wholly"
    arms = [replace(arm, by_seed=of_arm.scores) for arm, of_arm in zip(arms, common)]
    return arms, common, (said, f"left out: {', '.join(left)}")


def _same(ours: DocumentLosses, theirs: DocumentLosses, per: Per) -> bool:
    """Whether both scored the same targets (or bytes) of the same documents."""
    sizes = (ours.bytes, theirs.bytes) if per == "byte" else (ours.targets, theirs.targets)
    return np.array_equal(ours.numbers, theirs.numbers) and np.array_equal(*sizes)
