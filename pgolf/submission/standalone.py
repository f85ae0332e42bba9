"""The commands of a bundled script, `python train_gpt.py eval` and `train`: on files around it, without a store.

It runs the very stages of the pipeline, on links to the shards and the tokenizer it is given, so its numbers are the
pipeline's. Under torchrun all ranks train, and all score and learn at test time; the rest (hints, counts, mixtures,
calibration, packing) is rank 0's.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from pgolf.corpus.data_files import find_data
from pgolf.corpus.view import link, write_view
from pgolf.counts import count_stage as count
from pgolf.counts import hint_stage as hint
from pgolf.errors import ConfigError, PgolfError
from pgolf.eval.in_process import device_for, score_on_joined_ranks
from pgolf.mix import mix_stage
from pgolf.pack import compress_stage as compress
from pgolf.pack.load import load_packed
from pgolf.quant import calibration as calibrate
from pgolf.ranks.devices import take_device, usable_gpus
from pgolf.ranks.group import Ranks, join_ranks
from pgolf.run_options import Progress, RunOptions
from pgolf.submission.script_settings import Settings
from pgolf.train.rank import run as train_rank
from pgolf.train.train_job import Job

_SHOW_EVERY_S = 10.0


def main(arguments: Sequence[str], recipe: Settings, script: str) -> int:
    """Run one command; returns the exit code. script: the file that counts."""
    exit_code = _run(_parser().parse_args(arguments), recipe, script)
    if dist.is_torchelastic_launched():
        sys.stdout.flush()
        # All files are written. At the interpreter's own end gloo's threads may abort (`pgolf.ranks.enter`).
        os._exit(exit_code)
    return exit_code


def _run(options: argparse.Namespace, recipe: Settings, script: str) -> int:
    try:
        with _data_folder(options) as data:
            if options.command == "eval":
                _evaluate(recipe, options, data)
            else:
                _train(recipe, options, data, code_bytes=Path(script).stat().st_size)
    except PgolfError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        exit_code = error.exit_code
    except BaseException:
        if not dist.is_initialized():
            raise
        traceback.print_exc()
        exit_code = 1
    else:
        return 0
    if dist.is_initialized():
        os._exit(exit_code)  # at once: to leave the group could wait for ranks that wait for this one
    return exit_code


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description="Trains or evaluates one recipe; made by `pgolf bundle`.")
    commands = top.add_subparsers(dest="command", required=True)
    on_several = "torchrun for several GPUs"
    evaluating = commands.add_parser("eval", help=f"score the validation shards with the packed model; {on_several}")
    training = commands.add_parser("train", help=f"train, quantize and pack; {on_several}")
    for command in (evaluating, training):
        command.add_argument("--data", type=Path, default=Path(), metavar="DIR", help="holds one data set (default: .)")
        command.add_argument(
            "--tokenizer",
            type=Path,
            metavar="MODEL",
            help="default: that of the data",
        )
        command.add_argument("--artifact", type=Path, default=Path("model.pgolf"), metavar="FILE", help="packed model")
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs")
        command.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all cores)")
    training.add_argument("--seed", type=int, default=1337, metavar="N", help="of the initial weights")
    return top


@contextmanager
def _data_folder(options: argparse.Namespace) -> Iterator[Path]:
    """A data folder of the data set under --data. Raises DataError unless there is exactly one, with its tokenizer."""
    found = find_data(options.data, options.tokenizer)
    with tempfile.TemporaryDirectory(prefix="pgolf-") as folder:
        write_view(Path(folder), found, link)
        yield Path(folder)


def _evaluate(recipe: Settings, options: argparse.Namespace, data: Path) -> None:
    """Print a line of JSON per scorer: the network alone, then its headline mixtures."""
    run = RunOptions(device=options.device, threads=options.threads)
    config = recipe.score
    if load_packed(options.artifact).config != recipe.model:
        raise ConfigError(f"{options.artifact} holds another network than this script's recipe; give its own model")
    ranks, device = _joined(device_for(config, run))
    if ranks.rank == 0:
        run = replace(run, report=_Shown().take)
    with tempfile.TemporaryDirectory(prefix="pgolf-") as temporary:
        # All ranks write to the first one's folder, which it removes when it is done with everything.
        parent = Path(ranks.text_of_first(temporary))
        folder = {name: parent / name for name in ("model", "trace", "hashed", "exact", "hints", "cells")}
        hinted = {} if recipe.hint is None else {"hints": folder["hints"]}
        if ranks.rank == 0:
            for path in folder.values():
                path.mkdir()
            (folder["model"] / "model.pgolf").symlink_to(options.artifact.absolute())
            if recipe.hint is not None:
                hint.make(recipe.hint, {"data": data}, folder["hints"], run)
        ranks.wait_for_all()
        scored = {"model": folder["model"], "data": data, **hinted}
        score_on_joined_ranks(config, scored, folder["trace"], run, ranks, device)
        _leave()
        if ranks.rank > 0:
            return
        mixed = {"trace": folder["trace"], "data": data, **hinted}
        for counting in recipe.counts:
            count.make(counting, {"data": data}, folder[counting.estimator], run)
            mixed[f"counts.{counting.estimator}"] = folder[counting.estimator]
        mix_stage.make(recipe.mix, mixed, folder["cells"], run)
        for cell in pq.ParquetFile(folder["cells"] / "cells.parquet").read().to_pylist():
            scorer = json.loads(cell["cell"])
            told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
            print(json.dumps({"scorer": scorer} | {name: cell[name] for name in told}))


def _train(recipe: Settings, options: argparse.Namespace, data: Path, *, code_bytes: int) -> None:
    """Train as one of torchrun's ranks, or alone; rank 0 then packs and moves the model into its place."""
    on_gpu = options.device == "cuda" or (options.device == "auto" and bool(usable_gpus().gpus))
    device_type: Literal["cpu", "cuda"] = "cuda" if on_gpu else "cpu"
    ranks, device = _joined(device_type)
    run = RunOptions(device=device_type, threads=options.threads, report=_Shown().take)
    with tempfile.TemporaryDirectory(prefix="pgolf-", dir=options.artifact.absolute().parent) as temporary:
        out = Path(temporary)
        job = Job(
            config=recipe.training,
            seed=options.seed,
            data=data,
            out=out,
            device=device_type,
            threads=options.threads or 1,
            log_every_steps=10,
        )
        train_rank(job, ranks, device)
        _leave()
        if ranks.rank > 0:
            return
        inputs = {"checkpoint": out, "data": data}
        if recipe.calibrate is not None:
            calibrate.make(recipe.calibrate, inputs, out, run)
            inputs["hessians"] = out
        made = compress.make(recipe.compress, inputs, out, run, code_bytes=code_bytes)
        os.replace(out / "model.pgolf", options.artifact)
        print(json.dumps({"artifact": str(options.artifact), **made.facts}))


def _joined(device_type: Literal["cpu", "cuda"]) -> tuple[Ranks, torch.device]:
    """This process's place among torchrun's ranks, or alone."""
    return join_ranks(device_type) if dist.is_torchelastic_launched() else (Ranks(), take_device(device_type, 0, 1))


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _Shown:
    """Says on stderr, every few seconds, how far a stage has come."""

    def __init__(self) -> None:
        self.shown_s = time.monotonic()

    def take(self, progress: Progress) -> None:
        """Show a report if the last one was long enough ago."""
        now_s = time.monotonic()
        if now_s - self.shown_s >= _SHOW_EVERY_S:
            self.shown_s = now_s
            print(f"{progress.stage} {progress.done:,}/{progress.total:,} {progress.unit}", file=sys.stderr, flush=True)
