"""Set runs whose process has died to Crashed: they can no longer report their own end.

Every flow run carries as labels where it runs. Labels that name this machine are checked against the process table;
runs of other machines are left to their heartbeat, which the server watches (`watch_heartbeats`). A task run that its
flow run has left behind unfinished ends with it.
"""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.states import Crashed

from pgolf.machine.parent_death import die_with_parent
from pgolf.machine.process import Process

FLOWS = ["record", "sweep"]
AUTOMATION = "pgolf: crash runs without a heartbeat"
# Three heartbeats; with the server's own delays a dead run is final within two minutes.
SILENCE_S = 90
# What a finished run's tasks reported may still be on its way into the database.
SETTLE_AFTER_S = 8
# A worker says that a run is its own right after it has taken it.
CLAIM_WITHIN_S = 60
_UNFINISHED = [state for state in StateType if state not in TERMINAL_STATES]
_WORKER_NAME = re.compile(r"pgolf (?P<host>\S+) boot (?P<boot>\S+) pids (?P<pids>\d+) pid (?P<pid>\d+) at (?P<at>\d+)")


def labels_of(process: Process) -> dict[str, str]:
    """A process as labels of a flow run."""
    return {f"pgolf.{name}": str(value) for name, value in asdict(process).items()}


def process_of_flow(labels: Mapping[str, Any]) -> Process | None:
    """The process that runs a flow, from the labels it has put on its run."""
    told = {name.removeprefix("pgolf."): str(value) for name, value in labels.items() if name.startswith("pgolf.")}
    whole = told.keys() >= {field.name for field in fields(Process)} and told["pid"].isdecimal()
    return _process(told) if whole else None


def worker_name(process: Process) -> str:
    """A process as the name of a worker, which Prefect puts on every run that the worker takes."""
    return f"pgolf {process.host} boot {process.boot} pids {process.pids} pid {process.pid} at {process.at}"


def process_of_worker(name: object) -> Process | None:
    """The worker of that name, if it is one of ours."""
    worker = _WORKER_NAME.fullmatch(str(name))
    return _process(worker.groupdict()) if worker else None


def _process(told: Mapping[str, str]) -> Process:
    return Process(told["host"], told["boot"], told["pids"], int(told["pid"]), told["at"])


def settle(
    client: SyncPrefectClient, *, after_s: float = SETTLE_AFTER_S, claim_within_s: float = CLAIM_WITHIN_S
) -> int:
    """Crash the unfinished runs of dead processes of this machine, and tasks whose flow run ended `after_s` ago.

    A run that was taken `claim_within_s` ago and that no worker and no process claims has lost them in between, and is
    crashed, too. Returns how many states were set. Raises httpx errors where the server does not answer.
    """
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    settled: set[UUID] = set()
    for flow_run in unfinished_runs(client):
        # A worker that lives reports the end of its runs itself: as cancelled, where that is what happened.
        worker_said = flow_run.labels.get("prefect.worker.name")
        worker = process_of_worker(worker_said)
        known = [process for process in (process_of_flow(flow_run.labels), worker) if process is not None]
        if known and all(process.is_gone for process in known):
            process = known[0]
            what = f"process {process.pid} on {process.host} is gone without having reported an end"
        elif not known and worker_said is None and _pending_for_s(flow_run) >= claim_within_s:
            what = f"it was taken {claim_within_s:.0f} s ago by a worker that has not been heard of since"
        else:
            continue
        if crash(client, flow_run.id, f"{what}; finished stages are kept, run it again to go on"):
            settled.add(flow_run.id)
    finished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*TERMINAL_STATES])))
    left = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED)))
    ended: dict[UUID | None, FlowRun] = {}
    for task_run in client.read_task_runs(flow_filter=ours, flow_run_filter=finished, task_run_filter=left):
        if task_run.flow_run_id is None:
            continue
        if task_run.flow_run_id not in ended:
            ended[task_run.flow_run_id] = client.read_flow_run(task_run.flow_run_id)
        state = ended[task_run.flow_run_id].state
        assert state is not None
        # A dead process reports nothing more.
        waited = task_run.flow_run_id in settled or datetime.now(UTC) - state.timestamp >= timedelta(seconds=after_s)
        if waited:
            client.set_task_run_state(task_run.id, Crashed(message="its flow run has ended without it"), force=True)
            settled.add(task_run.id)
    return len(settled)


def unfinished_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Runs of our flows that are not final."""
    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS)),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))),
    )


def _pending_for_s(flow_run: FlowRun) -> float:
    """How long it has been taken and not begun; below 0 where that is not its state."""
    state = flow_run.state
    if state is None or state.type != StateType.PENDING:
        return -1.0
    return (datetime.now(UTC) - state.timestamp).total_seconds()


def crash(client: SyncPrefectClient, flow_run_id: UUID, message: str) -> bool:
    """Set a flow run whose processes are gone to Crashed; False where the last they did was to report an end."""
    state = client.read_flow_run(flow_run_id).state
    if state is not None and state.is_final():
        return False
    client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)
    return True


def end_with_worker() -> None:
    """Have this process told to end when the worker that started it dies: kill -9 of a worker leaves its flows running.

    Nothing happens in a process that no worker of ours has started.
    """
    worker = process_of_worker(os.environ.get("PREFECT__WORKER_NAME"))
    if worker is not None:
        die_with_parent(worker.pid, signal.SIGTERM)


def note_process() -> None:
    """Called by a flow as it begins: label its run with this process, and settle what dead ones have left.

    The run goes on where that fails, for nothing it makes depends on it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:  # called as a plain function
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(context.flow_run.id, {**labels_of(Process.here())})
            settle(client)
    except httpx.HTTPError as error:
        get_run_logger().warning("the server does not answer (%s): a kill of this run may leave it Running", error)


def watch_heartbeats(client: SyncPrefectClient) -> None:
    """Have the server crash runs of our flows that have sent no heartbeat for `SILENCE_S`; does nothing if it does.

    The only remedy where a whole machine is gone.
    """
    if client.read_automations_by_name(AUTOMATION):
        return
    heartbeat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{state.value.capitalize()}" for state in TERMINAL_STATES}
    trigger = EventTrigger(
        after={heartbeat},
        expect={heartbeat, *ends},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOWS},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=SILENCE_S),
    )
    message = f"no heartbeat for {SILENCE_S} s; finished stages are kept, run it again to go on"
    action = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    client.create_automation(
        AutomationCore(
            name=AUTOMATION,
            description="Installed by pgolf: a run whose machine is gone does not stay Running.",
            trigger=trigger,
            actions=[action],
        )
    )
