"""Runs of a deployment that are killed, cancelled or cut off from their server: nothing is lost, nothing stays behind.

Each run is the rerun of the one before it in the same store: what was finished is kept, and what the last of them ends
with is what an undisturbed run makes. Ranks ignore SIGTERM throughout.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tests.flows.service import ROOT, START_S, Service, Work, assert_gone, parent_of, served
from tests.processes import descendants, ranks_below

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory, prefect_database):
    with served(tmp_path_factory.mktemp("runs") / "service", database=prefect_database) as service:
        service.server = service.start_server()
        service.start_worker("worker", "--limit", "2")
        service.deploy()
        yield service


@pytest.fixture(scope="module")
def works(tmp_path_factory) -> Sequence[Work]:
    folder = tmp_path_factory.mktemp("works")
    return Work(folder / "a"), Work(folder / "b")


def begin(service: Service, works: Sequence[Work]) -> list[UUID]:
    """A run of each, in training."""
    for work in works:
        work.hold()
    runs = [service.run_flow("record", work.parameters()) for work in works]
    for work in works:
        work.wait_until_held()
    return runs


def test_kill_9_of_a_rank_or_of_torchrun_fails_the_run_with_its_reason(service, works):
    runs = begin(service, works)
    torchruns = [parent_of(work.held_ranks()[0]) for work in works]
    below = {pid for run in runs for pid in (service.flow_pid(run), *descendants(service.flow_pid(run)))}
    os.kill(works[0].held_ranks()[0], signal.SIGKILL)
    os.kill(torchruns[1], signal.SIGKILL)
    ends = [service.final(run) for run in runs]
    assert [end["state_type"] for end in ends] == ["FAILED", "FAILED"]
    assert "was killed by SIGKILL" in ends[0]["state"]["message"]
    assert_gone(below)
    assert service.devices_are_free()


def test_kill_9_of_the_flow_leaves_no_rank_and_a_final_state(service, works):
    [run] = begin(service, works[:1])
    flow = service.flow_pid(run)
    below = {flow, *descendants(flow)}
    assert len(below) >= 3
    os.kill(flow, signal.SIGKILL)
    assert service.final(run)["state_type"] == "CRASHED"
    assert_gone(below)
    assert service.devices_are_free()


def test_a_cancel_ends_two_ranks_that_ignore_sigterm_and_the_state_is_final(service, tmp_path):
    """Rank 0 pauses, rank 1 waits for it in an exchange."""
    [run] = begin(service, [Work(tmp_path / "two", processes=2)])
    flow = service.flow_pid(run)
    below = {flow, *descendants(flow)}
    assert len(ranks_below(flow)) == 2
    service.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert service.final(run)["state_type"] == "CANCELLED"
    assert_gone(below)
    assert service.devices_are_free()


@contextmanager
def mounted(store: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own for a store, and how to mount it anew."""
    store.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(store)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.decode().strip()}")
    try:
        yield lambda other: subprocess.run(["mount", "-o", f"remount,{other}", str(store)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=True)


def test_a_full_disk_and_a_read_only_store_fail_the_run_with_what_to_do_and_the_rerun_completes(service, tmp_path):
    full, read_only = Work(tmp_path / "full"), Work(tmp_path / "read-only")
    with (
        mounted(full.folder / "store", "size=96k") as mount_full,
        mounted(read_only.folder / "store", "ro") as mount_read_only,
    ):
        runs = [service.run_flow("record", work.parameters()) for work in (full, read_only)]
        ends = [service.final(run) for run in runs]
        assert [end["state_type"] for end in ends] == ["FAILED", "FAILED"]
        words = [end["state"]["message"] for end in ends]
        assert "StoreFull: no space left for" in words[0]
        assert "Free space (`pgolf gc --delete` removes" in words[0]
        assert "ConfigError: --store" in words[1]
        assert "cannot be written to; make it writable, or name another folder" in words[1]
        assert full.is_sound()
        assert full.made_once()
        mount_full("size=64m")
        mount_read_only("rw")
        runs = [service.run_flow("record", work.parameters()) for work in (full, read_only)]
        assert [service.final(run)["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
        assert full.outputs() == read_only.outputs()
        assert full.made_once()


def test_a_server_killed_and_restarted_in_mid_flow_changes_nothing_and_reruns_end_with_the_same_bytes(service, works):
    [run] = begin(service, works[:1])
    service.server.kill()
    service.server.wait()
    time.sleep(5)
    service.start_server()
    works[0].release()
    assert service.final(run)["state_type"] == "COMPLETED"
    works[1].release()
    run_plainly(works[1])
    undisturbed = Work(works[0].folder.parent / "undisturbed")
    run_plainly(undisturbed)
    assert works[0].outputs() == works[1].outputs() == undisturbed.outputs()
    assert works[0].made_once()
    assert works[1].made_once()


def run_plainly(work: Work) -> None:
    """In one process, with nothing that happens to it."""
    command = [sys.executable, "-m", "flows.commands.cli", "run", *work.arguments(), "--no-prefect"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_S)
    assert done.returncode == 0, done.stderr
