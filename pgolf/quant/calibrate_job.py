"""Job file of a calibration in a process of its own, and the ledger that it returns. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel

from pgolf.quant.config import CalibrateConfig
from pgolf.ranks.job import RankJob
from pgolf.run_options import Fact

LEDGER_FILE = "calibrate.json"
LOG_FILE = "calibrate.log"


class Job(RankJob):
    """A calibration job. inputs: role -> folder."""

    config: CalibrateConfig
    inputs: dict[str, Path]


class Ledger(BaseModel):
    """What the calibration reports of itself, as `pgolf.run_options.Made` does."""

    phases_s: dict[str, float]
    facts: dict[str, Fact]
