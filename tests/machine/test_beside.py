"""Stages beside a training by the clock, in real processes: who runs is seen, and its cores are left alone."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgolf.machine.beside import at_work
from pgolf.machine.hardware import cores_for_ranks
from tests.eventually import eventually

TRAIN = """
import sys, time
from pathlib import Path
from pgolf.machine.beside import at_work
with at_work(Path(sys.argv[1]), "train[1]", [int(core) for core in sys.argv[2:]]):
    print("began", flush=True)
    time.sleep(60)
"""
CORES = sorted(os.sched_getaffinity(0))
LEFT = {CORES[0]}  # where a training takes all others
several_cores = pytest.mark.skipif(len(CORES) < 2, reason="this process may run on one core alone")


@pytest.fixture
def training(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that has these cores to itself, and returns once it has; all end with the test."""
    with ExitStack() as ends:

        def start(*cores: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "tests.program", TRAIN, str(tmp_path), *map(str, cores)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
            ends.enter_context(process)
            ends.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            return process

        yield start


@pytest.fixture
def other_thread():
    """The cores of another thread of this process, which has begun before everything else."""
    ended, ids = threading.Event(), []
    thread = threading.Thread(target=lambda: (ids.append(threading.get_native_id()), ended.wait()))
    thread.start()
    eventually(lambda: ids, "it has begun", within_s=10)
    yield lambda: os.sched_getaffinity(ids[0])
    ended.set()
    thread.join()


@several_cores
def test_all_threads_keep_off_a_trainings_cores_until_it_is_gone_whoever_came_first(tmp_path, training, other_thread):
    process = training(*CORES[1:])
    with at_work(tmp_path, "compress[2]", ()):
        assert os.sched_getaffinity(0) == other_thread() == LEFT
        process.send_signal(signal.SIGKILL)
        eventually(lambda: os.sched_getaffinity(0) == other_thread() == set(CORES), "all are back", within_s=20)
        training(*CORES[1:])
        eventually(lambda: os.sched_getaffinity(0) == other_thread() == LEFT, "they are left again", within_s=20)
        with at_work(tmp_path, "mix[1]", ()):
            pass
        assert os.sched_getaffinity(0) == LEFT
    # It still trains, and nothing of ours runs here that could disturb it.
    assert os.sched_getaffinity(0) == other_thread() == set(CORES)


def test_a_training_keeps_off_no_cores_and_one_core_is_always_left_to_others(tmp_path):
    with at_work(tmp_path, "train[1]", CORES), at_work(tmp_path, "train[2]", CORES) as second:
        assert os.sched_getaffinity(0) == set(CORES)
        with at_work(tmp_path, "count[exact]", ()):
            assert os.sched_getaffinity(0) == {CORES[-1]}
            assert second.cores == set(CORES)  # on which its ranks may run, whatever this process is kept to
        assert os.sched_getaffinity(0) == set(CORES)


def test_what_ran_beside_is_told_with_its_seconds(tmp_path):
    with at_work(tmp_path, "train[1]", CORES[:1]) as beside:
        assert beside.said() == "nothing"
        with at_work(tmp_path, "compress[2]", ()), at_work(tmp_path, "score[2]", ()):
            beside.look()
        with at_work(tmp_path, "mix[2]", ()):
            beside.look()
    assert beside.said() == "compress[2] from 0 to 0 s, score[2] from 0 to 0 s, mix[2] from 0 to 0 s"


def test_what_lies_there_and_is_none_of_ours_stops_nobody(tmp_path):
    (tmp_path / "pgolf-0.stage").mkdir()
    (tmp_path / "pgolf-1.stage").symlink_to("/dev/null")
    huge = ('{"node": "x", "since_s": 0, "cores": [1e999]}', f'{{"node": "x", "since_s": 1{"0" * 400}, "cores": [0]}}')
    texts = ('{"node": 1', '{"node": "x", "since_s": "y", "cores": [0]}', "[[[", *huge)
    for number, text in enumerate(texts):
        (tmp_path / f"pgolf-{number + 2}.stage").write_text(text)
    holders = [os.open(tmp_path / f"pgolf-{number + 2}.stage", os.O_RDONLY) for number in range(len(texts))]
    for holder in holders:
        fcntl.flock(holder, fcntl.LOCK_EX)
    with at_work(tmp_path, "train[1]", CORES) as beside, at_work(tmp_path, "mix[2]", ()):
        assert os.sched_getaffinity(0) == {CORES[-1]}
        beside.look()
    for holder in holders:
        os.close(holder)
    assert beside.said() == "mix[2] from 0 to 0 s"


def test_without_a_folder_of_leases_nobody_is_asked():
    with at_work(None, "train[1]", CORES) as beside, at_work(None, "mix[2]", ()):
        assert os.sched_getaffinity(0) == set(CORES)
    assert (beside.said(), beside.cores) == ("nothing", set(CORES))


@pytest.mark.parametrize(
    ("cores", "ranks", "own"),
    [(192, 8, range(0, 192, 12)), (16, 8, range(0, 16, 2)), (8, 8, range(8)), (4, 8, range(4)), (64, 1, (0, 32))],
)
def test_ranks_on_gpus_need_two_cores_each_spread_over_the_machine(monkeypatch, cores, ranks, own):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert cores_for_ranks(ranks) == tuple(own)
