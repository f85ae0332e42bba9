"""Final states for runs whose process is gone: it can no longer report its end, so the next process of ours does.

Every flow run carries as labels where it runs. Labels that name this machine are checked against the process table;
runs of other machines are left to their heartbeat, which the server watches (`watch_heartbeats`). A task run that its
flow run has left behind unfinished ends with it.
"""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
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

from pgolf.hardware import host_name
from pgolf.parent_death import die_with_parent

FLOWS = ["record", "sweep"]
AUTOMATION = "pgolf: crash runs without a heartbeat"
# Three heartbeats; with the server's own delays a dead run is final within two minutes.
SILENCE_S = 90
# What a finished run's tasks reported may still be on its way into the database.
SETTLE_AFTER_S = 8
_UNFINISHED = [state for state in StateType if state not in TERMINAL_STATES]
_WORKER_NAME = re.compile(r"pgolf (?P<host>\S+) boot (?P<boot>\S+) pids (?P<pids>\d+) pid (?P<pid>\d+) at (?P<at>\d+)")


@dataclass(frozen=True, slots=True)
class Process:
    """A process named so that it cannot be taken for another: host, boot, pid namespace, pid and start time."""

    host: str
    boot: str
    pids: str
    pid: str
    at: str

    @classmethod
    def here(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(host_name(), _boot_id(), str(os.stat("/proc/self/ns/pid").st_ino), str(pid), _start_time(pid) or "")

    @classmethod
    def of_flow(cls, labels: Mapping[str, Any]) -> Self | None:
        """The process that runs the flow, from the labels it has put on its run."""
        fields = {name: str(labels[f"pgolf.{name}"]) for name in cls.__slots__ if f"pgolf.{name}" in labels}
        return cls(**fields) if len(fields) == len(cls.__slots__) else None

    @classmethod
    def of_worker(cls, name: object) -> Self | None:
        """The worker of that name, if it is one of ours."""
        worker = _WORKER_NAME.fullmatch(str(name))
        return cls(**worker.groupdict()) if worker else None

    def labels(self) -> dict[str, str]:
        """The same as labels of a flow run."""
        return {f"pgolf.{name}": getattr(self, name) for name in self.__slots__}

    def worker_name(self) -> str:
        """The same as the name of a worker, which Prefect puts on every run that the worker takes."""
        return f"pgolf {self.host} boot {self.boot} pids {self.pids} pid {self.pid} at {self.at}"

    def is_gone(self) -> bool:
        """Whether it has certainly ended; False for processes that cannot be seen from here."""
        here = Process.here()
        if self.host != here.host:
            return False
        if self.boot != here.boot:
            return True
        return self.pids == here.pids and _start_time(int(self.pid)) != self.at


def settle(client: SyncPrefectClient, *, after_s: float = SETTLE_AFTER_S) -> int:
    """Crash the unfinished runs of dead processes of this machine, and tasks whose flow run ended `after_s` ago.

    Returns how many states were set. Raises httpx errors where the server does not answer.
    """
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    settled: set[UUID] = set()
    for flow_run in unfinished_runs(client):
        # A worker that lives reports the end of its runs itself: as cancelled, where that is what happened.
        worker = Process.of_worker(flow_run.labels.get("prefect.worker.name"))
        known = [process for process in (Process.of_flow(flow_run.labels), worker) if process is not None]
        if known and all(process.is_gone() for process in known):
            process = known[0]
            what = f"process {process.pid} on {process.host} is gone without having reported an end"
            crash(client, flow_run.id, f"{what}; finished stages are kept, run it again to go on")
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


def crash(client: SyncPrefectClient, flow_run_id: UUID, message: str) -> None:
    """Set a flow run to Crashed, whatever it is in."""
    client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)


def end_with_worker() -> None:
    """Have this process told to end when the worker that started it dies: kill -9 of a worker leaves its flows running.

    Nothing happens in a process that no worker of ours has started.
    """
    worker = Process.of_worker(os.environ.get("PREFECT__WORKER_NAME"))
    if worker is not None:
        die_with_parent(int(worker.pid), signal.SIGTERM)


def note_process() -> None:
    """Called by a flow as it begins: label its run with this process, and settle what dead ones have left.

    The run goes on where that fails, for nothing it makes depends on it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:  # called as a plain function
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(context.flow_run.id, {**Process.here().labels()})
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


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


def _start_time(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
