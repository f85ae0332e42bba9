"""A training step of a published system at full size: its time, utilization and memory, and whether 600 s suffice."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from pgolf.machine.gpu_peak import peak_flops
from pgolf.model.flops import training_flops_per_token
from pgolf.recipes.recipe import Recipe
from pgolf.selftest.check import Check, Numbers, Place, Verdict
from pgolf.selftest.full_size import full_size
from pgolf.selftest.matrix_rate import matrix_rate
from pgolf.selftest.published_runs import GPUS, PUBLISHED, TRAINING_LIMIT_S
from pgolf.train.loop import StepReport, prime, train

_PRIMING_STEPS, _TIMED_STEPS = 2, 5


def measure(place: Place, recipe_of: Callable[[], Recipe], published: str, *, toy: bool = False) -> Numbers:
    """Milliseconds of every timed step in the training loop itself, with one step in flight, on all ranks together.

    published: the recipe whose published number of steps it is held against.
    """
    system = full_size(recipe_of, place)
    on_cuda = place.device.type == "cuda"
    size = {"size": 8192, "products": 10, "repeats": 3} if on_cuda else {"size": 512, "products": 1, "repeats": 3}
    rate = matrix_rate(place.device, **size)
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    config = system.config(_TIMED_STEPS + 1, _PRIMING_STEPS)
    prime(system.model, config, system.spans, place.ranks, loss=system.loss)
    reports: list[StepReport] = []
    train(
        system.model,
        config,
        system.spans,
        place.ranks,
        clock_s=time.perf_counter,
        on_step=reports.append,
        loss=system.loss,
        lag=1 if on_cuda else 0,
    )
    peak_bytes = torch.cuda.max_memory_allocated() if on_cuda else 0
    system.restart()
    steps_ms = [1e3 * (after.elapsed_s - before.elapsed_s) for before, after in pairwise(reports)]
    flops = training_flops_per_token(system.recipe.model, config.sequence_length) * config.tokens_per_step
    return {
        "published": published,
        "toy": toy,
        "ranks": place.ranks.world_size,
        "steps_ms": [round(ms, 2) for ms in steps_ms],
        "tokens_per_step": config.tokens_per_step,
        "flops_per_step": flops,
        "matrix_flops": max(rate, matrix_rate(place.device, **size)),
        "data_sheet_flops": peak_flops(torch.cuda.get_device_name(place.device)) if on_cuda else None,
        "peak_bytes": peak_bytes,
    }


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Whether the published number of steps fits into 600 s at the median step's time.

    On fewer ranks than the published eight the step is divided as if eight shared it without loss.
    """
    of = by_rank[0]
    run, ranks = PUBLISHED[of["published"]], of["ranks"]
    ms = float(np.median(of["steps_ms"]))
    on_eight_ms = ms * ranks / GPUS
    whole_s = on_eight_ms * run.steps / 1e3
    per_rank = of["flops_per_step"] / ranks / (ms / 1e3)
    of_matrix = 100 * per_rank / min(numbers["matrix_flops"] for numbers in by_rank)
    sheet = f", {100 * per_rank / of['data_sheet_flops']:.0f} % of the data sheet" if of["data_sheet_flops"] else ""
    peak = max(numbers["peak_bytes"] for numbers in by_rank) / 2**30
    memory = f", {peak:.1f} GiB (published {run.memory_gib:.1f})" if peak else ""
    where = "" if ranks == GPUS else f"; on {GPUS} without loss {on_eight_ms:.1f} ms"
    size = "toy size: " if of["toy"] else ""
    return Verdict(
        None if of["toy"] else whole_s <= TRAINING_LIMIT_S,
        f"{size}{ms:.1f} ms on {ranks} (n={len(of['steps_ms'])}, {min(of['steps_ms']):.1f} to "
        f"{max(of['steps_ms']):.1f}), "
        f"{1e3 * of['tokens_per_step'] / ms:,.0f} tokens/s, MFU {of_matrix:.0f} % of the matrix rate measured here"
        f"{sheet}{memory}{where}; {run.steps:,} steps (published, {run.step_ms:.1f} ms) take {whole_s:.0f} of "
        f"{TRAINING_LIMIT_S:.0f} s",
    )


def check_of(recipe_of: Callable[[], Recipe], published: str, *, toy: bool) -> Check:
    """The check of one system. toy: of its small twin, whose seconds are not judged."""
    return Check(
        name=f"step {recipe_of().name}",
        proves=f"600 s of training suffice for the published {PUBLISHED[published].steps:,} steps",
        measure=partial(measure, recipe_of=recipe_of, published=published, toy=toy),
        judge=judge,
        means="a training by the clock ends after fewer steps than the published run, with a worse network; its rates "
        "still fall to 0, since they follow the clock",
        remedy="end what else uses the GPUs (`pgolf doctor`); look at clocks and power (`nvidia-smi -q -d "
        "PERFORMANCE,CLOCK`); utilization far below 40 % with idle GPUs means slow links (`nvidia-smi topo -m`)",
        needs_gpu=not toy,
        limit_s=150.0,
    )
