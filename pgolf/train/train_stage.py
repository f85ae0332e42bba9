"""Stage `train`: check the inputs, then train on ranks under torchrun."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import read_shard
from pgolf.errors import ConfigError, TrainingError
from pgolf.identity.fingerprint import digest
from pgolf.machine.hardware import cores_for_ranks, cpu_name, gpu_name, ranks_for, refuse_uneven
from pgolf.ranks.devices import devices_for
from pgolf.ranks.run_job import run_job
from pgolf.run_options import Fact, Lease, Made, Progress, RunOptions
from pgolf.train import __main__ as rank_program
from pgolf.train.batches import batches_of
from pgolf.train.checkpoint_record import CHECKPOINT_FORMAT, forget, usable_record
from pgolf.train.config import TrainConfig, TrainStageConfig
from pgolf.train.loss_table import LOSSES_FILE, write_losses
from pgolf.train.train_job import LEDGER_FILE, LOG_FILE, CheckpointPlace, Job, Ledger, Reached


def devices(config: TrainStageConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """Names of the devices here that ranks can use, and how many this training needs."""
    processes = ranks_for(run, config.train.spans_per_step)
    _kind, names = devices_for(replace(run, processes=processes))
    return names, min(processes, len(names))


def own_cores(config: TrainStageConfig, run: RunOptions) -> tuple[int, ...]:
    """The cores that others should leave to a training by the clock; none where it stops by steps. run: with a lease.

    On a CPU those that it has leased.
    """
    if config.train.clock_limit_s is None or run.lease is None:
        return ()
    cores = [name.removeprefix("cpu-") for name in run.lease.devices if name.startswith("cpu-")]
    return tuple(map(int, cores)) or cores_for_ranks(len(run.lease.devices))


def make(config: TrainStageConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, *, seed: int) -> Made:
    """Train `config.model` on the data folder inputs["data"].

    Writes checkpoint.safetensors, losses.parquet (`pgolf.train.loss_table`), train.json and train.log. The checkpoint
    holds the averaged weights and the facts stream_position, seed and steps. If the run stops by steps,
    equal config, data, seed and number of ranks and threads give equal bytes, however often it was killed and resumed
    from a checkpoint in `run.scratch`; a resumed run that stops by the clock is marked `interrupted`. On an error
    train.log stays in `out`. Raises ConfigError or DataError before anything is started, NonFiniteLoss and other errors
    reported by a rank, and LaunchError if a rank dies or times out.
    """
    began_s = time.perf_counter()
    run = replace(run, processes=ranks_for(run, config.train.spans_per_step))
    refuse_uneven(run.processes, config.train.spans_per_step)
    device, names = devices_for(run)
    dataset = open_dataset(inputs["data"])
    _check_tokens(dataset, config)
    # On a CPU, one thread per rank: measured, two threads train this network slower than one (barriers), while two
    # ranks, or two seeds in parallel, are twice as fast; and the bytes do not depend on the machine's number of cores.
    threads = run.threads or (1 if device == "cpu" else max(1, (os.cpu_count() or 1) // run.processes))
    job = Job(
        config=config,
        seed=seed,
        data=inputs["data"],
        out=out,
        device=device,
        threads=threads,
        log_every_steps=run.log_every_steps,
    )
    checked_s = time.perf_counter()
    job = job.model_copy(update={"checkpoints": _checkpoints(job, run, dataset)})
    ledger = _run_job(job, run, run.lease or Lease(names[: run.processes]))
    ranks_s = time.perf_counter() - checked_s
    write_losses(out / LOSSES_FILE, ledger.losses, tokens_per_step=config.train.tokens_per_step)
    phases_s = {"check": checked_s - began_s, **ledger.phases_s}
    phases_s["launch"] = ranks_s - sum(ledger.phases_s.values())
    return Made(
        phases_s={phase: round(seconds, 3) for phase, seconds in phases_s.items()},
        facts={
            "steps": ledger.steps,
            "tokens": ledger.tokens,
            "train_loss_nats": round(ledger.losses[-1][0], 4),
            "train_clock_s": ledger.train_clock_s,
            "device": ledger.device,
            "processes": ledger.processes,
            "interrupted": ledger.interrupted,
            **({"resumed_at_step": ledger.resumed_at[-1]} if ledger.resumed_at else {}),
        },
    )


def _check_tokens(dataset: Dataset, config: TrainStageConfig) -> None:
    """Check that every id the run can read is below the model's vocabulary (a few seconds for 8 GB of shards)."""
    vocab_size = config.model.vocab_size
    if dataset.vocab_size > vocab_size:
        raise ConfigError(
            f"model.vocab_size is {vocab_size}, the tokenizer of {dataset.folder} has {dataset.vocab_size} pieces; "
            f"add --set model.vocab_size={dataset.vocab_size}"
        )
    batches_of(dataset, config.train, vocab_size)  # raises unless there are train shards that it can read
    # Rows come from everywhere, spans one after the other.
    steps = math.inf if config.train.batches == "rows" else max(config.train.steps, config.train.primed_steps)
    reach = steps * config.train.stream_tokens_per_step
    for shard in dataset.train_shards:
        if reach <= 0:
            break
        reach -= read_shard(shard, vocab_size=vocab_size).size


