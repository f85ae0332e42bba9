"""Cost of a checkpoint of a full-size training, in seconds of training time and of disk time, on this CPU.

Ours copies the state between two steps; a thread writes, syncs and records it. "plain" writes, syncs and hashes the
same tensors before training continues, in turns in the same process. One rank; not measured on a GPU, where the copy
crosses the bus. "products beside the writer" is the speed of a thread that multiplies matrices meanwhile.
"""

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, ratios, wall_s
from pgolf.model.config import ModelConfig
from pgolf.model.init import initial_model
from pgolf.model.tensor_file import save_tensors
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.train.averaging import WeightAverage
from pgolf.train.checkpoint_record import PartFile, usable_record
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.config import TrainConfig
from pgolf.train.optimizers import Optimizers
from pgolf.train.state import TrainingState
from pgolf.train.train_job import CheckpointPlace

_OF: dict[str, str | int] = {"number of ranks": 1}


def fresh_state(model: ModelConfig, config: TrainConfig) -> TrainingState:
    """The state of a training before its first step."""
    network = initial_model(model, 1)
    return TrainingState(network, Optimizers(network, config, Ranks()), WeightAverage(network.state_dict(), config))


def plain_s(state: TrainingState, path: Path) -> float:
    """Seconds to write, sync and hash the state directly."""

    def write() -> None:
        save_tensors(path, state.shared | state.own, {})
        with path.open("rb") as file:
            os.fsync(file.fileno())
        PartFile.of(path)

    return wall_s(write)


def products_per_s(seconds: float) -> float:
    """Matrix products per second in this thread."""
    a = torch.ones(512, 512)
    done, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        torch.mm(a, a)
        done += 1
    return done / (time.perf_counter() - began_s)


def measure(model: ModelConfig, config: TrainConfig, folder: Path, repeats: int) -> list[Line]:
    """All lines of the report, from `repeats` checkpoints, each started after the previous one is complete."""
    state = fresh_state(model, config)
    kept = folder / "kept"
    kept.mkdir()
    place = CheckpointPlace(folder=kept, every_s=1.0, of=_OF, resumes=False)
    checkpoints = Checkpoints(place, Ranks())
    checkpoints.restore(state)
    timings: list[list[float]] = [[] for _ in range(7)]
    copies_s, writes_s, plains_s, alone, beside, checks_s, loads_s = timings
    for step in range(1, repeats + 1):
        plains_s.append(plain_s(state, folder / "plain"))
        alone.append(products_per_s(0.3))
        state.steps, state.elapsed_s = step, float(step)
        copies_s.append(wall_s(lambda: checkpoints.keep(state)))
        writes_s.append(wall_s(checkpoints.wait))
        checkpoints.keep(state)
        beside.append(products_per_s(0.3))
        checkpoints.wait()
        checks_s.append(wall_s(lambda: usable_record(kept, _OF)))
        again = Checkpoints(place.model_copy(update={"every_s": 0.0, "resumes": True}), Ranks())
        loads_s.append(wall_s(partial(again.restore, state)))
    size_bytes = sum(path.stat().st_size for path in kept.iterdir())
    checkpoints.close()
    return [
        Line("checkpoint", "MB", Spread.of([size_bytes / 1e6])),
        Line("copy, training stands still", "s", Spread.of(copies_s)),
        Line("written, synced, hashed, recorded, training goes on", "s", Spread.of(writes_s)),
        Line("plain, training stands still", "s", Spread.of(plains_s)),
        Line("standing still: plain / ours", "times", ratios(plains_s, copies_s)),
        Line("products beside the writer / alone", "times", ratios(beside, alone)),
        Line("resuming: files checked", "s", Spread.of(checks_s)),
        Line("resuming: state loaded", "s", Spread.of(loads_s)),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=7)
    parser.add_argument("--recipe", default="pr792", help="default: %(default)s")
    parser.add_argument(
        "--folder", type=Path, default=Path(), metavar="DIR", help="folder on the disk to measure (default: .)"
    )
    options = parser.parse_args(argv)
    recipe = recipe_named(options.recipe)
    torch.set_num_threads(1)  # as the stage does on a CPU
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=options.folder) as folder:
        lines = measure(recipe.model, recipe.train, Path(folder), options.repeats)
    title = f"checkpoint of an unfinished training, {recipe.name}, one rank"
    report = Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.checkpoint_cost", *argv]), lines)
    show(report, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
