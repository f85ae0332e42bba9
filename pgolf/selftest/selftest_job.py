"""Job file of the selftest's ranks, and the files that each writes per check. Imports no torch."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from pgolf.ranks.job import RankJob

MEASURED_FILE = "measured-{check}-{rank}.json"


class SelftestJob(RankJob):
    """checks: names, in the order in which they run. ends_s: by the monotonic clock, which all processes share: no
    check begins later, and one that runs is ended then.
    """

    checks: tuple[str, ...]
    toy: bool
    ends_s: float


class Measured(BaseModel):
    """What one rank measured. numbers: None if the time was over before it began."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # an error that is not finite is a finding

    numbers: dict[str, Any] | None
    wall_s: float


def measured_file(check: str, rank: int) -> str:
    """Its name, in the job's folder."""
    return MEASURED_FILE.format(check=check.replace(" ", "_"), rank=rank)
