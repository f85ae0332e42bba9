"""Workers and command lines that are killed or told to stop, and a machine that falls silent.

A worker's runs are held in training by ranks that ignore SIGTERM; the last worker then finishes what the others began.
"""

import signal

import pytest

from tests.eventually import eventually
from tests.flows.service import BIN, START_S, Service, Work, assert_gone, served
from tests.processes import descendants

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served(tmp_path_factory.mktemp("workers") / "service") as service:
        service.start_server()
        service.worker = service.start_worker("worker-1", "--limit", "2")
        service.deploy()
        yield service


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    return Work(tmp_path_factory.mktemp("work") / "w")


@pytest.fixture(scope="module")
def silent(service, tmp_path_factory):
    """A run by `pgolf run` on what calls itself another machine, killed in training: only its silence shows it."""
    work = Work(tmp_path_factory.mktemp("silent") / "w")
    return work, killed_command(service, work, PGOLF_TEST_HOST="elsewhere")


def killed_command(service: Service, work: Work, **environment: str):
    """The flow run of a `pgolf run` that was killed with -9 in training; no process of it is left."""
    work.hold()
    known = {run["id"] for run in service.ask("/flow_runs/filter", {})}
    command = service.start(f"command-{len(known)}", str(BIN / "pgolf"), "run", *work.arguments(), **environment)
    below = work.wait_until_held() | descendants(command.pid) | {command.pid}
    [run_id] = {run["id"] for run in service.ask("/flow_runs/filter", {})} - known
    command.kill()
    command.wait()
    assert_gone(below)
    return run_id


def begin(service: Service, work: Work):
    work.hold()
    run = service.run_flow("record", work.parameters())
    below = work.wait_until_held() | {service.flow_pid(run), service.worker.pid}
    return run, below


def test_kill_9_of_the_command_line_is_settled_by_the_worker_of_the_same_machine(service, silent, work):
    assert service.flow_run(silent[1])["state_type"] == "RUNNING"
    run = killed_command(service, work)
    end = service.final(run)
    assert end["state_type"] == "CRASHED"
    assert "is gone without having reported an end" in end["state"]["message"]


def test_kill_9_of_the_worker_ends_its_flow_and_ranks_and_all_states_are_final(service, work):
    run, below = begin(service, work)
    service.worker.kill()
    service.worker.wait()
    assert_gone(below)
    assert service.devices_are_free()
    service.worker = service.start_worker("worker-2", "--limit", "2")
    assert service.final(run)["state_type"] == "CRASHED"


def test_a_worker_told_to_stop_cancels_its_run_and_leaves_no_process_and_no_open_state(service, work):
    run, below = begin(service, work)
    service.worker.send_signal(signal.SIGTERM)
    assert service.worker.wait(timeout=100) == 0
    assert_gone(below, within_s=1)
    assert service.devices_are_free()
    assert service.final(run, within_s=1)["state_type"] == "CANCELLED"


def test_two_workers_asked_for_the_same_recipe_at_once_build_each_output_once(service, work, tmp_path):
    workers = [service.start_worker(f"worker-{i}", "--limit", "1") for i in (3, 4)]
    fresh = Work(tmp_path / "fresh")
    runs = [service.run_flow("record", fresh.parameters()) for _ in range(2)]
    assert [service.final(run)["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    names = {service.flow_run(run)["labels"]["prefect.worker.name"] for run in runs}
    assert len(names) == 2
    built = [line for i in (3, 4) for line in service.log(f"worker-{i}").splitlines() if ": built " in line]
    nodes = [line.partition(": built ")[0].rpartition(" ")[2] for line in built]
    assert sorted(nodes) == sorted(fresh.outputs())
    assert fresh.made_once()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    service.undisturbed = fresh.outputs()


def test_a_machine_that_falls_silent_has_its_run_crashed_and_the_rerun_ends_with_undisturbed_bytes(service, silent):
    """The heartbeat ends the flow run; the rerun, a `pgolf run` on the same server, its tasks."""
    silent_work, silent_run = silent
    end = eventually(
        lambda: (found := service.flow_run(silent_run))["state_type"] != "RUNNING" and found, "crashed", within_s=120
    )
    assert end["state_type"] == "CRASHED"
    assert "no heartbeat for" in end["state"]["message"]
    silent_work.release()
    rerun = service.start("rerun", str(BIN / "pgolf"), "run", *silent_work.arguments())
    assert rerun.wait(timeout=START_S) == 0, service.log("rerun")
    service.final(silent_run, within_s=1)
    assert silent_work.made_once()
    assert silent_work.outputs() == service.undisturbed
