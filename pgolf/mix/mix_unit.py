"""The records that mixtures read: the network's loss and entropy, n-gram counts, and hints.

Shapes: T records, O orders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.uint32]
Part = slice | npt.NDArray[np.int64]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Hints:
    """Per order of the hints, one array over the records: c(context), c(context, hint), hint is target, ln p(hint)."""

    context: Sequence[CountArray]
    count: Sequence[CountArray]
    is_target: Sequence[npt.NDArray[np.bool_]]
    logp: Sequence[npt.NDArray[np.float32]]

    def part(self, part: Part) -> "Hints":
        """The same of some of the records."""
        return Hints(
            [column[part] for column in self.context],
            [column[part] for column in self.count],
            [column[part] for column in self.is_target],
            [column[part] for column in self.logp],
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive records with everything a cell can need: the trace's two numbers, each count stage's columns, hints.

    counts: name -> context counts by order, then full counts by order.
    """

    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    counts: Mapping[str, Sequence[CountArray]]
    hints: Hints | None = None

    def __len__(self) -> int:
        return len(self.loss_nats)

    def part(self, part: Part) -> "Unit":
        """The same of some of the records."""
        counts = {name: [column[part] for column in columns] for name, columns in self.counts.items()}
        hints = None if self.hints is None else self.hints.part(part)
        return Unit(self.loss_nats[part], self.entropy_nats[part], counts, hints)


class Prepared:
    """A unit as compiled loops take it, in doubles and whole arrays; what several mixtures need is made once."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.loss_T: Float64Array = unit.loss_nats.astype(np.float64)
        self.p_T: Float64Array = np.exp(-self.loss_T)
        self.place_T = np.arange(len(unit))
        self._made: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.unit)

    def counts(self, name: str) -> CountArray:
        """A count stage's columns: context counts by order, then full counts by order; [2·O, T]."""
        return self.once(name, lambda: np.stack(self.unit.counts[name]))

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """What `make` returns, made when it is first asked for under this key."""
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])
