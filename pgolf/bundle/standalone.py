"""What a bundled script does: `python train_gpt.py` trains, packs and evaluates on files around it, without a store.

`train` and `eval` are its two halves. It runs the very stages of the pipeline, on links to the shards and the tokenizer
it is given, so its numbers are the pipeline's. Under torchrun all ranks train, and all score and learn at test time;
the rest (calibration, packing, hints, counts, mixtures) is rank 0's. What it prints is the log of the seed
(`pgolf.bundle.log_lines`); how far a stage has come goes to stderr.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from pgolf.bundle.log_lines import (
    calibrate_line,
    clock_line,
    compress_lines,
    headline_line,
    score_lines,
    train_line,
)
from pgolf.bundle.script_settings import Settings
from pgolf.corpus.data_files import find_data
from pgolf.corpus.view import link, write_view
from pgolf.counts import count_stage as count
from pgolf.counts import hint_stage as hint
from pgolf.errors import ConfigError, LaunchError, PgolfError
from pgolf.eval.in_process import device_for, score_on_joined_ranks
from pgolf.mix import mix_stage
from pgolf.pack import compress_stage as compress
from pgolf.pack.clock import Clock
from pgolf.pack.load import load_packed
from pgolf.quant import calibration as calibrate
from pgolf.ranks.devices import take_device, usable_gpus
from pgolf.ranks.group import Ranks, join_group
from pgolf.run_options import Progress, RunOptions
from pgolf.train.rank import choose_determinism
from pgolf.train.rank import run as train_rank
from pgolf.train.train_job import LEDGER_FILE, Job

_SHOW_EVERY_S = 10.0


def main(arguments: Sequence[str], recipe: Settings, script: str, environment: Mapping[str, str]) -> int:
    """Run one command; returns the exit code.

    script: the file that counts. environment: what DATA_PATH, TOKENIZER_PATH and SEED say where no option does.
    """
    options = _options(arguments, environment)
    exit_code = _run(options, recipe, script, is_first=environment.get("RANK", "0") == "0")
    if dist.is_torchelastic_launched():
        sys.stdout.flush()
        # All files are written. At the interpreter's own end gloo's threads may abort (`pgolf.ranks.enter`).
        os._exit(exit_code)
    return exit_code


def _run(options: argparse.Namespace, recipe: Settings, script: str, *, is_first: bool) -> int:
    try:
        _work(options, recipe, code_bytes=Path(script).stat().st_size)
    except (PgolfError, OSError) as error:
        # Before the ranks are joined all fail alike, and one that has lost another has nothing to add.
        if is_first or (dist.is_initialized() and not isinstance(error, LaunchError)):
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        exit_code = getattr(error, "exit_code", 1)
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


def _options(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Trains, packs and evaluates one recipe, on several GPUs under torchrun; made by `pgolf bundle`."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("train", "eval"),
        help="train and pack only, or score the validation shards with a packed model only (default: both)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=environment.get("DATA_PATH") or ".",
        metavar="DIR",
        help="holds one data set, at any depth (default: DATA_PATH, or .)",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=environment.get("TOKENIZER_PATH") or None,
        metavar="MODEL",
        help="default: TOKENIZER_PATH, or that of the data",
    )
    parser.add_argument("--artifact", type=Path, default="model.pgolf", metavar="FILE", help="packed model")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--seed", metavar="N", help="of the initial weights (default: SEED, or 1337)")
    options = parser.parse_args(arguments)
    if options.command == "eval" and options.seed:
        parser.error("eval takes no --seed")
    options.seed = options.seed or environment.get("SEED") or "1337"
    return options


def _work(options: argparse.Namespace, recipe: Settings, *, code_bytes: int) -> None:
    """Train, evaluate or both, as one of torchrun's ranks or alone, in a folder that all share."""
    trains, evaluates = options.command != "eval", options.command != "train"
    run = RunOptions(device=options.device, threads=options.threads)
    scores_on = device_for(recipe.score, run) if evaluates else "cpu"
    trains_on: Literal["cpu", "cuda"] = "cuda" if trains and options.device != "cpu" and usable_gpus().gpus else "cpu"
    if trains and trains_on == "cpu" and options.device == "cuda":
        raise ConfigError("device cuda requested, but there is no GPU; use --device auto or cpu")
    on_gpu = "cuda" in (trains_on, scores_on)
    ranks = join_group("cuda" if on_gpu else "cpu") if dist.is_torchelastic_launched() else Ranks()
    # A trained model is moved into its place, and what is evaluated may lie where nobody may write.
    beside = options.artifact.absolute().parent if trains else None
    with tempfile.TemporaryDirectory(prefix="pgolf-", dir=beside) as temporary:
        if ranks.rank == 0:
            _check(options, recipe, trains=trains)
            write_view(Path(temporary, "data"), find_data(options.data, options.tokenizer), link)
            run = replace(run, report=_Shown().take)
        # All ranks read and write in the first one's folder, which it removes when it is done with everything.
        place = Path(ranks.text_of_first(temporary))
        if trains:
            _train(recipe, options, place, replace(run, device=trains_on), ranks, code_bytes=code_bytes)
        if evaluates:
            _evaluate(recipe, options, place, run, ranks, take_device(scores_on, ranks.rank, ranks.world_size))


