"""The complete state of a training run, and the interface of what checkpoints it."""

from typing import Protocol

from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.train.averaging import WeightAverage
from pgolf.train.optimizers import Optimizers
from pgolf.train.train_job import Reached, StepLoss


class TrainingState:
    """Everything the next step depends on. shared: tensors equal on all ranks, by name. own: this rank's. Both live.

    steps: done so far, in elapsed_s. rounding: whether late QAT is on. The data position follows from steps, and no
    random numbers are drawn.
    """

    def __init__(self, model: GPT, optimizers: Optimizers, average: WeightAverage) -> None:
        weights = {f"weight.{name}": tensor for name, tensor in model.state_dict().items()}
        self.shared: dict[str, Tensor] = weights | optimizers.shared_state() | average.sums()
        self.own: dict[str, Tensor] = optimizers.own_state()
        self.average = average
        self.steps, self.elapsed_s, self.rounding = 0, 0.0, False

    @property
    def snapshots_taken(self) -> int:
        """Number of snapshots summed so far."""
        return 0 if self.average.snapshots is None else self.average.snapshots.count

    @snapshots_taken.setter
    def snapshots_taken(self, count: int) -> None:
        if self.average.snapshots is not None:
            self.average.snapshots.count = count


class Keeper(Protocol):
    """Saves checkpoints of an unfinished training, and resumes from the last one.

    losses: of the steps so far; the logger appends to it. is_told_to_end: this rank's process was asked to end.
    All ranks call the same methods in the same order.
    """

    losses: list[StepLoss]
    is_told_to_end: bool

    @property
    def start(self) -> Reached | None:
        """Where training resumes; None: at the beginning."""

    def restore(self, state: TrainingState) -> None:
        """Restore the last checkpoint, if any; called once, before the clock starts."""

    def is_due(self, elapsed_s: float) -> bool:
        """Whether to checkpoint after the current step; the same on all ranks. Called once per step."""

    def keep(self, state: TrainingState) -> None:
        """Save the state; returns as soon as training may change it."""

    def keep_last(self, state: TrainingState) -> None:
        """Save the state before the process ends, and wait until it is durable."""


def resumed_at(start: Reached | None) -> list[int]:
    """All steps at which a training started from `start` was resumed."""
    return [] if start is None else [*start.resumed_at, start.steps]
