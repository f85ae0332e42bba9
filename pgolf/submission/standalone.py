"""The commands of a bundled script, `python train_gpt.py eval` and `train`: on files around it, without a store.

It runs the very stages of the pipeline, on links to the shards and the tokenizer it is given, so its numbers are the
pipeline's. Training under torchrun uses all its ranks; what follows training is rank 0's.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import torch.distributed as dist

from pgolf.corpus.data_files import find_data
from pgolf.corpus.view import link, write_view
from pgolf.counts import count_stage as count
from pgolf.counts import hint_stage as hint
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.errors import PgolfError
from pgolf.eval.config import ScoreConfig
from pgolf.eval.in_process import score_in_process
from pgolf.mix import mix_stage
from pgolf.mix.config import MixConfig
from pgolf.pack import compress_stage as compress
from pgolf.pack.config import CompressConfig
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.ranks.devices import take_device, usable_gpus
from pgolf.ranks.group import Ranks, join_ranks
from pgolf.run import Progress, RunOptions
from pgolf.train.config import TrainStageConfig
from pgolf.train.rank import run as train_rank
from pgolf.train.train_job import Job

_SHOW_EVERY_S = 10.0


def main(arguments: Sequence[str], recipe: Mapping[str, Any], script: str) -> int:
    """Run one command; returns the exit code. recipe: its sections as plain data. script: the file that counts."""
    options = _parser().parse_args(arguments)
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
    evaluating = commands.add_parser("eval", help="score the validation shards with the packed model")
    training = commands.add_parser("train", help="train, quantize and pack; torchrun for several GPUs")
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


def _evaluate(recipe: Mapping[str, Any], options: argparse.Namespace, data: Path) -> None:
    """Print a line of JSON per scorer: the network alone, then its headline mixtures."""
    run = RunOptions(device=options.device, threads=options.threads, report=_Shown().take)
    with tempfile.TemporaryDirectory(prefix="pgolf-") as temporary:
        folder = {name: Path(temporary) / name for name in ("model", "trace", "hashed", "exact", "hints", "cells")}
        for path in folder.values():
            path.mkdir()
        (folder["model"] / "model.pgolf").symlink_to(options.artifact.absolute())
        hinted = {}
        if recipe["hint"] is not None:
            hint.make(HintConfig.model_validate_json(json.dumps(recipe["hint"])), {"data": data}, folder["hints"], run)
            hinted["hints"] = folder["hints"]
        scored = {"model": folder["model"], "data": data, **hinted}
        score_in_process(ScoreConfig.model_validate_json(json.dumps(recipe["score"])), scored, folder["trace"], run)
        mixed = {"trace": folder["trace"], "data": data, **hinted}
        for estimator in recipe["estimators"]:
            config = CountConfig.model_validate_json(json.dumps(recipe["count"])).of(estimator)
            count.make(config, {"data": data}, folder[estimator], run)
            mixed[f"counts.{estimator}"] = folder[estimator]
        mix_stage.make(MixConfig.model_validate_json(json.dumps(recipe["mix"])), mixed, folder["cells"], run)
        for cell in pq.ParquetFile(folder["cells"] / "cells.parquet").read().to_pylist():
            scorer = json.loads(cell["cell"])
            told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
            print(json.dumps({"scorer": scorer} | {name: cell[name] for name in told}))


def _train(recipe: Mapping[str, Any], options: argparse.Namespace, data: Path, *, code_bytes: int) -> None:
    """Train as one of torchrun's ranks, or alone; rank 0 then packs and moves the model into its place."""
    on_gpu = options.device == "cuda" or (options.device == "auto" and bool(usable_gpus().gpus))
    device_type: Literal["cpu", "cuda"] = "cuda" if on_gpu else "cpu"
    launched = dist.is_torchelastic_launched()
    ranks, device = join_ranks(device_type) if launched else (Ranks(), take_device(device_type, 0, 1))
    run = RunOptions(device=device_type, threads=options.threads, report=_Shown().take)
    with tempfile.TemporaryDirectory(prefix="pgolf-", dir=options.artifact.absolute().parent) as temporary:
        out = Path(temporary)
        job = Job(
            config=TrainStageConfig.model_validate_json(json.dumps({n: recipe[n] for n in ("model", "train")})),
            seed=options.seed,
            data=data,
            out=out,
            device=device_type,
            threads=options.threads or 1,
            log_every_steps=10,
        )
        train_rank(job, ranks, device)
        if launched:
            dist.destroy_process_group()
        if ranks.rank > 0:
            return
        config = CompressConfig.model_validate_json(json.dumps(recipe["compress"]))
        inputs = {"checkpoint": out, "data": data}
        if config.needs_hessians:
            calibrate.make(CalibrateConfig.model_validate_json(json.dumps(recipe["calibrate"])), inputs, out, run)
            inputs["hessians"] = out
        made = compress.make(config, inputs, out, run, code_bytes=code_bytes)
        os.replace(out / "model.pgolf", options.artifact)
        print(json.dumps({"artifact": str(options.artifact), **made.facts}))


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
