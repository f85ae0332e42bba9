"""The training stage: checks what can be checked beforehand, then has torchrun train."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import read_shard
from pgolf.errors import ConfigError
from pgolf.hardware import ranks_for, refuse_uneven
from pgolf.lease import Lease, lease
from pgolf.run import Made, Progress, RunOptions
from pgolf.train import __main__ as rank_program
from pgolf.train.config import TrainStageConfig
from pgolf.train.devices import devices_for
from pgolf.train.job import LEDGER_FILE, LOG_FILE, Job, Ledger
from pgolf.train.run_job import run_job


def make(config: TrainStageConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, *, seed: int) -> Made:
    """Train `config.model` on the data folder inputs["data"] and write checkpoint.safetensors, train.json, train.log.

    The checkpoint holds the averaged weights and the facts stream_position, seed and steps; the same config, data and
    seed on the same number of ranks and threads give the same bytes where the run stops by steps. On an error
    train.log stays in `out`. Raises ConfigError or DataError before anything is started, NonFiniteLoss and whatever
    else a rank could explain, and LaunchError for a rank that died or ran out of time.
    """
    began_s = time.perf_counter()
    run = replace(run, processes=ranks_for(run, config.train.spans_per_step))
    refuse_uneven(run.processes, config.train.spans_per_step)
    device, devices = devices_for(run)
    dataset = open_dataset(inputs["data"])
    _check_tokens(dataset, config)
    checked_s = time.perf_counter()
    # On a CPU one thread a rank: measured, two threads train this network slower than one (their barriers), two ranks
    # or two seeds side by side twice as fast; and the bytes do not depend on how many cores a machine has.
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
    with lease(run.lease_dir, devices, min(run.processes, len(devices)), log_line=run.log_line) as leased:
        leased_s = time.perf_counter()
        ledger = _run_job(job, run, leased)
    ranks_s = time.perf_counter() - leased_s
    phases_s = {"check": checked_s - began_s, "wait": leased_s - checked_s, **ledger.phases_s}
    phases_s["launch"] = ranks_s - sum(ledger.phases_s.values())
    return Made(
        phases_s={phase: round(seconds, 3) for phase, seconds in phases_s.items()},
        facts={
            "steps": ledger.steps,
            "tokens": ledger.tokens,
            "train_loss_nats": round(ledger.losses[-1].loss_nats, 4),
            "train_clock_s": ledger.phases_s["train"],
            "device": ledger.device,
            "processes": ledger.processes,
        },
    )


def _check_tokens(dataset: Dataset, config: TrainStageConfig) -> None:
    """Every id the run can meet is below the model's vocabulary: 8 GB of published shards take a few seconds."""
    vocab_size = config.model.vocab_size
    if dataset.vocab_size > vocab_size:
        raise ConfigError(
            f"model.vocab_size is {vocab_size}, the tokenizer of {dataset.folder} has {dataset.vocab_size} pieces; "
            f"set model.vocab_size to {dataset.vocab_size}"
        )
    reach = config.train.steps * config.train.stream_tokens_per_step
    for shard in dataset.train_shards:
        if reach <= 0:
            break
        reach -= read_shard(shard, vocab_size=vocab_size).size


def _run_job(job: Job, run: RunOptions, leased: Lease) -> Ledger:
    config = job.config.train
    limit_s = config.clock_limit_s

    def on_progress(facts: Mapping[str, Any]) -> None:
        by_clock = limit_s is not None
        run.report(
            Progress(
                stage="train",
                done=int(facts["elapsed_s"]) if by_clock else facts["step"],
                total=int(limit_s) if limit_s is not None else config.steps,
                unit="second" if by_clock else "step",
                facts=facts,
            )
        )

    run_job(
        rank_program.__name__,
        job,
        run,
        leased,
        log_path=job.out / LOG_FILE,
        on_progress=on_progress,
        is_last=lambda facts: facts["step"] >= config.steps,
    )
    return Ledger.model_validate_json((job.out / LEDGER_FILE).read_bytes())