def _check(options: argparse.Namespace, recipe: Settings, *, trains: bool) -> None:
    if not trains:
        if load_packed(options.artifact).config != recipe.training.model:
            raise ConfigError(f"{options.artifact} holds another network than this script's recipe; give its own model")
    elif not (options.seed.isdecimal() and int(options.seed) < 1 << 32):
        said = f"SEED or --seed is {options.seed!r}, no whole number from 0 to {(1 << 32) - 1}"
        raise ConfigError(said)  # not as a literal: who runs a script has no map of its messages at hand


def _train(
    recipe: Settings, options: argparse.Namespace, place: Path, run: RunOptions, ranks: Ranks, *, code_bytes: int
) -> None:
    """Train; rank 0 then packs and moves the model into its place."""
    assert run.device != "auto"
    device, threads = take_device(run.device, ranks.rank, ranks.world_size), torch.get_num_threads()
    job = Job(
        config=recipe.training,
        seed=int(options.seed),
        data=place / "data",
        out=place,
        device=run.device,
        threads=run.threads or 1,
        log_every_steps=10,
    )
    train_rank(job, ranks, device)
    # What follows computes as it does in a process of its own.
    choose_determinism(device, False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(threads)
    if options.command:
        _leave()
    if ranks.rank > 0:
        return
    ledger = json.loads((place / LEDGER_FILE).read_bytes())
    _say([train_line(job.seed, ledger | {"train_loss_nats": ledger["losses"][-1][0]})])
    phases_s = {"train": ledger["train_clock_s"]}
    clock = Clock()
    inputs = {"checkpoint": place, "data": job.data}
    if recipe.calibrate is not None:
        made = calibrate.make(recipe.calibrate, inputs, place, run)
        clock.lap("calibrate")
        phases_s |= clock.phases_s
        _say([calibrate_line(made.facts, phases_s["calibrate"])])
        inputs["hessians"] = place
    made = compress.make(recipe.compress, inputs, place, run, code_bytes=code_bytes)
    os.replace(place / "model.pgolf", options.artifact)
    clock.lap("compress")
    _say([*compress_lines(made.facts, clock.phases_s["compress"]), clock_line("training", phases_s)])


def _evaluate(
    recipe: Settings, options: argparse.Namespace, place: Path, run: RunOptions, ranks: Ranks, device: torch.device
) -> None:
    """Score; rank 0 then counts, mixes and prints a line per scorer: the network alone, then its headline mixtures."""
    clock = Clock()
    data = place / "data"
    folder = {name: place / name for name in ("model", "trace", "hashed", "exact", "hints", "cells")}
    hinted = {} if recipe.hint is None else {"hints": folder["hints"]}
    if ranks.rank == 0:
        for path in folder.values():
            path.mkdir()
        (folder["model"] / "model.pgolf").symlink_to(options.artifact.absolute())
        if recipe.hint is not None:
            hint.make(recipe.hint, {"data": data}, folder["hints"], run)
            clock.lap("hint")
    ranks.wait_for_all()
    scored = {"model": folder["model"], "data": data, **hinted}
    score_on_joined_ranks(recipe.score, scored, folder["trace"], run, ranks, device)
    _leave()
    if ranks.rank > 0:
        return
    clock.lap("score")
    mixed = {"trace": folder["trace"], "data": data, **hinted}
    for counting in recipe.counts:
        count.make(counting, {"data": data}, folder[counting.estimator], run)
        mixed[f"counts.{counting.estimator}"] = folder[counting.estimator]
        clock.lap(f"count[{counting.estimator}]")
    mix_stage.make(recipe.mix, mixed, folder["cells"], run)
    clock.lap("mix")
    cells = pq.ParquetFile(folder["cells"] / "cells.parquet").read().to_pylist()
    _say([*score_lines(cells), clock_line("evaluation", clock.phases_s), headline_line(cells)])


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


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
