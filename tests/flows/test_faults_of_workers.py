"""Workers and command lines that are killed or told to stop, and a machine that falls silent.

A worker's runs are held in training by ranks that ignore SIGTERM; the last worker then finishes what the others began.
"""

import signal
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import dead_runs, node_worker
from flows.dead_runs import labels_of
from pgolf.machine import process as process_module
from pgolf.machine.process import Process
from tests.eventually import eventually
from tests.flows.service import ASK_EVERY_S, BIN, FINAL, START_S, Service, Work, assert_gone, served
from tests.processes import descendants

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory, prefect_database):
    with served(tmp_path_factory.mktemp("workers") / "service", database=prefect_database) as service:
        service.start_server()
        service.worker = service.start_worker("worker-1", "--limit", "3")
        service.deploy()
        yield service


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    return Work(tmp_path_factory.mktemp("work") / "w")


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Work:
    return Work(tmp_path_factory.mktemp("split") / "w", ("seeds=1,2,3",))


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
    try:
        below = work.wait_until_held() | descendants(command.pid) | {command.pid}
        [run_id] = {run["id"] for run in service.ask("/flow_runs/filter", {})} - known
    finally:
        command.kill()  # whatever went wrong: its ranks would pass for those of the next test's run
        command.wait()
    assert_gone(below)
    return run_id


def begin(service: Service, work: Work, last: Work):
    """A run in training, one whose process is starting, one (of `last`) without a process yet, and all processes."""
    work.hold()
    last.hold()
    training = service.run_flow("record", work.parameters())
    below = work.wait_until_held() | {service.flow_pid(training), service.worker.pid}
    known = len(descendants(service.worker.pid))
    with service.starts_held():
        starting = service.run_flow("record", work.parameters())
        eventually(lambda: len(descendants(service.worker.pid)) > known, "the second has a process")
        taken = service.run_flow("record", last.parameters())
        eventually(lambda: service.flow_run(taken)["state_type"] == "PENDING", "the third is taken", every_s=0.05)
        assert service.flow_run(starting)["state_type"] == "PENDING"
        below |= descendants(service.worker.pid)
    return (training, starting, taken), below


def taken_run(service: Service, state: str, process: Process | None = None) -> UUID:
    """A run of our flow that somebody has taken, without anybody there; with the labels of a process, if given."""
    flow = service.ask("/flows/", {"name": "record"})["id"]
    run = service.ask("/flow_runs/", {"flow_id": flow, "state": {"type": state}})["id"]
    if process is not None:
        service.ask(f"/flow_runs/{run}/labels", labels_of(process), method="PATCH")
    return UUID(run)


def test_a_run_that_reports_its_end_while_its_process_is_found_gone_keeps_that_end(service, monkeypatch):
    elsewhere = Process("elsewhere", "00000000", "1", 7, "1")  # for the worker a machine that it cannot see
    run = taken_run(service, "RUNNING", elsewhere)
    monkeypatch.setattr(process_module, "host_name", lambda: elsewhere.host)
    listed = dead_runs.unfinished_runs

    def list_then_complete(client):
        found = listed(client)
        assert run in [flow_run.id for flow_run in found]
        service.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
        return found

    with SyncPrefectClient(service.url) as client:
        monkeypatch.setattr(dead_runs, "unfinished_runs", list_then_complete)
        dead_runs.settle(client)
    assert service.flow_run(run)["state_type"] == "COMPLETED"


def test_what_a_worker_took_and_nobody_has_claimed_becomes_final_or_goes_back_to_the_pool(service):
    unclaimed, given_back = taken_run(service, "PENDING"), taken_run(service, "PENDING")
    with SyncPrefectClient(service.url) as client, temporary_settings({PREFECT_API_URL: service.url}):
        node_worker.settle_own("a worker that ends", {given_back})
        dead_runs.settle(client)
        assert service.flow_run(unclaimed)["state_type"] == "PENDING", "its worker has a while to claim it"
        dead_runs.settle(client, claim_within_s=0.0)
    assert service.flow_run(given_back)["state_type"] == "SCHEDULED"
    end = service.flow_run(unclaimed)
    assert end["state_type"] == "CRASHED"
    assert "has not been heard from since; finished stages are kept, run it again" in end["state"]["message"]


