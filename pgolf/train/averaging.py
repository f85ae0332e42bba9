"""Weight averaging: EMA, SWA, or SWA of the EMA, the weights that a training run exports."""

from collections.abc import Mapping

from torch import Tensor

from pgolf.errors import TrainingError
from pgolf.train.config import TrainConfig
from pgolf.train.ema import ExponentialAverage
from pgolf.train.swa import SnapshotMean


class WeightAverage:
    """The average selected by `config.average`, without copies of the weights beyond what it needs."""

    def __init__(self, state: Mapping[str, Tensor], config: TrainConfig) -> None:
        self.dtypes = {name: tensor.dtype for name, tensor in state.items()}
        self.ema = None if config.average == "swa" else ExponentialAverage(state, config.ema_decay)
        self.snapshots: SnapshotMean | None = None
        if config.average != "ema":
            self.snapshots = SnapshotMean(
                state if self.ema is None else self.ema.average,
                below_scale=config.swa_below_scale,
                every_steps=config.swa_every_steps,
            )

    def update(self, *, steps_done: int, rate_scale: float) -> None:
        """Add the weights after a step. steps_done: including this step. rate_scale: of this step."""
        if self.ema is not None:
            self.ema.update()
        if self.snapshots is not None:
            self.snapshots.update(steps_done=steps_done, rate_scale=rate_scale)

    def sums(self) -> dict[str, Tensor]:
        """The running sums by name, as references to the live tensors."""
        found = {} if self.ema is None else {f"ema.{name}": tensor for name, tensor in self.ema.average.items()}
        if self.snapshots is not None:
            found |= {f"sum.{name}": tensor for name, tensor in self.snapshots.sums.items()}
        return found

    def state(self, *, steps_done: int) -> dict[str, Tensor]:
        """The averaged weights in their original dtypes. Raises TrainingError if no snapshot was ever taken."""
        if self.snapshots is None:
            assert self.ema is not None
            averages = self.ema.average
        elif self.snapshots.count:
            averages = self.snapshots.mean()
        else:
            raise TrainingError(
                f"none of {steps_done} steps was a multiple of swa_every_steps {self.snapshots.every_steps} with its "
                f"rates below swa_below_scale {self.snapshots.below_scale}, so there is no mean to export; "
                "lower train.swa_every_steps, raise train.swa_below_scale, or export the exponential average "
                "(--set train.average=ema)"
            )
        return {name: average.to(self.dtypes[name]) for name, average in averages.items()}
