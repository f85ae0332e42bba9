"""What a training run exports: one of three averages of its weights."""

from collections.abc import Mapping

from torch import Tensor

from pgolf.errors import TrainingError
from pgolf.train.config import TrainConfig
from pgolf.train.ema import ExponentialAverage
from pgolf.train.swa import SnapshotMean


class WeightAverage:
    """The average that `config.average` asks for, and no copy of the weights beyond what it needs."""

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
        """Take in the weights after one step, which was done at `rate_scale` and is counted in `steps_done`."""
        if self.ema is not None:
            self.ema.update()
        if self.snapshots is not None:
            self.snapshots.update(steps_done=steps_done, rate_scale=rate_scale)

    def sums(self) -> dict[str, Tensor]:
        """What has been averaged so far, by name and where it lies."""
        found = {} if self.ema is None else {f"ema.{name}": tensor for name, tensor in self.ema.average.items()}
        if self.snapshots is not None:
            found |= {f"sum.{name}": tensor for name, tensor in self.snapshots.sums.items()}
        return found

    def state(self, *, steps_done: int) -> dict[str, Tensor]:
        """The averaged weights in the formats of the originals. Raises TrainingError if no snapshot was ever taken."""
        if self.snapshots is None:
            assert self.ema is not None
            averages = self.ema.average
        elif self.snapshots.count:
            averages = self.snapshots.mean()
        else:
            raise TrainingError(
                f"none of {steps_done} steps was a multiple of swa_every_steps {self.snapshots.every_steps} with its "
                f"rates below swa_below_scale {self.snapshots.below_scale}, so there is no mean to export; "
                "lower the one, raise the other, or export the exponential average (average ema)"
            )
        return {name: average.to(self.dtypes[name]) for name, average in averages.items()}
