"""What a stage that runs under torchrun hands to its ranks and gets back: a job file, failure files, printed progress.

The stage's side of it is `pgolf.ranks.run_job`. Imports no torch.
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

# Rank 0 prints its progress as JSON behind this mark. It moves a progress bar and nothing else: results are files.
PROGRESS_MARK = "@progress "


class RankJob(BaseModel):
    """What every rank is told, beside what its stage adds. out: the folder that all ranks write to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    device: Literal["cpu", "cuda"]
    threads: int


class Failure(BaseModel):
    """An error one rank could explain. kind: the class name in pgolf.errors."""

    kind: str
    message: str


def explained(work: Callable[[], None], out: Path, rank: int) -> int:
    """Do a rank's work; returns its exit code. An error with an explanation leaves a failure file in `out`."""
    try:
        work()
    except PgolfError as error:
        print_line(f"{type(error).__name__}: {error}")
        failure = Failure(kind=type(error).__name__, message=str(error))
        (out / FAILURE_FILE.format(rank=rank)).write_text(failure.model_dump_json())
        return 1
    return 0


def print_progress(facts: Mapping[str, Any]) -> None:
    """Tell the stage how far this rank, which should be rank 0, has come."""
    print_line(f"{PROGRESS_MARK}{json.dumps(facts)}")


def print_line(line: str) -> None:
    """Say something in a rank's log, which the stage reads line by line."""
    # In one write, end of line included: torchrun passes on what it finds of a line that is still being written, and
    # another thread's may come between. `print` writes twice.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
