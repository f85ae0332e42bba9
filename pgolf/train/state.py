"""Everything that the next step of a training depends on, and who keeps it for after a kill."""

from typing import Protocol

from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.train.averaging import WeightAverage
from pgolf.train.optimizers import Optimizers
from pgolf.train.train_job import LoggedLoss, Reached


class TrainingState:
    """shared: the tensors that are the same on all ranks, by name. own: those of this rank. Both where they lie.

    steps: done so far, in elapsed_s. rounding: the late one is on. The data's position follows from steps, and nothing
    draws random numbers.
    """

    def __init__(self, model: GPT, optimizers: Optimizers, average: WeightAverage) -> None:
        weights = {f"weight.{name}": tensor for name, tensor in model.state_dict().items()}
        self.shared: dict[str, Tensor] = weights | optimizers.shared_state() | average.sums()
        self.own: dict[str, Tensor] = optimizers.own_state()
        self.average = average
        self.steps, self.elapsed_s, self.rounding = 0, 0.0, False

    @property
    def snapshots(self) -> int:
        """How many are in the sums of their mean."""
        return 0 if self.average.snapshots is None else self.average.snapshots.count

    @snapshots.setter
    def snapshots(self, count: int) -> None:
        if self.average.snapshots is not None:
            self.average.snapshots.count = count


class Keeper(Protocol):
    """Keeps states of an unfinished training, and begins with the last one kept.

    start: where that is; None: at the beginning. losses: those logged so far, which whoever logs adds to.
    is_told_to_end: this rank's process is to end. All ranks call the same methods in the same order.
    """

    losses: list[LoggedLoss]
    is_told_to_end: bool

    @property
    def start(self) -> Reached | None:
        """Where the training begins."""

    def restore(self, state: TrainingState) -> None:
        """Put the state where it was kept; called once, before the clock starts."""

    def is_due(self, elapsed_s: float) -> bool:
        """Whether the state after the step now on its way is to be kept; the same on all ranks. Called once a step."""

    def keep(self, state: TrainingState) -> None:
        """Keep the state; returns as soon as training may change it."""

    def keep_last(self, state: TrainingState) -> None:
        """Keep the state for good before the process ends."""


def resumed_at(start: Reached | None) -> list[int]:
    """The steps at which a training that began there has gone on after a kill."""
    return [] if start is None else [*start.resumed_at, start.steps]
