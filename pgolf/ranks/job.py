"""Protocol between a stage and its ranks under torchrun: job file, printed progress.

The stage's side is `pgolf.ranks.run_job`; what a failed rank leaves is `pgolf.ranks.failure`. Imports no torch.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

JOB_FILE = "job.json"

# Rank 0 prints its progress as JSON after this mark. It only moves a progress bar: results are files.
PROGRESS_MARK = "@progress "


class RankJob(BaseModel):
    """A job for the ranks; stages add their fields. out: the folder that all ranks write to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    device: Literal["cpu", "cuda"]
    threads: int

    def paths(self) -> list[Path]:
        """Every file and folder that the job names, wherever it stands in it."""
        waiting: list[Any] = [self.model_dump()]
        found = []
        while waiting:
            value = waiting.pop()
            if isinstance(value, Path):
                found.append(value)
            elif isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, list | tuple):
                waiting += value
        return found


def print_progress(facts: Mapping[str, Any]) -> None:
    """Report progress to the stage; call on rank 0 only."""
    print_line(f"{PROGRESS_MARK}{json.dumps(facts)}")


def print_line(line: str) -> None:
    """Print a line to a rank's log, which the stage reads line by line."""
    # A single write including the newline: torchrun forwards partial lines, and another thread's output could come in
    # between. `print` writes twice.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