def _checkpoints(job: Job, run: RunOptions, dataset: Dataset) -> CheckpointPlace | None:
    """Where the ranks save checkpoints, and whether they resume from one; reports which, and why not."""
    if run.scratch is None:
        return None
    config = job.config.train
    of: dict[str, str | int] = {
        "format": CHECKPOINT_FORMAT,
        "folder": run.scratch.name,  # named by the output's key, which covers the code
        "config": digest(job.config),
        "seed": job.seed,
        "data": digest([[shard.name, shard.stat().st_size] for shard in dataset.train_shards]),
        # Not by torch: it could leave a CUDA context in this process.
        "device": (gpu_name() or job.device) if job.device == "cuda" else cpu_name(),
        "number of ranks": run.processes,
        "number of threads": job.threads,
        "torch": torch.__version__,
    }

    def say(note: str, start: Reached | None) -> None:
        run.log_line(note)
        run.report(_progress(config, *((0, 0.0) if start is None else (start.steps, start.elapsed_s)), note=note))

    start = usable_record(run.scratch, of, lambda why: say(why, None))
    if start is not None:
        say(f"resumed at step {start.steps:,} of {config.steps:,}", start)
    return CheckpointPlace(folder=run.scratch, every_s=run.checkpoint_every_s, of=of, resumes=start is not None)


def _progress(
    config: TrainConfig,
    step: int,
    elapsed_s: float,
    *,
    is_last: bool = False,
    facts: Mapping[str, Fact] | None = None,
    note: str = "",
) -> Progress:
    """Progress in steps or, for a timed run, in seconds; the last step completes it whenever it ends."""
    if config.clock_end_s is None:
        done, total, unit = step, config.steps, "step"
    else:
        total, unit = math.ceil(config.clock_end_s), "second"
        done = total if is_last else min(int(elapsed_s), total - 1)
    return Progress(stage="train", done=done, total=total, unit=unit, facts=facts or {}, note=note)


def _reported(config: TrainConfig, facts: Mapping[str, Any], *, is_last: bool) -> Progress:
    return _progress(config, facts["step"], facts["elapsed_s"], is_last=is_last, facts=facts)


def _run_job(job: Job, run: RunOptions, leased: Lease) -> Ledger:
    config = job.config.train
    try:
        run_job(
            rank_program.__name__,
            job,
            run,
            leased,
            log_path=job.out / LOG_FILE,
            on_progress=lambda message: run.report(_reported(config, message["facts"], is_last=message["is_last"])),
            is_last=lambda message: bool(message["is_last"]),
        )
    except TrainingError:
        if run.scratch is not None:
            forget(run.scratch)  # resuming would only fail again
        raise
    return Ledger.model_validate_json((job.out / LEDGER_FILE).read_bytes())
