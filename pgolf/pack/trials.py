"""Tries plans for a policy: quantizes and packs each, and keeps a row of every packing."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pgolf.model.checkpoint import Checkpoint
from pgolf.pack.clock import Clock
from pgolf.pack.container import serialize
from pgolf.pack.packing import PackedParts, Packing, packed_in_order
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan
from pgolf.pack.weights import Stored, to_content
from pgolf.run_options import Fact, Progress, RunOptions


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One packing that was tried. total_bytes: the file's and the code's."""

    number: int
    plan: Plan
    level: int
    stored: Mapping[str, Stored]
    file_bytes: bytes
    total_bytes: int
    fits: bool


class Trials:
    """Packs plans and keeps the record: `rows`, one per packing, and the smallest packing so far.

    code_bytes: what the code takes of the budget. No part of a file is packed twice.
    """

    def __init__(
        self, checkpoint: Checkpoint, quantizer: Quantizer, code_bytes: int, run: RunOptions, clock: Clock
    ) -> None:
        self.checkpoint = checkpoint
        self.rows: list[dict[str, object]] = []
        self.smallest: Trial | None = None
        self.limit_bytes = quantizer.config.budget_bytes - code_bytes
        self._quantizer = quantizer
        self._code_bytes = code_bytes
        self._run = run
        self._clock = clock
        self._parts = PackedParts()

    def of(
        self, plans: Iterable[Plan], *, total_plans: int, levels: Sequence[int] | None = None
    ) -> Generator[Trial, None, None]:
        """Every plan at every level (default: the configured ones), in order, until the generator is closed.

        total_plans: how many there may be in all, for the progress shown.
        """
        packings = self._packings(plans, levels or self._quantizer.config.levels)
        total = total_plans * len(self._quantizer.config.levels)
        first_alone = not self.rows
        with closing(packed_in_order(packings, self._quantizer.workers, self._parts, first_alone=first_alone)) as done:
            for packing, file_bytes in done:
                self._clock.lap("pack")
                yield self._recorded(packing, file_bytes, total)

    def _packings(self, plans: Iterable[Plan], levels: Sequence[int]) -> Iterator[Packing]:
        config, dtypes = self._quantizer.config, self._quantizer.dtypes
        for plan in plans:
            stored = self._quantizer.stored(plan)
            decoded = serialize(to_content(stored, dtypes, self.checkpoint.config, self.checkpoint.facts))
            self._clock.lap("quantize")
            for level in levels:
                yield Packing(plan, stored, decoded, config.codec, level)

    def _recorded(self, packing: Packing, file_bytes: bytes, total: int) -> Trial:
        total_bytes = len(file_bytes) + self._code_bytes
        trial = Trial(
            number=len(self.rows),
            plan=packing.plan,
            level=packing.level,
            stored=packing.stored,
            file_bytes=file_bytes,
            total_bytes=total_bytes,
            fits=len(file_bytes) <= self.limit_bytes,
        )
        self.rows.append(
            {
                "attempt": trial.number,
                "policy": self._quantizer.config.policy,
                "rung": trial.plan.rung,
                "codec": packing.codec,
                "level": trial.level,
                "size_bytes": len(file_bytes),
                "total_bytes": total_bytes,
                "fits": trial.fits,
            }
        )
        if self.smallest is None or trial.total_bytes < self.smallest.total_bytes:
            self.smallest = trial
        facts: dict[str, Fact] = {"total_bytes": total_bytes, "level": trial.level, "rung": trial.plan.rung}
        done = len(self.rows)
        self._run.report(Progress(stage="compress", done=done, total=max(done, total), unit="attempts", facts=facts))
        return trial
