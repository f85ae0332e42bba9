"""What a rank that fails leaves for its stage: a file with the error, or an exit code where no file can be written."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from pgolf.errors import MachineError, PgolfError
from pgolf.machine.lack import DISK_FULL, lack_of, no_space
from pgolf.ranks.job import print_line

FAILURE_FILE = "failure-{rank}.json"


class Failure(BaseModel):
    """The error of one rank. kind: the class name in pgolf.errors."""

    kind: str
    message: str


def run_reporting_errors(work: Callable[[], None], out: Path, rank: int) -> int:
    """Run a rank's work; returns the exit code. A PgolfError, or what the machine lacks, is written to a failure file.

    On a full disk neither that file nor a line of the log can be written, so the exit code tells it.
    """
    try:
        work()
    except Exception as error:
        if no_space(error):
            return DISK_FULL
        said = str(error) if isinstance(error, PgolfError) else lack_of(error, [out])
        if said is None:
            raise
        failure = Failure(kind=(type(error) if isinstance(error, PgolfError) else MachineError).__name__, message=said)
        try:
            print_line(f"{failure.kind}: {said}")
            (out / FAILURE_FILE.format(rank=rank)).write_bytes(failure.model_dump_json().encode())
        except OSError as unwritten:
            return DISK_FULL if no_space(unwritten) else 1
        return 1
    return 0
