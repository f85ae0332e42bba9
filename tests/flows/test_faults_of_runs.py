"""Runs of a deployment that are killed, cancelled or cut off from their server: nothing is lost, nothing stays behind.

Each run is the rerun of the one before it in the same store: what was finished is kept, and what the last of them ends
with is what an undisturbed run makes. Ranks ignore SIGTERM throughout.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from uuid import UUID

import pytest

from tests.flows.service import ROOT, START_S, Service, Work, assert_gone, parent_of, served
from tests.processes import descendants

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served(tmp_path_factory.mktemp("runs") / "service") as service:
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


def test_kill_9_of_the_flow_and_a_cancel_leave_no_rank_and_final_states(service, works):
    runs = begin(service, works)
    flows = [service.flow_pid(run) for run in runs]
    below = {pid for flow in flows for pid in (flow, *descendants(flow))}
    assert len(below) >= 6
    os.kill(flows[0], signal.SIGKILL)
    service.ask(f"/flow_runs/{runs[1]}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    ends = [service.final(run) for run in runs]
    assert [end["state_type"] for end in ends] == ["CRASHED", "CANCELLED"]
    assert_gone(below)
    assert service.devices_are_free()


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
    command = [sys.executable, "-m", "flows.cli", "run", *work.arguments(), "--no-prefect"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_S)
    assert done.returncode == 0, done.stderr
