"""What the score stage hands to its ranks, and what rank 0 says about the run. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel

from pgolf.eval.config import ScoreConfig
from pgolf.ranks.job import RankJob
from pgolf.run import Fact

LEDGER_FILE = "score.json"


class Job(RankJob):
    """One evaluation as its ranks get it. inputs: role -> folder."""

    config: ScoreConfig
    inputs: dict[str, Path]


class Ledger(BaseModel):
    """phases_s: wall seconds of rank 0 by phase. facts: what learning came to."""

    device: str
    phases_s: dict[str, float]
    facts: dict[str, Fact]
