"""The score stage: loss and entropy of every validation target under the packed network, by sliding windows.

The network may learn the text on the way (`pgolf.eval.ttt`): after it has scored it, or, marked as not causal, before.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.shards import stream_digest
from pgolf.errors import ConfigError
from pgolf.eval import __main__ as rank_program
from pgolf.eval.batch_means import BatchMean, write_batch_means
from pgolf.eval.bpb import bits_per_byte, sum_nats
from pgolf.eval.config import ScoreConfig
from pgolf.eval.hints import HINTS_FILE, hint_orders
from pgolf.eval.job import LEDGER_FILE, Job, Ledger
from pgolf.eval.pieces import PIECES_FILE, Piece, joined_pieces
from pgolf.eval.scoring import Scoring, Text, cpu_threads, open_text
from pgolf.eval.trace import Trace, write_trace
from pgolf.hardware import gpu_names
from pgolf.lease import lease
from pgolf.run import Fact, Made, Progress, RunOptions
from pgolf.train.devices import devices_for
from pgolf.train.run_job import run_job

LOG_FILE = "score.log"


def make(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the validation tokens of `data` with the packed network of `model`.

    Writes trace.arrow, with the log-probabilities of the hints where there is an input `hints`, and batches.arrow where
    the configuration asks for batch means. On a CPU in this process, unless `run.processes` asks for ranks; on CUDA as
    one rank per GPU under a lease. The bytes do not depend on the number of ranks (on CUDA: where nothing is learned).
    Raises ConfigError where the precision asks for a device that is not there or test-time training would freeze every
    block, DataError and its kin for data that is shorter than one window or of another vocabulary, ArtifactError for a
    packed file that cannot be decoded, NonFiniteLoss where test-time training diverges, LaunchError for a rank that
    died or ran out of time.
    """
    device = device_for(config, run)
    default = max(1, len(gpu_names())) if device == "cuda" else 1
    run = replace(run, device=device, processes=run.processes or default)
    if device == "cpu" and run.processes == 1:
        return score_here(config, inputs, out, run)
    return _score_on_ranks(config, inputs, out, run)


def score_here(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """`make` in this very process, without a lease."""
    device = device_for(config, run)
    text = open_text(config, inputs["data"])
    scoring = Scoring(
        config,
        inputs,
        torch.device(device),
        text=text,
        threads=cpu_threads(run.threads) if device == "cpu" else 1,
        report=partial(_progress, run),
    )
    facts = _write_outputs(config, inputs, text, scoring.pieces(), out)
    return Made(phases_s=scoring.phases_s, facts={**facts, "device": device, **scoring.facts})


def _score_on_ranks(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    began_s = time.perf_counter()
    device, devices = devices_for(run)
    text = open_text(config, inputs["data"])
    threads = cpu_threads(run.threads, run.processes) if device == "cpu" else 1
    job = Job(config=config, inputs=dict(inputs), out=out, device=device, threads=threads)
    checked_s = time.perf_counter()
    with lease(run.lease_dir, devices, min(run.processes, len(devices)), log_line=run.log_line) as leased:
        leased_s = time.perf_counter()
        run_job(
            rank_program.__name__,
            job,
            run,
            leased,
            log_path=out / LOG_FILE,
            on_progress=lambda told: _progress(run, told["done"], told["total"], told["facts"]),
            is_last=lambda told: bool(told["done"] == told["total"]),
        )
    ran_s = time.perf_counter()
    facts = _write_outputs(config, inputs, text, joined_pieces(out, run.processes), out)
    ledger = Ledger.model_validate_json((out / LEDGER_FILE).read_bytes())
    for path in (out / LEDGER_FILE, *(out / PIECES_FILE.format(rank=rank) for rank in range(run.processes))):
        path.unlink()
    phases_s = {"check": checked_s - began_s, "wait": leased_s - checked_s, **ledger.phases_s}
    phases_s["launch"] = ran_s - leased_s - sum(ledger.phases_s.values())
    phases_s["join"] = time.perf_counter() - ran_s
    return Made(phases_s=phases_s, facts={**facts, "device": device, "processes": run.processes, **ledger.facts})


def device_for(config: ScoreConfig, run: RunOptions) -> Literal["cpu", "cuda"]:
    """The device that computes in the precision asked for; `run.device` may confirm it, not change it.

    The network computes in float32 on a CPU and in bfloat16 on CUDA, and the two give other losses (up to 1e-2 nats a
    token). So precision, which is part of the output's identity, chooses the device. Raises ConfigError where it is
    not there or another one was asked for.
    """
    needed: Literal["cpu", "cuda"] = "cuda" if config.precision == "bfloat16" else "cpu"
    if run.device not in ("auto", needed):
        other = "bfloat16" if run.device == "cuda" else "float32"
        raise ConfigError(
            f"precision {config.precision} is computed on {needed}, but device {run.device} was asked for; "
            f"set score.precision={other}, or leave the device to choose itself"
        )
    if needed == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "precision bfloat16 is computed on CUDA, and torch finds no CUDA device; run on a GPU node, "
            "or set score.precision=float32"
        )
    return needed


def _write_outputs(
    config: ScoreConfig, inputs: Mapping[str, Path], text: Text, pieces: Iterable[Piece], out: Path
) -> dict[str, Fact]:
    """Write the trace, and the batch means where they are asked for, from pieces in order; returns the facts."""
    plan = text.plan
    orders = hint_orders(inputs["hints"] / HINTS_FILE) if "hints" in inputs else ()
    totals = _Totals(text, ByteTable.from_tokenizer(text.dataset.tokenizer_model, vocab_size=text.dataset.vocab_size))
    write_trace(
        out / "trace.arrow",
        totals.watch(pieces, orders),
        plan=plan,
        causal=config.causal,
        stream=stream_digest(text.tokens),
        hint_orders=orders,
    )
    assert totals.records == plan.records, f"{totals.records} of {plan.records} records were scored"
    if config.batch_means:
        write_batch_means(out / "batches.arrow", totals.means)
    return {
        "targets": plan.targets,
        "records": plan.records,
        "windows": plan.windows,
        "bytes": totals.bytes,
        "loss_nats": totals.nats / plan.records,
        "bpb": bits_per_byte(totals.nats, totals.bytes),
        "causal": config.causal,
    }


@dataclass
class _Totals:
    """Running sums over the pieces on their way into the trace file: nats (float64) and bytes, and the batch means."""

    text: Text
    table: ByteTable
    records: int = 0
    nats: float = 0.0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.means: list[BatchMean] = []

    def watch(self, pieces: Iterable[Piece], orders: tuple[int, ...]) -> Iterator[Trace]:
        """The pieces with their targets."""
        for piece in pieces:
            trace = piece.trace(self.text.plan, orders)
            self.records += len(trace)
            self.nats += sum_nats(trace.loss_nats)
            first, last = int(trace.target.min()), int(trace.target.max())
            span_bytes = self.table.target_bytes(self.text.tokens[first - 1 : last + 1])
            self.bytes += int(span_bytes[trace.target - first].sum())
            if piece.mean is not None:
                self.means.append(piece.mean)
            yield trace


def _progress(run: RunOptions, done: int, total: int, facts: Mapping[str, Fact]) -> None:
    run.report(Progress(stage="score", done=done, total=total, unit="targets", facts=facts))
