"""What a rank prints, as the process above it gets it, and what it leaves where it fails."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgolf.errors import LaunchError, ShardError, UndeclaredRead
from pgolf.machine.lack import DISK_FULL
from pgolf.machine.lease import Lease
from pgolf.ranks import run_job
from pgolf.ranks.failure import FAILURE_FILE, Failure, run_reporting_errors
from pgolf.ranks.job import JOB_FILE, RankJob
from pgolf.run_options import RunOptions

SPEAKER = """
from pathlib import Path
from pgolf.errors import DataError
from pgolf.ranks.failure import run_reporting_errors
from pgolf.ranks.job import print_line, print_progress
from pgolf.train.config import TrainConfig
from pgolf.train.loop import StepReport
from pgolf.train.rank import _StepLog

def fail():
    raise DataError("first line\\nsecond line")

print_progress({"step": 1})
print_line("a line")
_StepLog(TrainConfig(), 1, [], None).take(
    StepReport(
        steps_done=1, loss_nats=1.0, gradient_norm=1.0, rate_scale=1.0, momentum=0.9, elapsed_s=1.0, is_last=False
    )
)
run_reporting_errors(fail, Path(__import__("sys").argv[1]), 0)
"""


def test_whatever_a_rank_prints_comes_in_whole_lines(tmp_path):
    """torchrun runs ranks with -u. A pipe in packet mode keeps apart what was written apart."""
    reader, writer = os.pipe2(os.O_DIRECT)
    with subprocess.Popen([sys.executable, "-u", "-c", SPEAKER, str(tmp_path)], stdout=writer) as speaker:
        os.close(writer)
        writes = []
        while written := os.read(reader, 1 << 16):
            writes.append(written.decode())
        os.close(reader)
    assert speaker.returncode == 0
    assert [written for written in writes if not written.endswith("\n")] == []
    beginnings = ("@progress ", "a line", "step 1/20000  loss 1.0000", "@progress ", "DataError: first line")
    assert [written.startswith(begin) for written, begin in zip(writes, beginnings, strict=True)] == [True] * 5


def test_the_lowest_rank_that_could_explain_itself_is_heard_and_a_file_cut_short_is_passed_over(tmp_path, monkeypatch):
    whole = Failure(kind="ShardError", message="a shard is missing").model_dump_json()
    left = {0: whole[:12], 1: whole}

    def fail(*_arguments, **_options):
        for rank, text in left.items():
            (tmp_path / FAILURE_FILE.format(rank=rank)).write_text(text)
        raise LaunchError("rank 0 ended with exit code 1")

    def run():
        run_job.run_job(
            "a_module",
            RankJob(out=tmp_path, device="cpu", threads=1),
            RunOptions(processes=2),
            Lease((), ()),
            log_path=tmp_path / "ranks.log",
            on_progress=lambda _facts: None,
            is_last=lambda _facts: False,
        )

    monkeypatch.setattr(run_job, "run_ranks", fail)
    with pytest.raises(ShardError, match="a shard is missing"):
        run()
    del left[1]
    with pytest.raises(LaunchError, match="exit code 1"):
        run()
    assert not list(tmp_path.glob("failure-*"))
    assert not (tmp_path / JOB_FILE).exists()


READER = """
from pathlib import Path
from pgolf.ranks.enter import enter
from pgolf.ranks.job import RankJob


class Job(RankJob):
    inputs: dict[str, Path]


def work(job, ranks, device):
    (job.out / "read.txt").write_text(job.inputs["data"].read_text())
    (job.out / "read.txt").read_text()
    if ranks.rank == 1:
        job.inputs["data"].with_name("beside.txt").read_text()


if __name__ == "__main__":
    enter(Job, work)
"""


def test_a_rank_ends_where_it_reads_what_its_job_does_not_name(tmp_path, monkeypatch):
    for name, text in {"reader_rank.py": READER, "data.txt": "11", "beside.txt": "12"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "out").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    class Job(RankJob):
        inputs: dict[str, Path]

    with pytest.raises(UndeclaredRead, match=r"reader_rank\.py:15: rank 1 opens .*/beside\.txt"):
        run_job.run_job(
            "reader_rank",
            Job(out=tmp_path / "out", device="cpu", threads=1, inputs={"data": tmp_path / "data.txt"}),
            RunOptions(processes=2),
            Lease((), ()),
            log_path=tmp_path / "ranks.log",
            on_progress=lambda _facts: None,
            is_last=lambda _facts: False,
        )

    assert (tmp_path / "out/read.txt").read_text() == "11"


def full_disk(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_rank_on_a_full_disk_tells_it_by_its_exit_code_and_other_lacks_by_their_name(tmp_path):
    assert run_reporting_errors(lambda: full_disk(tmp_path), tmp_path, 0) == DISK_FULL
    assert list(tmp_path.iterdir()) == []

    def no_memory() -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    assert run_reporting_errors(no_memory, tmp_path, 1) == 1
    left = Failure.model_validate_json((tmp_path / FAILURE_FILE.format(rank=1)).read_bytes())
    assert (left.kind, left.message.partition(":")[0]) == ("MachineError", "this machine has not enough memory")
    assert run_reporting_errors(lambda: 1 // 0, tmp_path, 0) == 1
    left = Failure.model_validate_json((tmp_path / FAILURE_FILE.format(rank=0)).read_bytes())
    assert left.kind == "LaunchError"
    assert left.message.startswith("rank 0 ended with ZeroDivisionError:\n  Traceback")
