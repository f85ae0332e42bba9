"""Cost of the published sweep run as a sweep, compared with rerunning the evaluation for every point.

20 points for each of three seeds: alpha 0.1 to 0.4 by orders 3 to 7 in hashed tables, fixed weight. The nine points of
the published script (0.10 to 0.30 at order 5; orders 3, 4, 6, 7 at 0.20) are extended to the grid of 20 whose best
point #727 reports, order 7 at 0.40.

Rerun: like the published script, a full evaluation per point: the network over every window, that order's counts, one
mixture. Swept: the network once, the counts of all orders once, all points in one mix. Both with the pipeline's own
stages on the same artifacts, in this process and in turns, seed by seed, so n is the number of seeds; all points are
run, none extrapolated. The networks are trained first and not timed; timings do not depend on their weights.

The recipe and its validation text are small, so a mix mostly opens files. Therefore the time per target is given as
well, and that of a mix's additional points separately from its start. Full size is not measured here.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, ratios, wall_s
from pgolf.counts import count_stage as count
from pgolf.eval import score_stage as score
from pgolf.mix import mix_stage
from pgolf.mix.config import MixConfig
from pgolf.pipeline.graph import Node, input_folders, pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo

ALPHAS = (0.1, 0.2, 0.3, 0.4)
ORDERS = (3, 4, 5, 6, 7)


class Evaluation:
    """One seed's artifact and data, and the stages to run on them; outputs go under `folder`."""

    def __init__(self, recipe: Recipe, node: Node, inputs: Mapping[str, Path], folder: Path) -> None:
        self._recipe, self._score, self._inputs, self._folder = recipe, node.config, dict(inputs), folder
        self._made = self.targets = 0

    def _out(self) -> Path:
        self._made += 1
        out = self._folder / str(self._made)
        out.mkdir(parents=True)
        return out

    def score(self) -> Path:
        """Run the network over every window."""
        out = self._out()
        made = score.make(self._score, self._inputs, out, RunOptions(device="cpu"))
        self.targets = int(made.facts["records"] or 0)
        return out

    def count(self, orders: Sequence[int]) -> Path:
        """Count these orders in hashed tables."""
        out = self._out()
        config = self._recipe.count.of("hashed").model_copy(update={"orders": tuple(orders)})
        count.make(config, self._inputs, out, RunOptions())
        return out

    def mix(self, trace: Path, counts: Path, orders: Sequence[int], alphas: Sequence[float]) -> Path:
        """Mix all these points."""
        out = self._out()
        config = MixConfig(mixers=("fixed",), orders=tuple(orders), alphas=tuple(alphas))
        mix_stage.make(config, self._inputs | {"trace": trace, "counts.hashed": counts}, out, RunOptions())
        return out

    def rerun(self) -> None:
        """Run the full evaluation per point."""
        for order in ORDERS:
            for alpha in ALPHAS:
                self.mix(self.score(), self.count([order]), [order], [alpha])


def evaluations(recipe: Recipe, store: Path, folder: Path, overrides: Sequence[str] = ()) -> list[Evaluation]:
    """One evaluation per seed, its artifact built in `store` unless cached. Raises CalledProcessError on failure.

    overrides: those with which the recipe differs from the catalog's, besides its seeds.
    """
    places = ["--store", str(store), "--results", str(folder / "results")]
    seeds = [str(seed) for seed in recipe.seeds]
    command = ["run", recipe.name, "--seeds", *seeds, "--no-prefect", *places]
    command += [part for override in overrides for part in ("--set", override)]
    subprocess.run([sys.executable, "-m", "flows.commands.cli", *command], check=True, stdout=subprocess.DEVNULL)
    nodes = pipeline(recipe)
    steps = make_plan(nodes, Store(store), Memo(store / ".sources.sqlite"))
    artifacts = {step.node.name: step.artifact for step in steps if step.artifact is not None}
    return [
        Evaluation(recipe, node, input_folders(node, artifacts), folder / node.name)
        for node in nodes
        if node.stage.name == "score"
    ]


def measure(recipe: Recipe, store: Path, folder: Path) -> list[Line]:
    """Seconds of the parts and of both variants."""
    timed = evaluations(recipe, store, folder)
    first = timed[0]
    trace, counts = first.score(), first.count(ORDERS)
    first.mix(trace, counts, ORDERS, ALPHAS)  # once untimed: compile loops, fill the page cache
    targets = first.targets
    score_s, count_s, mix_s, one_s, rerun_s = [], [], [], [], []
    for seed in timed:
        score_s.append(wall_s(seed.score))
        trace = seed.score()
        count_s.append(wall_s(partial(seed.count, ORDERS)))
        counts = seed.count(ORDERS)
        mix_s.append(wall_s(partial(seed.mix, trace, counts, ORDERS, ALPHAS)))
        one_s.append(wall_s(partial(seed.mix, trace, counts, ORDERS[-1:], ALPHAS[-1:])))
        rerun_s.append(wall_s(seed.rerun))
    swept_s = [sum(parts) for parts in zip(score_s, count_s, mix_s, strict=True)]
    points = len(ORDERS) * len(ALPHAS)
    further_s = [all_s - alone_s for all_s, alone_s in zip(mix_s, one_s, strict=True)]
    return [
        Line(f"one pass of the network over {targets:,} targets", "s", Spread.of(score_s)),
        Line("counts of 5 orders", "s", Spread.of(count_s)),
        Line(f"mix of {points} points", "s", Spread.of(mix_s)),
        Line("mix of 1 point", "s", Spread.of(one_s)),
        Line("mix / pass", "%", Spread.of([100 * r for r in _ratio(mix_s, score_s)]), "<= 1"),
        Line("(mix of 20 - mix of 1) / pass", "%", Spread.of([100 * r for r in _ratio(further_s, score_s)])),
        Line("pass, per target", "µs", Spread.of([1e6 * s / targets for s in score_s])),
        Line(f"mix of {points} points, per target", "µs", Spread.of([1e6 * s / targets for s in mix_s])),
        Line("mix of 20 - mix of 1, per target", "µs", Spread.of([1e6 * s / targets for s in further_s])),
        Line(f"swept: pass, counts, mix of {points}", "s", Spread.of(swept_s)),
        Line(f"rerun: {points} evaluations", "s", Spread.of(rerun_s)),
        Line("rerun / swept", "times", ratios(rerun_s, swept_s)),
    ]


def _ratio(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument(
        "--recipe", default="pr715-tiny", help="recipe whose artifacts are evaluated (default: %(default)s)"
    )
    parser.add_argument("--store", type=Path, help="store for the artifacts (default: a temporary folder)")
    options = parser.parse_args(argv)
    seeds = (1337, 42, 7)[: options.repeats]
    recipe = apply_overrides(recipe_named(options.recipe), [f"seeds={list(seeds)}"])
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as temporary:
        lines = measure(recipe, options.store or Path(temporary) / "store", Path(temporary))
    title = f"the published sweep on {options.recipe}, {len(seeds)} seeds"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.sweep_cost", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
