"""What the training stage hands to its ranks, and what they hand back: files in the output folder. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel

from pgolf.rank_job import RankJob
from pgolf.train.config import TrainStageConfig

CHECKPOINT_FILE = "checkpoint.safetensors"
LEDGER_FILE = "train.json"
LOG_FILE = "train.log"


class Job(RankJob):
    """One training run as its ranks get it. log_every_steps: steps between two lines of the log."""

    config: TrainStageConfig
    seed: int
    data: Path
    log_every_steps: int


class LoggedLoss(BaseModel):
    """The mean loss of one step's targets, before that step."""

    step: int
    loss_nats: float
    elapsed_s: float


class Ledger(BaseModel):
    """What a finished run says about itself. phases_s: wall seconds of rank 0 by phase; `train` is the timed part."""

    seed: int
    steps: int
    stream_position: int
    tokens: int
    device: str
    processes: int
    threads: int
    torch_version: str
    phases_s: dict[str, float]
    losses: list[LoggedLoss]
