"""How long stages take side by side, when each starts as soon as its inputs and its devices are free.

Stages that lease no device are taken to run side by side at full speed, so this is the least a run can take.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgolf.machine.hardware import core_count, gpu_names
from pgolf.pipeline.graph import Node
from pgolf.pipeline.placement import Hardware
from pgolf.recipes.recipe import TRAIN
from pgolf.run_options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One stage's work. pool: the devices it leases `devices` of, "" for none."""

    name: str
    seconds: float
    parents: tuple[str, ...] = ()
    pool: str = ""
    devices: int = 0


def work_of(node: Node, seconds: float, run: RunOptions, pools: Mapping[str, int]) -> Work:
    """The node's work on a machine of these pools.

    A stage that uses a GPU leases one per rank; of cores training leases one per rank, and what else runs as several.
    """
    here = Hardware.here(node.stage, node.config, run)
    leases = node.stage is TRAIN or (node.stage.uses_gpu and (here.gpu is not None or here.ranks > 1))
    pool = ("gpu" if here.gpu else "cpu") if leases else ""
    devices = min(here.ranks, pools[pool]) if leases else 0
    return Work(name=node.name, seconds=seconds, parents=node.parents, pool=pool, devices=devices)


def pools_here() -> dict[str, int]:
    """Devices of this machine by the pool they are leased from."""
    return {"gpu": max(1, len(gpu_names())), "cpu": core_count()}


def makespan_s(works: Sequence[Work], pools: Mapping[str, int]) -> float:
    """Seconds from the first start to the last end; parents that are not among `works` are there already.

    Those who wait for devices of a pool form one queue, in the order of `works`, as in `pgolf.machine.lease`.
    """
    free = dict(pools)
    left = {work.name: set(work.parents) & {other.name for other in works} for work in works}
    waiting = list(works)
    running: list[tuple[float, int, Work]] = []
    now_s = 0.0
    while waiting or running:
        held_up: set[str] = set()
        for work in list(waiting):
            if left[work.name] or work.pool in held_up:
                continue
            if work.pool and work.devices > free[work.pool]:
                held_up.add(work.pool)
                continue
            waiting.remove(work)
            if work.pool:
                free[work.pool] -= work.devices
            heapq.heappush(running, (now_s + work.seconds, len(waiting), work))
        assert running, f"{waiting[0].name} waits for ever"
        now_s, _order, ended = heapq.heappop(running)
        if ended.pool:
            free[ended.pool] += ended.devices
        for needed in left.values():
            needed.discard(ended.name)
    return now_s
