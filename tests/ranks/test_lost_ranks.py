"""One rank of several fails, dies, hangs or computes something else, under torchrun: who is named.

On CPUs, with gloo: a lost rank ends its collectives with an error of the others, a hanging one makes them wait.
"""

import time
from types import SimpleNamespace

import pytest

from pgolf.errors import LaunchError, RanksDiffer
from pgolf.machine.lease import Lease
from pgolf.ranks import roll_call, run_job
from pgolf.ranks.job import RankJob
from pgolf.run_options import RunOptions

RANK = """
import os, signal, sys, time
import torch
from pgolf.ranks import roll_call
from pgolf.ranks.agreement import refuse_difference
from pgolf.ranks.enter import enter
from pgolf.ranks.job import RankJob


class Job(RankJob):
    what: str


# As NCCL may, where the others do not come.
torch.distributed.destroy_process_group = lambda: time.sleep(300)


def work(job, ranks, device):
    ranks.begin_step(7)
    ranks.wait_for_all()
    if job.what == "differs":
        weights = {"first": torch.ones(5), "second": torch.full((3, 4), 0.5, dtype=torch.bfloat16)}
        refuse_difference(weights, ranks, "after step 7")
        if ranks.rank == 2:
            weights["second"].view(torch.int16)[1, 2] ^= 1
        refuse_difference(weights, ranks, "after step 8")
    if ranks.rank == 1:
        if job.what == "raises":
            print(1 // 0)
        if job.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.what == "sleeps":
            time.sleep(300)
    ranks.begin_step(8)
    ranks.sum(torch.ones(1000))
    raise AssertionError("nobody comes here")


if __name__ == "__main__":
    # Only who sleeps is waited for; where the others are told, no more than a machine may be busy.
    roll_call.COLLECTIVE_LIMIT_S = 1.0 if '"sleeps"' in open(sys.argv[1]).read() else 20.0
    enter(Job, work)
"""


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Runs some of them."""
    (tmp_path / "lost_rank.py").write_text(RANK)
    (tmp_path / "out").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    class Job(RankJob):
        what: str

    def run(what: str, processes: int = 2) -> None:
        run_job.run_job(
            "lost_rank",
            Job(out=tmp_path / "out", device="cpu", threads=1, what=what),
            RunOptions(processes=processes, timeout_s=100),
            Lease((), ()),
            log_path=tmp_path / "ranks.log",
            on_progress=lambda _facts: None,
            is_last=lambda _facts: False,
        )

    return run


def test_the_rank_that_raises_is_heard_with_its_traceback_and_not_those_that_lost_it(ranks, tmp_path):
    with pytest.raises(LaunchError) as failed:
        ranks("raises")
    said = str(failed.value)
    assert said.startswith("rank 1 ended with ZeroDivisionError:\n  Traceback (most recent call last):\n")
    assert 'lost_rank.py", line 29, in work\n' in said
    assert said in (tmp_path / "ranks.log").read_text().replace("[rank 1] ", "")
    assert "did not come" not in (tmp_path / "ranks.log").read_text(), "the others waited for it"
    assert not list((tmp_path / "out").iterdir())


def test_a_rank_that_is_killed_in_a_collective_is_named_with_the_signal(ranks):
    with pytest.raises(LaunchError, match=r"^rank 1 of 2 of lost_rank was killed by SIGKILL"):
        ranks("killed")


def test_what_gloo_says_of_a_rank_that_has_gone_becomes_an_error_with_the_step_and_nothing_else_does():
    roll = roll_call.RollCall(1, 2, memoryview(bytearray(32)).cast("q"))
    roll.step = 8
    says = r"^rank 1 lost another rank in step 8: .*Connection closed by peer"
    with pytest.raises(LaunchError, match=says), roll_call.naming_lost_ranks(roll, 1):
        raise RuntimeError("[/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242")
    with pytest.raises(RuntimeError, match="Invalid scalar type"), roll_call.naming_lost_ranks(roll, 1):
        raise RuntimeError("Invalid scalar type")


def test_who_comes_late_after_long_work_of_its_own_is_not_taken_for_one_that_waits():
    """The watching thread may look at any moment of its coming."""

    class Memory(list):
        def __setitem__(self, place, value):
            waited_s.append(time.monotonic() - roll.changed_s)
            super().__setitem__(place, value)

    waited_s = []
    roll = roll_call.RollCall(1, 2, Memory([0, 0, 0, 0]))
    roll.changed_s -= 1e6
    roll.come()
    assert max(waited_s) < 1e5
    assert roll.missing().startswith("rank 0 did not come")


@pytest.mark.parametrize("lacks", ["memfd_create", "open", None])
@pytest.mark.parametrize("others_have_it", [True, False])
def test_where_a_rank_cannot_share_memory_all_go_on_without_the_roll_call(lacks, others_have_it, monkeypatch):
    def refuses(*_given):
        raise PermissionError

    def all_reduce(mine, op):
        mine.mul_(int(others_have_it))

    if lacks:
        monkeypatch.setattr(roll_call.os, lacks, refuses)
    group = SimpleNamespace(
        broadcast=lambda _tensor, src: None, all_reduce=all_reduce, ReduceOp=roll_call.dist.ReduceOp
    )
    monkeypatch.setattr(roll_call, "dist", group)
    roll = roll_call.begin_roll_call(0, 2)
    assert (roll is None) == (lacks is not None or not others_have_it)
    monkeypatch.undo()
    if roll is not None:
        roll.come()
        assert roll.missing().startswith("rank 1 did not come")


def test_a_rank_that_hangs_is_named_by_those_that_wait_for_it(ranks):
    says = (
        r"^rank 1 did not come to the collective operation of rank 0; rank 1 was last seen in step 7\. "
        r"Waited for \d+ s; look for"
    )
    with pytest.raises(LaunchError, match=says):
        ranks("sleeps")


def test_one_bit_on_one_rank_is_found_and_named(ranks):
    with pytest.raises(RanksDiffer, match=r"^after step 8: second of rank 2 differs from that of ranks 0, 1, and"):
        ranks("differs", processes=3)