def test_kill_9_of_the_command_line_is_settled_by_the_worker_of_the_same_machine(service, silent, work):
    assert service.flow_run(silent[1])["state_type"] == "RUNNING"
    run = killed_command(service, work)
    end = service.final(run)
    assert end["state_type"] == "CRASHED"
    assert "died without reporting an end" in end["state"]["message"]


def test_kill_9_of_the_worker_ends_its_flows_and_ranks_and_all_states_are_final(service, work):
    runs, below = begin(service, work, last=work)
    service.worker.kill()
    service.worker.wait()
    assert_gone(below)
    assert service.devices_are_free()
    service.worker = service.start_worker("worker-2", "--limit", "3")
    assert [service.final(run)["state_type"] for run in runs] == ["CRASHED"] * 3


def test_a_worker_told_to_stop_cancels_its_runs_and_leaves_no_process_and_no_open_state(service, work, split):
    """What it had taken without a process yet goes back to the pool, unless it came to have one just then."""
    (*runs, taken), below = begin(service, work, last=split)
    service.worker.send_signal(signal.SIGTERM)
    assert service.worker.wait(timeout=100) == 0
    assert_gone(below, within_s=1)
    assert service.devices_are_free()
    assert [service.final(run, within_s=1)["state_type"] for run in runs] == ["CANCELLED"] * 2
    state = service.flow_run(taken)["state_type"]
    assert state in ("SCHEDULED", *FINAL)
    service.given_back = taken if state == "SCHEDULED" else None


def test_two_workers_with_a_device_each_split_the_seeds_of_one_recipe_and_build_each_output_once(
    service, split, tmp_path
):
    """Homes of their own and one store: the second is asked while the first trains one seed and queues for two more.

    The first run is the one that a stopped worker has given back, if it has.
    """
    workers = []
    for i in (3, 4):
        (tmp_path / f"home-{i}" / "tmp").mkdir(parents=True)
        home = tmp_path / f"home-{i}"
        own = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PGOLF_LEASES": str(home / "leases")}
        workers.append(service.start_worker(f"worker-{i}", "--limit", "1", PGOLF_TEST_CORES="1", **own))
    runs = [service.given_back or service.run_flow("record", split.parameters())]
    split.wait_until_held()
    runs.append(service.run_flow("record", split.parameters()))
    eventually(lambda: len(split.held_ranks()) == 2, "both workers train a seed")
    below = [descendants(worker.pid) for worker in workers]
    assert [len(of_one & set(split.held_ranks())) for of_one in below] == [1, 1]
    split.release()
    assert [service.final(run)["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    built = [built_by(service.log(f"worker-{i}")) for i in (3, 4)]
    assert sorted(built[0] + built[1]) == sorted(split.outputs())
    assert split.made_once()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    service.undisturbed = {
        node: outputs for node, outputs in split.outputs().items() if not node.endswith(("2]", "3]"))
    }


def built_by(log: str) -> list[str]:
    """The nodes that a worker's runs have built."""
    lines = [line for line in log.splitlines() if ": built " in line]
    return [line.partition(": built ")[0].rpartition(" ")[2] for line in lines]


def test_a_machine_that_falls_silent_has_its_run_crashed_and_the_rerun_ends_with_undisturbed_bytes(service, silent):
    """The heartbeat ends the flow run; the rerun, a `pgolf run` on the same server, its tasks."""
    silent_work, silent_run = silent
    end = eventually(
        lambda: (found := service.flow_run(silent_run))["state_type"] != "RUNNING" and found,
        "crashed",
        within_s=120,
        every_s=ASK_EVERY_S,
    )
    assert end["state_type"] == "CRASHED"
    assert "no heartbeat for" in end["state"]["message"]
    crashed = datetime.fromisoformat(end["state"]["timestamp"])
    time.sleep(max(0.0, dead_runs.SETTLE_AFTER_S - (datetime.now(UTC) - crashed).total_seconds()))
    silent_work.release()
    rerun = service.start("rerun", str(BIN / "pgolf"), "run", *silent_work.arguments())
    assert rerun.wait(timeout=START_S) == 0, service.log("rerun")
    service.final(silent_run, within_s=1)
    assert silent_work.made_once()
    assert silent_work.outputs() == service.undisturbed
