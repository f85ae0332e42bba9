"""Scoring in the current process, alone or as one of several ranks, and writing the output files: the part of the score
stage used by bundled scripts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from pgolf.corpus.shards import stream_digest
from pgolf.corpus.target_bytes import TargetBytes
from pgolf.errors import ConfigError
from pgolf.eval.batch_means import BatchMean, write_batch_means
from pgolf.eval.bpb import bits_per_byte, sum_nats
from pgolf.eval.config import ScoreConfig
from pgolf.eval.hints import HINTS_FILE, hint_orders
from pgolf.eval.pieces import PIECES_FILE, Piece, merged_pieces, write_pieces
from pgolf.eval.scoring import Scoring, Text, cpu_threads, open_text
from pgolf.eval.trace import Trace, write_trace
from pgolf.ranks.devices import usable_gpus
from pgolf.ranks.group import Ranks
from pgolf.run_options import Fact, Made, Progress, RunOptions


def score_in_process(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """As `pgolf.eval.score_stage.make`, without a device lease and without ranks."""
    device = device_for(config, run)
    text = open_text(config, inputs["data"])
    scoring = _scoring(config, inputs, text, run, Ranks(), torch.device(device))
    facts = write_outputs(config, inputs, text, scoring.pieces(), out)
    return Made(phases_s=scoring.phases_s, facts={**facts, "device": device, **scoring.facts})


def score_on_joined_ranks(
    config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, ranks: Ranks, device: torch.device
) -> None:
    """Score this rank's share; rank 0 then writes to `out` what `score_in_process` writes. For a script under torchrun.

    out: one folder of all ranks, who are in a process group already and all call this. Their pieces stay there.
    """
    text = open_text(config, inputs["data"])
    write_pieces(out / PIECES_FILE.format(rank=ranks.rank), _scoring(config, inputs, text, run, ranks, device).pieces())
    ranks.wait_for_all()
    if ranks.rank == 0:
        write_outputs(config, inputs, text, merged_pieces(out, ranks.world_size), out)


def _scoring(
    config: ScoreConfig, inputs: Mapping[str, Path], text: Text, run: RunOptions, ranks: Ranks, device: torch.device
) -> Scoring:
    return Scoring(
        config,
        inputs,
        device,
        text=text,
        ranks=ranks,
        threads=cpu_threads(run.threads, ranks.world_size) if device.type == "cpu" else 1,
        report=partial(report_progress, run),
    )


def device_for(config: ScoreConfig, run: RunOptions) -> Literal["cpu", "cuda"]:
    """The device that computes in the configured precision; `run.device` may confirm it, not change it.

    The network computes in float32 on a CPU and in bfloat16 on CUDA, and their losses differ (by up to 1e-2 nats a
    token). So precision, which is part of the cache key, determines the device. Raises ConfigError if that device is
    missing or another one was requested.
    """
    needed: Literal["cpu", "cuda"] = "cuda" if config.precision == "bfloat16" else "cpu"
    if run.device not in ("auto", needed):
        other = "bfloat16" if run.device == "cuda" else "float32"
        raise ConfigError(
            f"precision {config.precision} is computed on {needed}, but device {run.device} was requested; "
            f"add --set score.precision={other}, or use --device auto"
        )
    if needed == "cuda" and not (seen := usable_gpus()).gpus:
        raise ConfigError(
            f"precision bfloat16 is computed on CUDA, but {seen.counted}; run on a GPU node, or set "
            "score.precision=float32"
        )
    return needed


def write_outputs(
    config: ScoreConfig, inputs: Mapping[str, Path], text: Text, pieces: Iterable[Piece], out: Path
) -> dict[str, Fact]:
    """Write the trace, and the batch means if configured, from pieces in order; returns the facts."""
    plan = text.plan
    orders = hint_orders(inputs["hints"] / HINTS_FILE) if "hints" in inputs else ()
    totals = _Totals(text, TargetBytes(text.dataset, text.tokens))
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
    """Running totals over the pieces as they are written: nats (float64), bytes, and the batch means."""

    text: Text
    target_bytes: TargetBytes
    records: int = 0
    nats: float = 0.0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.means: list[BatchMean] = []

    def watch(self, pieces: Iterable[Piece], orders: tuple[int, ...]) -> Iterator[Trace]:
        """Yield each piece as trace rows, adding it to the totals."""
        for piece in pieces:
            trace = piece.trace(self.text.plan, orders)
            self.records += len(trace)
            self.nats += sum_nats(trace.loss_nats)
            self.bytes += self.target_bytes.total(trace.target)
            if piece.mean is not None:
                self.means.append(piece.mean)
            yield trace


def report_progress(run: RunOptions, done: int, total: int, facts: Mapping[str, Fact]) -> None:
    """Report how many targets are scored."""
    run.report(Progress(stage="score", done=done, total=total, unit="targets", facts=facts))
