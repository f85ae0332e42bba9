"""Device leases between real processes: exclusive, in queue order, and gone with their holder."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgolf.machine.lease import lease
from pgolf.ranks.devices import devices_for
from pgolf.run_options import RunOptions
from tests.eventually import eventually

HOLD = """
import subprocess, sys, time
from pathlib import Path
from pgolf.machine.lease import lease
from pgolf.ranks.devices import devices_for
from pgolf.run_options import RunOptions
with lease(Path(sys.argv[1]), sys.argv[3].split(","), int(sys.argv[2]), log_line=lambda line: None) as held:
    if "child" in sys.argv:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=held.descriptors)
        print(child.pid, flush=True)
    print("held", *held.devices, flush=True)
    time.sleep(60)
"""


def holder(folder: Path, count: int, devices: str, *more: str) -> subprocess.Popen[str]:
    """A process that takes a lease and sleeps; returns once it holds it."""
    command = [sys.executable, "-m", "tests.program", HOLD, str(folder), str(count), devices, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_free(folder: Path, device: str) -> bool:
    """Whether a lease of this one device comes at once."""

    class Busy(Exception):
        pass

    def give_up(_line: str) -> None:
        raise Busy

    try:
        with lease(folder, [device], 1, log_line=give_up):
            return True
    except Busy:
        return False


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lease_is_exclusive_and_ends_with_its_block(tmp_path):
    with lease(tmp_path / "new", ["gpu-0"], 1, log_line=pytest.fail) as held:
        assert held.devices == ("gpu-0",)
        assert not is_free(tmp_path / "new", "gpu-0")
        assert is_free(tmp_path / "new", "gpu-1")
    assert is_free(tmp_path / "new", "gpu-0")


def test_without_a_folder_nothing_is_locked():
    with lease(None, ["gpu-0", "gpu-1"], 1, log_line=pytest.fail) as held:
        assert (held.devices, held.descriptors) == (("gpu-0",), ())


def test_a_lease_takes_the_devices_that_are_free(tmp_path):
    with (
        lease(tmp_path, ["gpu-0", "gpu-1", "gpu-2"], 1, log_line=pytest.fail),
        lease(tmp_path, ["gpu-0", "gpu-1", "gpu-2"], 2, log_line=pytest.fail) as held,
    ):
        assert held.devices == ("gpu-1", "gpu-2")


def test_kill_9_of_the_holder_frees_its_device(tmp_path):
    process = holder(tmp_path, 1, "cpu")
    assert line_of(process) == "held cpu"
    assert not is_free(tmp_path, "cpu")
    end(process)
    assert is_free(tmp_path, "cpu")


def test_a_device_stays_taken_while_a_child_that_inherited_the_lease_lives(tmp_path):
    process = holder(tmp_path, 1, "cpu", "child")
    child = int(line_of(process))
    assert line_of(process) == "held cpu"
    process.kill()
    process.wait()
    assert not is_free(tmp_path, "cpu")
    os.kill(child, signal.SIGKILL)
    eventually(lambda: is_free(tmp_path, "cpu"), "the device is free", within_s=10)
    end(process)


def test_a_lease_of_all_devices_is_not_overtaken_by_leases_of_one(tmp_path):
    first = holder(tmp_path, 1, "gpu-0,gpu-1")
    assert line_of(first) == "held gpu-0"
    both = holder(tmp_path, 2, "gpu-0,gpu-1")
    eventually(lambda: not is_free(tmp_path, "gpu-1"), "the second waits with one of its devices", within_s=20)
    one = holder(tmp_path, 1, "gpu-0,gpu-1")
    end(first)
    assert line_of(both) == "held gpu-0 gpu-1"
    end(both)
    assert line_of(one).startswith("held gpu-")
    end(one)


def test_waiting_is_said_once_with_what_is_waited_for(tmp_path):
    said = []
    with ExitStack() as outer:
        outer.enter_context(lease(tmp_path, ["cpu"], 1, log_line=pytest.fail))

        def remember_and_let_go(line: str) -> None:
            said.append(line)
            outer.close()

        with lease(tmp_path, ["cpu"], 1, log_line=remember_and_let_go):
            (line,) = said
            assert line.startswith(f"waiting for 1 of cpu (locks in {tmp_path}); cpu is held by pid {os.getpid()} of ")
            assert " since 20" in line


def test_who_shares_no_device_with_a_waiting_lease_does_not_wait_for_it(tmp_path):
    first = holder(tmp_path, 1, "cpu-0")
    assert line_of(first) == "held cpu-0"
    waiting = [holder(tmp_path, 1, "cpu-0"), holder(tmp_path, 2, "cpu-0,cpu-1")]
    eventually(lambda: not is_free(tmp_path, "cpu-1"), "the lease of two holds the other one", within_s=20)
    assert is_free(tmp_path, "cpu-2")
    assert not is_free(tmp_path, "cpu-0")
    end(first, *waiting)


def test_a_core_is_named_as_the_kernel_names_it(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {5, 3})
    assert devices_for(RunOptions(device="cpu")) == ("cpu", ("cpu-3", "cpu-5"))
