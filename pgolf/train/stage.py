"""The training stage: checks what can be checked beforehand, then has torchrun train."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from pgolf import errors
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import read_shard
from pgolf.errors import ConfigError, LaunchError, PgolfError, TrainingError
from pgolf.fingerprint import digest
from pgolf.hardware import cpu_name, ranks_for, refuse_uneven
from pgolf.launch import run_ranks
from pgolf.lease import lease
from pgolf.run import Fact, Made, Progress, RunOptions
from pgolf.train import __main__ as rank_program
from pgolf.train.checkpoint_record import CHECKPOINT_FORMAT, forget, sound_record
from pgolf.train.config import TrainConfig, TrainStageConfig
from pgolf.train.job import (
    FAILURE_FILE,
    JOB_FILE,
    LEDGER_FILE,
    LOG_FILE,
    PROGRESS_MARK,
    CheckpointPlace,
    Failure,
    Job,
    Ledger,
    Reached,
)

_REPORT_EVERY_S = 0.25


def make(config: TrainStageConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, *, seed: int) -> Made:
    """Train `config.model` on the data folder inputs["data"] and write checkpoint.safetensors, train.json, train.log.

    The checkpoint holds the averaged weights and the facts stream_position, seed and steps; the same config, data and
    seed on the same number of ranks and threads give the same bytes where the run stops by steps, however often it was
    killed and went on from a checkpoint in `run.scratch`; one that stops by the clock and went on says `interrupted`.
    On an error train.log stays in `out`. Raises ConfigError or DataError before anything is started, NonFiniteLoss and
    whatever else a rank could explain, and LaunchError for a rank that died or ran out of time.
    """
    began_s = time.perf_counter()
    run = replace(run, processes=ranks_for(run, config.train.spans_per_step))
    refuse_uneven(run.processes, config.train.spans_per_step)
    device, devices = _devices(run)
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
        job = job.model_copy(update={"checkpoints": _checkpoints(job, run, dataset)})
        environment = _environment(device, leased.devices)
        ledger = _run_job(job, run, environment, keep_open=leased.descriptors)
    ranks_s = time.perf_counter() - leased_s
    phases_s = {"check": checked_s - began_s, "wait": leased_s - checked_s, **ledger.phases_s}
    phases_s["launch"] = ranks_s - sum(ledger.phases_s.values())
    return Made(
        phases_s={phase: round(seconds, 3) for phase, seconds in phases_s.items()},
        facts={
            "steps": ledger.steps,
            "tokens": ledger.tokens,
            "train_loss_nats": round(ledger.losses[-1].loss_nats, 4),
            "train_clock_s": ledger.train_clock_s,
            "device": ledger.device,
            "processes": ledger.processes,
            "interrupted": ledger.interrupted,
            **({"resumed_at_step": ledger.resumed_at[-1]} if ledger.resumed_at else {}),
        },
    )


def _devices(run: RunOptions) -> tuple[Literal["cpu", "cuda"], tuple[str, ...]]:
    """The kind of device and the names that leases go by: GPUs by their UUID, a CPU by its cores."""
    available = torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise ConfigError(
            f"device cuda asked for, but torch {torch.__version__} sees none here; use device auto or cpu"
        )
    if run.device == "cpu" or not available:
        return "cpu", tuple(f"cpu-{i}" for i in range(len(os.sched_getaffinity(0))))
    gpus = tuple(f"gpu-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count()))
    if run.processes > len(gpus):
        raise ConfigError(f"{run.processes} ranks asked for, torch sees {len(gpus)} GPUs; a rank needs its own")
    return "cuda", gpus


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


def _checkpoints(job: Job, run: RunOptions, dataset: Dataset) -> CheckpointPlace | None:
    """Where the ranks keep checkpoints, and whether they go on from one. Says so, or why not."""
    if run.scratch is None:
        return None
    config = job.config.train
    of: dict[str, str | int] = {
        "format": CHECKPOINT_FORMAT,
        "folder": run.scratch.name,  # the store's name for the output, so for its code too
        "config": digest(job.config),
        "seed": job.seed,
        "data": digest([[shard.name, shard.stat().st_size] for shard in dataset.train_shards]),
        "device": torch.cuda.get_device_name() if job.device == "cuda" else cpu_name(),
        "number of ranks": run.processes,
        "number of threads": job.threads,
        "torch": torch.__version__,
    }

    def say(note: str, start: Reached | None) -> None:
        run.log_line(note)
        run.report(_progress(config, *((0, 0.0) if start is None else (start.steps, start.elapsed_s)), note=note))

    start = sound_record(run.scratch, of, lambda why: say(why, None))
    if start is not None:
        say(f"resumed at step {start.steps:,} of {config.steps:,}", start)
    return CheckpointPlace(folder=run.scratch, every_s=run.checkpoint_every_s, of=of, resumes=start is not None)


def _progress(
    config: TrainConfig, step: int, elapsed_s: float, *, facts: Mapping[str, Fact] | None = None, note: str = ""
) -> Progress:
    limit_s = config.clock_limit_s
    return Progress(
        stage="train",
        done=step if limit_s is None else int(elapsed_s),
        total=config.steps if limit_s is None else int(limit_s),
        unit="step" if limit_s is None else "second",
        facts=facts or {},
        note=note,
    )


def _environment(device: Literal["cpu", "cuda"], leased: tuple[str, ...]) -> dict[str, str]:
    gloo = {"GLOO_SOCKET_IFNAME": "lo"}  # else gloo looks up the host's name, which need not resolve
    if device == "cuda":
        return {
            **gloo,
            "CUDA_VISIBLE_DEVICES": ",".join(name.replace("gpu-", "GPU-", 1) for name in leased),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what torch asks for where algorithms must be deterministic
        }
    return {
        **gloo,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_WAIT_POLICY": "PASSIVE",
        # Keep freed activations for the next step: giving them back to the kernel costs a fifth of the time in faults.
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**32),
    }


def _run_job(job: Job, run: RunOptions, environment: Mapping[str, str], *, keep_open: tuple[int, ...]) -> Ledger:
    job_path = job.out / JOB_FILE
    job_path.write_text(job.model_dump_json())
    listener = _RankListener(job.config.train, run)
    try:
        run_ranks(
            rank_program.__name__,
            [str(job_path)],
            processes=run.processes,
            log_path=job.out / LOG_FILE,
            on_line=listener.take,
            unlogged_prefix=PROGRESS_MARK,
            environment=environment,
            threads=job.threads,
            timeout_s=run.timeout_s,
            keep_open=keep_open,
        )
    except LaunchError as error:
        explained = _explained(job.out, run.processes)
        if isinstance(explained, TrainingError) and run.scratch is not None:
            forget(run.scratch)  # it would only end there again
        if explained is not None:
            raise explained from error
        raise
    finally:
        job_path.unlink()
        for rank in range(run.processes):
            (job.out / FAILURE_FILE.format(rank=rank)).unlink(missing_ok=True)
    return Ledger.model_validate_json((job.out / LEDGER_FILE).read_bytes())


def _explained(out: Path, processes: int) -> PgolfError | None:
    """The error that the lowest rank which could explain itself has left."""
    for rank in range(processes):
        path = out / FAILURE_FILE.format(rank=rank)
        if path.is_file():
            failure = Failure.model_validate_json(path.read_bytes())
            error: PgolfError = getattr(errors, failure.kind)(failure.message)
            return error
    return None


class _RankListener:
    """Turns what the ranks print into log lines and, a few times a second at most, progress reports."""

    def __init__(self, config: TrainConfig, run: RunOptions) -> None:
        self.config, self.run = config, run
        self.reported_s = 0.0

    def take(self, line: str) -> None:
        if not line.startswith(PROGRESS_MARK):
            self.run.log_line(line)
            return
        facts = json.loads(line.removeprefix(PROGRESS_MARK))
        now_s = time.monotonic()
        if now_s - self.reported_s < _REPORT_EVERY_S and facts["step"] < self.config.steps:
            return
        self.reported_s = now_s
        self.run.report(_progress(self.config, facts["step"], facts["elapsed_s"], facts=facts))
