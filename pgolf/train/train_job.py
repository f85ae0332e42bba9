"""Job file of the train stage's ranks, and the files they write to the output folder. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgolf.ranks.job import RankJob
from pgolf.train.config import TrainStageConfig

CHECKPOINT_FILE = "checkpoint.safetensors"
LEDGER_FILE = "train.json"
LOG_FILE = "train.log"


class CheckpointPlace(BaseModel):
    """Where and how often the ranks save checkpoints of the unfinished training.

    of: facts that a checkpoint must match to be resumed. resumes: the folder holds a usable one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    every_s: float
    of: dict[str, str | int]
    resumes: bool


class Job(RankJob):
    """A training job. log_every_steps: steps between lines of the log."""

    config: TrainStageConfig
    seed: int
    data: Path
    log_every_steps: int
    checkpoints: CheckpointPlace | None = None


# Of one step: the mean loss of its targets, in nats, before that step; and the training clock after it, in seconds.
StepLoss = tuple[float, float]


class Reached(BaseModel):
    """Progress of an unfinished training. rounding: whether late QAT is on. snapshots: number taken for SWA.

    losses: of every step so far. resumed_at: steps at which it was resumed after a kill.
    """

    steps: int
    elapsed_s: float
    rounding: bool
    snapshots: int
    losses: list[StepLoss]
    resumed_at: list[int]


class Ledger(BaseModel):
    """Account of a finished run. phases_s: wall seconds of rank 0 by phase.

    train_clock_s: the slowest rank's seconds from before the first step until the device had finished the last,
    including time before kills; rates and stop follow this clock. resumed_at: steps at which it was resumed after a
    kill. interrupted: the run stops by the clock and was resumed, so it does not count as a run within that clock.
    losses: of every step.
    """

    seed: int
    steps: int
    stream_position: int
    tokens: int
    device: str
    processes: int
    threads: int
    torch_version: str
    phases_s: dict[str, float]
    train_clock_s: float
    resumed_at: list[int]
    interrupted: bool
    losses: list[StepLoss]
