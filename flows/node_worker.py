"""A Prefect process worker with graceful shutdown: on SIGTERM it first cancels its runs through the API.

Prefect's own worker kills the processes of its runs on SIGTERM and leaves the runs Running (measured with 3.8.8).
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

from flows.dead_runs import crash, settle, unfinished_runs, watch_heartbeats, worker_name
from flows.shutdown import terminate
from pgolf.errors import ConfigError
from pgolf.machine.children import children
from pgolf.machine.process import Process

SETTLE_EVERY_S = 5.0
# Prefect polls for cancelled runs every few seconds, and gives a cancelled process a grace period of 30 s.
CANCEL_WITHIN_S = 60.0
# A flow ends within 20 s of SIGTERM (flows.record).
END_WITHIN_S = 25.0

_log = logging.getLogger("pgolf.worker")


class NodeWorker(ProcessWorker, abc.ABC):  # ABC: must not replace Prefect's worker under the name "process"
    """Tracks its runs, and takes no new ones once it is stopping."""

    def __init__(self, pool: str, limit: int) -> None:
        super().__init__(
            work_pool_name=pool, name=worker_name(Process.here()), limit=limit, create_pool_if_not_found=False
        )
        self.stopping = False
        self.running: set[UUID] = set()
        self.not_begun: set[UUID] = set()  # runs we have taken but not started a process for

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """As in Prefect, but takes nothing while stopping."""
        if self.stopping:
            return []
        taken = await super().get_and_submit_flow_runs()
        self.not_begun.update(flow_run.id for flow_run in taken if flow_run.id not in self.running)
        return taken

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        """As in Prefect, and tracks the run; starts no process while stopping."""
        if self.stopping:
            await asyncio.Event().wait()  # until the worker ends, which returns the run to the pool
        self.not_begun.discard(flow_run.id)
        self.running.add(flow_run.id)
        try:
            return await super().run(flow_run, configuration, task_status)
        finally:
            self.running.discard(flow_run.id)


def prepare_server(client: SyncPrefectClient, pool: str, limit: int) -> str:
    """Create the work pool if needed, and the heartbeat automation; returns a sentence about the pool."""
    watch_heartbeats(client)
    try:
        found = client.read_work_pool(pool)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=limit))
        return f"created work pool {pool} for {limit} concurrent run(s)"
    if found.type != "process":
        raise ConfigError(f"work pool {pool} is of type {found.type}, not process; choose another name with --pool")
    return f"work pool {pool} allows {found.concurrency_limit or 'any number of'} concurrent run(s) on all its nodes"


async def serve(pool: str, limit: int) -> None:
    """Run a worker until SIGTERM or Ctrl-C, then cancel its runs, wait until they are gone, and set final states."""
    worker = NodeWorker(pool, limit)
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    working = asyncio.create_task(worker.start())
    settling = asyncio.create_task(_settle_periodically())
    stop = asyncio.create_task(stop_requested.wait())
    try:
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        worker.stopping = True
        if stop_requested.is_set():
            _log.info("stopping: cancelling %d run(s)", len(worker.running))
            await _cancel_runs(worker)
    finally:
        for task in (working, settling, stop):
            task.cancel()
        ends = await asyncio.gather(working, settling, stop, return_exceptions=True)
        await asyncio.to_thread(_end_children)
        await asyncio.to_thread(settle_own, worker.name, frozenset(worker.not_begun))
    if isinstance(ends[0], Exception):
        raise ends[0]


async def _settle_periodically() -> None:
    while True:
        await asyncio.sleep(SETTLE_EVERY_S)
        with suppress(httpx.HTTPError):  # the server is unreachable; the worker logs that itself
            await asyncio.to_thread(_settle)


async def _cancel_runs(worker: NodeWorker) -> None:
    """Cancel the runs that have a process (no further processes are started) and wait for them."""
    deadline_s = time.monotonic() + CANCEL_WITHIN_S
    try:
        for flow_run_id in list(worker.running):
            await worker.client.set_flow_run_state(flow_run_id, Cancelling(message="its worker is stopping"))
    except httpx.HTTPError as error:
        _log.warning("the server does not answer (%s); stopping the runs without it", error)
        return
    while worker.running and time.monotonic() < deadline_s:
        await asyncio.sleep(0.2)


def _end_children() -> None:
    """Send SIGTERM, then SIGKILL, to the remaining processes of our runs; their ranks die with them."""
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
    """Set final states for our runs, whose processes are gone; return runs that never had a process to the pool."""
    try:
        with get_client(sync_client=True) as client:
            for flow_run in unfinished_runs(client):
                claimed_by = flow_run.labels.get("prefect.worker.name")
                if flow_run.id in not_begun:
                    if flow_run.state_type == StateType.PENDING and claimed_by in (name, None):
                        message = "its worker stopped before starting it; the next worker takes it"
                        client.set_flow_run_state(flow_run.id, Scheduled(message=message), force=True)
                elif claimed_by == name:
                    crash(client, flow_run.id, "its worker was stopped; finished stages are kept, run it again")
            time.sleep(2.0)  # until the tasks' last reports are in the database
            settle(client, after_s=0.0)
    except httpx.HTTPError as error:
        _log.warning("the server does not answer (%s); the next worker or run will set the final states", error)
