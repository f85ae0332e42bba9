"""A Prefect process worker that leaves nothing running: told to end, it first ends its runs through the API.

Prefect's own worker kills its runs' processes at SIGTERM and leaves the runs Running (measured with 3.8.8).
"""

import abc
import asyncio
import logging
import os
import signal
import time
from collections.abc import Set
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Scheduled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.ending import terminate
from flows.settling import crash, settle, unfinished_runs, watch_heartbeats, worker_name
from pgolf.errors import ConfigError
from pgolf.machine.children import children
from pgolf.machine.process import Process

LOOK_EVERY_S = 5.0
# Prefect gives a cancelled process 30 s before it kills it, and looks for cancelled runs every few seconds.
CANCEL_WITHIN_S = 60.0
# A flow that is told to end does so within 20 s (flows.record).
END_WITHIN_S = 25.0

_log = logging.getLogger("pgolf.worker")


class NodeWorker(ProcessWorker, abc.ABC):  # ABC: it is not to replace Prefect's under the name "process"
    """Knows which runs it has running, and takes no new ones once it is stopping."""

    def __init__(self, pool: str, limit: int) -> None:
        super().__init__(
            work_pool_name=pool, name=worker_name(Process.here()), limit=limit, create_pool_if_not_found=False
        )
        self.stopping = False
        self.running: set[UUID] = set()
        self.not_begun: set[UUID] = set()  # runs that we have taken and not started a process for

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """As Prefect's, until we stop."""
        if self.stopping:
            return []
        taken = await super().get_and_submit_flow_runs()
        self.not_begun.update(flow_run.id for flow_run in taken if flow_run.id not in self.running)
        return taken

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        """As Prefect's, remembered; once we stop no process is started any more."""
        if self.stopping:
            await asyncio.Event().wait()  # until the worker ends, which gives the run back
        self.not_begun.discard(flow_run.id)
        self.running.add(flow_run.id)
        try:
            return await super().run(flow_run, configuration, task_status)
        finally:
            self.running.discard(flow_run.id)


def prepare_server(client: SyncPrefectClient, pool: str, limit: int) -> str:
    """The pool, made where it is missing, and the watch on heartbeats; returns a sentence about the pool."""
    watch_heartbeats(client)
    try:
        found = client.read_work_pool(pool)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=limit))
        return f"made work pool {pool} for {limit} run(s) at once"
    if found.type != "process":
        raise ConfigError(f"work pool {pool} is of type {found.type}, not process; choose another name with --pool")
    return f"work pool {pool} allows {found.concurrency_limit or 'any number of'} run(s) at once on all its nodes"


async def serve(pool: str, limit: int) -> None:
    """Run a worker until SIGTERM or Ctrl-C, then cancel its runs, wait until they are gone, and settle all states."""
    worker = NodeWorker(pool, limit)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    working = asyncio.create_task(worker.start())
    looking = asyncio.create_task(_keep_settling())
    stop = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        worker.stopping = True
        if told.is_set():
            _log.info("stopping: cancelling %d run(s)", len(worker.running))
            await _cancel_runs(worker)
    finally:
        for task in (working, looking, stop):
            task.cancel()
        ends = await asyncio.gather(working, looking, stop, return_exceptions=True)
        await asyncio.to_thread(_end_children)
        await asyncio.to_thread(settle_own, worker.name, frozenset(worker.not_begun))
    if isinstance(ends[0], Exception):
        raise ends[0]


async def _keep_settling() -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(httpx.HTTPError):  # the server is away; the worker says so itself
            await asyncio.to_thread(_settle)


async def _cancel_runs(worker: NodeWorker) -> None:
    """Of those that have a process; no more come to have one."""
    deadline_s = time.monotonic() + CANCEL_WITHIN_S
    try:
        for flow_run_id in list(worker.running):
            await worker.client.set_flow_run_state(flow_run_id, Cancelling(message="its worker was told to stop"))
    except httpx.HTTPError as error:
        _log.warning("the server does not answer (%s); ending the runs without it", error)
        return
    while worker.running and time.monotonic() < deadline_s:
        await asyncio.sleep(0.2)


def _end_children() -> None:
    """SIGTERM for what is left of our runs, then SIGKILL; their ranks go with them."""
    deadline_s = time.monotonic() + END_WITHIN_S
    for pid in children(os.getpid()):
        terminate(pid)
    while (left := children(os.getpid())) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _settle() -> int:
    with get_client(sync_client=True) as client:
        return settle(client)


def settle_own(name: str, not_begun: Set[UUID]) -> None:
    """Our runs have no process any more: their states become final. What never had one is given back to the pool."""
    try:
        with get_client(sync_client=True) as client:
            for flow_run in unfinished_runs(client):
                claimed_by = flow_run.labels.get("prefect.worker.name")
                if flow_run.id in not_begun:
                    if flow_run.state_type == StateType.PENDING and claimed_by in (name, None):
                        message = "its worker was stopped before it began; the next one takes it"
                        client.set_flow_run_state(flow_run.id, Scheduled(message=message), force=True)
                elif claimed_by == name:
                    crash(client, flow_run.id, "its worker was stopped; finished stages are kept, run it again")
            time.sleep(2.0)  # what tasks have reported last is then in the database
            settle(client, after_s=0.0)
    except httpx.HTTPError as error:
        _log.warning("the server does not answer (%s); the next worker or run will settle what is left", error)
