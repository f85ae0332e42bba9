"""Job file of the score stage's ranks, and the ledger that rank 0 returns. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel

from pgolf.eval.config import ScoreConfig
from pgolf.ranks.job import RankJob
from pgolf.run_options import Fact

LEDGER_FILE = "score.json"


class Job(RankJob):
    """An evaluation job. inputs: role -> folder."""

    config: ScoreConfig
    inputs: dict[str, Path]


class Ledger(BaseModel):
    """Rank 0's account of the run. phases_s: wall seconds by phase. facts: about test-time training."""

    device: str
    phases_s: dict[str, float]
    facts: dict[str, Fact]
