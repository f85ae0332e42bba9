"""What a rank that fails leaves for its stage: a file with the error, or an exit code where no file can be written."""

import traceback
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from pgolf.errors import LaunchError, MachineError, PgolfError
from pgolf.machine.lack import DISK_FULL, lack_of, no_space
from pgolf.ranks.job import print_line

FAILURE_FILE = "failure-{rank}.json"
_SHOWN_LINES = 20


class Failure(BaseModel):
    """The error of one rank. kind: the class name in pgolf.errors.

    of_another: this rank only noticed that another had gone, or does not come.
    """

    kind: str
    message: str
    of_another: bool = False


def run_reporting_errors(work: Callable[[], None], out: Path, rank: int) -> int:
    """Run a rank's work; returns the exit code. Whatever it raises is printed and written to a failure file.

    On a full disk neither that file nor a line of the log can be written, so the exit code tells it.
    """
    try:
        work()
    except BaseException as error:
        if no_space(error):
            return DISK_FULL
        return leave_failure(_failure_of(error, [out], rank), out, rank)
    return 0


def leave_failure(failure: Failure, out: Path, rank: int) -> int:
    """Print a failure and write it to its file; returns the rank's exit code."""
    try:
        print_line(f"{failure.kind}: {failure.message}")
        (out / FAILURE_FILE.format(rank=rank)).write_bytes(failure.model_dump_json().encode())
    except OSError as unwritten:
        return DISK_FULL if no_space(unwritten) else 1
    return 1


def _failure_of(error: BaseException, folders: list[Path], rank: int) -> Failure:
    if isinstance(error, PgolfError):
        # Of the work itself nothing raises a LaunchError but a collective that has lost another rank.
        return Failure(kind=type(error).__name__, message=str(error), of_another=isinstance(error, LaunchError))
    if (said := lack_of(error, folders)) is not None:
        return Failure(kind=MachineError.__name__, message=said)
    lines = "".join(traceback.format_exception(error)).splitlines()[-_SHOWN_LINES:]
    message = "\n".join([f"rank {rank} ended with {type(error).__name__}:", *(f"  {line}" for line in lines)])
    return Failure(kind=LaunchError.__name__, message=message)
