"""What the training stage hands to its ranks, and what they hand back: files in the output folder. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgolf.ranks.job import RankJob
from pgolf.train.config import TrainStageConfig

CHECKPOINT_FILE = "checkpoint.safetensors"
LEDGER_FILE = "train.json"
LOG_FILE = "train.log"


class CheckpointPlace(BaseModel):
    """Where the ranks keep checkpoints of the unfinished training, and how often.

    of: what a checkpoint must be of to be gone on from. resumes: the folder holds one that has been found sound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    every_s: float
    of: dict[str, str | int]
    resumes: bool


class Job(RankJob):
    """One training run as its ranks get it. log_every_steps: steps between two lines of the log."""

    config: TrainStageConfig
    seed: int
    data: Path
    log_every_steps: int
    checkpoints: CheckpointPlace | None = None


class LoggedLoss(BaseModel):
    """The mean loss of one step's targets, before that step."""

    step: int
    loss_nats: float
    elapsed_s: float


class Reached(BaseModel):
    """How far an unfinished training has come. rounding: the late one is on. snapshots: taken for the mean of them.

    resumed_at: steps at which it went on after a kill.
    """

    steps: int
    elapsed_s: float
    rounding: bool
    snapshots: int
    losses: list[LoggedLoss]
    resumed_at: list[int]


class Ledger(BaseModel):
    """What a finished run says about itself. phases_s: wall seconds of rank 0 by phase.

    train_clock_s: the slowest rank's seconds from before the first step until the device had finished the last, which
    set rates and stop; with what it took before the last kill. resumed_at: steps at which it went on after one.
    interrupted: it stopped by the clock and went on after a kill, so what it reached is no run of that clock.
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
    losses: list[LoggedLoss]
