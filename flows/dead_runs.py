"""Detect dead flow runs and set them to Crashed: a killed process cannot report its own end.

Every flow run has labels that identify its process. Processes on this machine are looked up in the process table; runs
on other machines are left to their heartbeat, which the server watches (`watch_heartbeats`). Unfinished task runs of a
finished flow run are set to Crashed, too.
"""

import os
import re
import signal
from collections.abc import Mapping, Sequence
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
from prefect.states import Cancelled, Crashed

from pgolf.machine.parent_death import die_with_parent
from pgolf.machine.process import Process

FLOWS = ["record", "sweep", "verdict"]
AUTOMATION = "pgolf: crash runs without a heartbeat"
# Three heartbeats; with the server's own delays a dead run is final within two minutes.
SILENCE_S = 90
# The last reports of a finished run's tasks may take this long to reach the database.
SETTLE_AFTER_S = 8
# A worker labels a run as its own right after taking it.
CLAIM_WITHIN_S = 60
# The flow run that this process has begun last.
OWN_RUN: list[UUID] = []
_UNFINISHED = [state for state in StateType if state not in TERMINAL_STATES]
_WORKER_NAME = re.compile(r"pgolf (?P<host>\S+) boot (?P<boot>\S+) pids (?P<pids>\d+) pid (?P<pid>\d+) at (?P<at>\d+)")


def labels_of(process: Process) -> dict[str, str]:
    """Flow-run labels that identify a process."""
    return {f"pgolf.{name}": str(value) for name, value in asdict(process).items()}


def process_of_flow(labels: Mapping[str, Any]) -> Process | None:
    """The inverse of `labels_of`; None if the labels are incomplete."""
    found = {name.removeprefix("pgolf."): str(value) for name, value in labels.items() if name.startswith("pgolf.")}
    complete = found.keys() >= {field.name for field in fields(Process)} and found["pid"].isdecimal()
    return _process(found) if complete else None


def worker_name(process: Process) -> str:
    """A worker name that identifies its process; Prefect records it on every run that the worker takes."""
    return f"pgolf {process.host} boot {process.boot} pids {process.pids} pid {process.pid} at {process.at}"


def process_of_worker(name: object) -> Process | None:
    """The inverse of `worker_name`; None for workers of others."""
    worker = _WORKER_NAME.fullmatch(str(name))
    return _process(worker.groupdict()) if worker else None


def _process(parts: Mapping[str, str]) -> Process:
    return Process(parts["host"], parts["boot"], parts["pids"], int(parts["pid"]), parts["at"])


def settle(
    client: SyncPrefectClient, *, after_s: float = SETTLE_AFTER_S, claim_within_s: float = CLAIM_WITHIN_S
) -> int:
    """Set unfinished runs of dead processes on this machine to Crashed, and tasks whose flow run ended `after_s` ago.

    So are runs taken `claim_within_s` ago that no worker and no process has claimed since. Returns the number of states
    set. Raises httpx errors if the server does not answer.
    """
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    settled: set[UUID] = set()
    for flow_run in unfinished_runs(client):
        # A living worker reports the end of its runs itself, for example as cancelled.
        recorded_worker = flow_run.labels.get("prefect.worker.name")
        worker = process_of_worker(recorded_worker)
        known = [process for process in (process_of_flow(flow_run.labels), worker) if process is not None]
        if known and all(process.is_gone for process in known):
            process = known[0]
            what = f"process {process.pid} on {process.host} died without reporting an end"
        elif not known and recorded_worker is None and _pending_for_s(flow_run) >= claim_within_s:
            what = f"it was taken {claim_within_s:.0f} s ago by a worker that has not been heard from since"
        else:
            continue
        if crash(client, flow_run.id, f"{what}; finished stages are kept, run it again to resume"):
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
            client.set_task_run_state(task_run.id, Crashed(message="its flow run ended before it did"), force=True)
            settled.add(task_run.id)
    return len(settled)


def unfinished_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Runs of our flows without a final state."""
    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS)),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))),
    )


def _pending_for_s(flow_run: FlowRun) -> float:
    """Seconds since a run became Pending (taken but not begun); negative if it is not Pending."""
    state = flow_run.state
    if state is None or state.type != StateType.PENDING:
        return -1.0
    return (datetime.now(UTC) - state.timestamp).total_seconds()


def crash(client: SyncPrefectClient, flow_run_id: UUID, message: str) -> bool:
    """Set a flow run with dead processes to Crashed; False if they had reported a final state after all."""
    state = client.read_flow_run(flow_run_id).state
    if state is not None and state.is_final():
        return False
    client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)
    return True


def end_with_worker() -> None:
    """Get SIGTERM when the worker that started this process dies; kill -9 of a worker would leave its flows running.

    Does nothing in a process not started by one of our workers.
    """
    worker = process_of_worker(os.environ.get("PREFECT__WORKER_NAME"))
    if worker is not None:
        die_with_parent(worker.pid, signal.SIGTERM)


def note_process(tags: Sequence[str]) -> None:
    """Called by a flow at its start: label its run with this process, add tags to it (and the host's name), and set
    final states of dead runs.

    A failure is only logged, since no output depends on it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:  # called as a plain function
        return
    try:
        OWN_RUN[:] = [context.flow_run.id]
        with get_client(sync_client=True) as client:
            here = Process.here()
            client.update_flow_run_labels(context.flow_run.id, {**labels_of(here)})
            client.update_flow_run(context.flow_run.id, tags=sorted({*context.flow_run.tags, *tags, here.host}))
            settle(client)
    except httpx.HTTPError as error:
        get_run_logger().warning("the server does not answer (%s): a kill of this run may leave it Running", error)


def cancel_own_run() -> None:
    """Set the flow run of this process to Cancelled, and its open tasks to Crashed; nothing where there is none yet.

    Raises httpx errors if the server does not answer.
    """
    if OWN_RUN:
        with get_client(sync_client=True) as client:
            message = "interrupted by Ctrl-C; finished stages are kept, run it again to resume"
            client.set_flow_run_state(OWN_RUN[0], Cancelled(message=message), force=True)
            settle(client, after_s=0.0)


def watch_heartbeats(client: SyncPrefectClient) -> None:
    """Install the automation, if missing, that sets our runs to Crashed after `SILENCE_S` without a heartbeat.

    The only remedy if a whole machine is lost.
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
    message = f"no heartbeat for {SILENCE_S} s; finished stages are kept, run it again to resume"
    action = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    client.create_automation(
        AutomationCore(
            name=AUTOMATION,
            description="Installed by pgolf: sets runs of lost machines to Crashed.",
            trigger=trigger,
            actions=[action],
        )
    )
