"""Cost of watching what a stage reads: the same work with the watch of its stage and without, in turns, in one process.

The stages are the pipeline's own, on the artifacts of a small recipe: counts of five orders, and a mix of 495 points. A
training step is forward, backward and update of the recipe's network on this CPU. An audit hook cannot be taken away,
so it is there in both cases; without a watch it looks up its event and the thread, and returns. The first line is of a
file that may be read, opened by a stage's own code.
"""

import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.measured import Line, Report, arguments_parser, show
from bench.sweep_cost import ORDERS, Evaluation, evaluations
from bench.timing import Spread, in_turns_s, ratios
from bench.train_step import Workload, workload
from pgolf.identity.watch import Watch, watching
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.train.loop import accumulate_gradients
from pgolf.train.optimizers import Optimizers

_OPENS = 1000
ALPHAS = tuple(percent / 100 for percent in range(1, 100))
# So many turns more of stages that take milliseconds: one is off by a fifth, and what is asked for is a fiftieth.
_MORE_TURNS = 20
# Four times the twins' own validation documents: a watch of its own takes 0.2 ms, whatever is watched.
_MORE_TEXT = ("tokenize.val_one_in=16",)


def opened_us(folder: Path, repeats: int) -> tuple[Spread, Spread]:
    """Microseconds to open and close a file, watched and not."""
    path = folder / "data"
    path.write_bytes(b"0")

    def opens() -> None:
        for _ in range(_OPENS):
            path.open("rb").close()

    watched_s, plain_s = in_turns_s([within(folder, opens), opens], repeats)
    per_open = 1e6 / _OPENS
    return Spread.of([per_open * s for s in watched_s]), Spread.of([per_open * s for s in plain_s])


def within(folder: Path, work: Callable[[], object]) -> Callable[[], None]:
    """The work under the watch of a stage that may read this folder."""

    def watched() -> None:
        with watching(Watch("bench", [folder])):
            work()

    return watched


def training_step(work: Workload) -> Callable[[], None]:
    """One step of a training, without its data parallel parts."""
    optimizers = Optimizers(work.model, work.config, Ranks())

    def step() -> None:
        accumulate_gradients(work.model, work.config, work.spans, Ranks(), 0, loss=work.loss)
        optimizers.muon.step(lr=1e-4, momentum=0.95)

    return step


def measure(evaluation: Evaluation, step: Callable[[], object], folder: Path, repeats: int) -> list[Line]:
    """All lines of the report."""
    trace, counts = evaluation.score(), evaluation.count(ORDERS)
    works: dict[str, Callable[[], object]] = {
        "counts of 5 orders": lambda: evaluation.count(ORDERS),
        "mix of 495 points": lambda: evaluation.mix(trace, counts, ORDERS, ALPHAS),
        "training step": step,
    }
    opened, plain = opened_us(folder, repeats)
    lines = [Line("a file opened, watched", "µs", opened), Line("a file opened, not watched", "µs", plain)]
    for name, work in works.items():
        work()  # once untimed: compile loops, fill the page cache
        turns = repeats if name == "training step" else repeats * _MORE_TURNS
        watched_s, plain_s = in_turns_s([within(folder, work), work], turns)
        target = "" if name == "training step" else "<= 1.02"
        lines += [
            Line(f"{name}, not watched", "ms", Spread.of([1e3 * s for s in plain_s])),
            Line(f"{name}: watched / not", "times", ratios(watched_s, plain_s), target),
        ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=15)
    parser.add_argument("--recipe", default="pr715-tiny", help="recipe whose stages are run (default: %(default)s)")
    options = parser.parse_args(argv)
    recipe = apply_overrides(recipe_named(options.recipe), ["seeds=[1337]", *_MORE_TEXT])
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as temporary:
        folder = Path(temporary)
        (evaluation,) = evaluations(recipe, folder / "store", folder, _MORE_TEXT)
        step = training_step(workload(recipe.model, recipe.train, torch.device("cpu"), folder))
        lines = measure(evaluation, step, folder, options.repeats)
    title = f"watching what stages read, {options.recipe}"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.watch_cost", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
