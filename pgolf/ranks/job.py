"""Protocol between a stage and its ranks under torchrun: job file, failure files, printed progress.

The stage's side is `pgolf.ranks.run_job`. Imports no torch.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pgolf.errors import PgolfError

JOB_FILE = "job.json"
FAILURE_FILE = "failure-{rank}.json"

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


class Failure(BaseModel):
    """A PgolfError of one rank. kind: the class name in pgolf.errors."""

    kind: str
    message: str


def run_reporting_errors(work: Callable[[], None], out: Path, rank: int) -> int:
    """Run a rank's work; returns the exit code. A PgolfError is written to a failure file in `out`."""
    try:
        work()
    except PgolfError as error:
        print_line(f"{type(error).__name__}: {error}")
        failure = Failure(kind=type(error).__name__, message=str(error))
        (out / FAILURE_FILE.format(rank=rank)).write_text(failure.model_dump_json())
        return 1
    return 0


def print_progress(facts: Mapping[str, Any]) -> None:
    """Report progress to the stage; call on rank 0 only."""
    print_line(f"{PROGRESS_MARK}{json.dumps(facts)}")


def print_line(line: str) -> None:
    """Print a line to a rank's log, which the stage reads line by line."""
    # A single write including the newline: torchrun forwards partial lines, and another thread's output could come in
    # between. `print` writes twice.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
