"""Uses up the rest of a budget: moves rows of a packing that fits to the grids of a finer plan, as long as it fits."""

from collections.abc import Callable, Sequence

import torch

from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial


class Halving:
    """How many of the first rows fit: all of them are tried first, then the middle of what is open.

    Invariant, whatever the sizes: few <= many; `few` rows fit (none do untried); `many` is all rows, or `many` + 1 did
    not fit. Where sizes grow with the rows, `few` ends as the most rows that fit.

    rows: to be tried next, more than `few` and at most `many`, as long as `is_open`.
    """

    def __init__(self, rows: int) -> None:
        self.few, self.many, self.rows = 0, rows, rows

    @property
    def is_open(self) -> bool:
        """Whether there is something left to try."""
        return self.few < self.many

    def add(self, *, fits: bool) -> None:
        """Take in whether `rows` rows fit."""
        if fits:
            self.few = self.rows
        else:
            self.many = self.rows - 1
        self.rows = (self.few + self.many + 1) // 2


class Filling:
    """`best`, a packing that fits, made finer row by row.

    Invariant: `best` fits, and of every tensor some first rows are on the grids of the last plan taken, the others as
    they were. So from one `best` to the next rows only move to the plan being taken.

    pack: packs a plan. It ends when at most `unused_bytes` of the limit are left, or `most_packed` plans were packed.
    """

    def __init__(
        self,
        best: Trial,
        pack: Callable[[Plan], Trial],
        *,
        limit_bytes: int,
        unused_bytes: float,
        most_packed: int,
    ) -> None:
        self.best = best
        self._pack = pack
        self._limit_bytes = limit_bytes
        self._unused_bytes = unused_bytes
        self._left = most_packed

    @property
    def is_done(self) -> bool:
        """Whether the budget is used, or enough was tried."""
        return self._limit_bytes - len(self.best.file_bytes) <= self._unused_bytes or not self._left

    def take(self, finer: Plan) -> None:
        """Let rows take the grids of `finer`, in its order of tensors and first to last.

        Where one more row takes the codec across a step in size, the rest of its tensor stays as it is and the next
        tensors go on.
        """
        names = list(finer.grids)
        while names and not self.is_done:
            taken = self._take_first_rows(names, finer)
            while names and taken >= 0:
                taken -= _rows(finer, names.pop(0))

    def _take_first_rows(self, names: Sequence[str], finer: Plan) -> int:
        """How many of the first rows of the tensors named could be taken, and now are."""
        base = self.best.plan
        halving = Halving(sum(_rows(finer, name) for name in names))
        while halving.is_open and not self.is_done:
            self._left -= 1
            trial = self._pack(mixed(names, finer, base, halving.rows))
            if trial.fits:
                self.best = trial
            halving.add(fits=trial.fits)
        return halving.few


def mixed(names: Sequence[str], finer: Plan, coarser: Plan, rows: int) -> Plan:
    """The first so many rows of the tensors named on the grids of one plan, all others on those of another."""
    grids = dict(coarser.grids)
    left = rows
    for name in names:
        one, other = finer.grids[name], coarser.grids[name]
        assert isinstance(one, RowScales)
        assert isinstance(other, RowScales)
        if left >= len(one.scale):
            grids[name] = one
        elif left > 0:
            grids[name] = RowScales(torch.cat([one.scale[:left], other.scale[left:]]), one.levels)
        left -= len(one.scale)
    return Plan(rung=f"{finer.rung} in part", grids=grids)


def _rows(plan: Plan, name: str) -> int:
    grid = plan.grids[name]
    assert isinstance(grid, RowScales), f"{name}: a filling mixes plans of row scales, not of {grid} bits"
    return len(grid.scale)
