"""Packings that are tried in turn: each quantized, packed and put on record, whatever policy asks for it."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pgolf.model.checkpoint import Checkpoint
from pgolf.pack.clock import Clock
from pgolf.pack.container import serialize
from pgolf.pack.packing import Packing, packed_in_order
from pgolf.pack.plan import Plan
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.size import least_bytes
from pgolf.pack.weights import Stored, to_content
from pgolf.run import Fact, Progress, RunOptions

# Levels that pack 27 MB within some seconds: they are always tried. Their sizes are hardest to predict, too, as what
# they save on one tensor depends on its neighbours.
FAST_ZSTD = 9


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

    code_bytes: what the code takes of the budget. skipped: packings left out as hopeless.
    """

    def __init__(
        self, checkpoint: Checkpoint, quantizer: Quantizer, code_bytes: int, run: RunOptions, clock: Clock
    ) -> None:
        self.rows: list[dict[str, object]] = []
        self.smallest: Trial | None = None
        self.skipped = 0
        self.limit_bytes = quantizer.config.budget_bytes - code_bytes
        self._checkpoint = checkpoint
        self._quantizer = quantizer
        self._code_bytes = code_bytes
        self._run = run
        self._clock = clock

    def of(
        self,
        plans: Sequence[Plan],
        *,
        total_plans: int,
        levels: Sequence[int] | None = None,
        like: Mapping[int, Trial] | None = None,
    ) -> Generator[Trial, None, None]:
        """Every plan at every level (default: the configured ones), in order, until the generator is closed.

        total_plans: how many there may be in all, for the progress shown. like: by level, a packing of another plan;
        what then takes more than the budget at the least (`least_bytes`) is left out.
        """
        packings = self._packings(plans, levels or self._quantizer.config.levels, like or {})
        total = total_plans * len(self._quantizer.config.levels)
        with closing(packed_in_order(packings, self._quantizer.workers, first_alone=not self.rows)) as finished:
            for packing, file_bytes in finished:
                self._clock.lap("pack")
                yield self._recorded(packing, file_bytes, total)

    def _packings(self, plans: Sequence[Plan], levels: Sequence[int], like: Mapping[int, Trial]) -> Iterator[Packing]:
        config, dtypes = self._quantizer.config, self._quantizer.dtypes
        for plan in plans:
            stored = self._quantizer.stored(plan)
            decoded = serialize(to_content(stored, dtypes, self._checkpoint.config, self._checkpoint.facts))
            self._clock.lap("quantize")
            for level in levels:
                slow = config.codec != "zstd" or level > FAST_ZSTD
                if slow and self._is_hopeless(stored, like.get(level)):
                    self.skipped += 1
                else:
                    yield Packing(plan, stored, decoded, config.codec, level)

    def _is_hopeless(self, stored: Mapping[str, Stored], like: Trial | None) -> bool:
        return like is not None and least_bytes(stored, like.stored, len(like.file_bytes)) > self.limit_bytes

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
        done = len(self.rows) + self.skipped
        self._run.report(Progress(stage="compress", done=done, total=max(done, total), unit="attempts", facts=facts))
        return trial
