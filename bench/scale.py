"""A sweep with three seeds and 10,000 grid points each, from finished networks to tables, pictures and Prefect records.

`pgolf sweep` under Prefect's in-process server, with a task per seed for its mixtures, against the same stages in one
plain process (`--no-prefect`), in turns, each on its own copy of the same store. Peak memory is that of the process
that runs the flow, including mixtures, without Prefect's server. Then typical follow-ups: `pgolf results` over all
rows, against reading the same file with pyarrow into Python rows in a separate process, and `pgolf plan` of the same
grid. Prefect's growth is that of its whole home folder (database and stored results) over one such flow; an earlier
flow with few points has created the database.

Networks and counts are made first and not timed: the demo's, trained for a few steps, since timings do not depend on
the weights.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES

SEEDS = (1337, 42, 7)
MOST_POINTS = 10_001  # the grid plus the network alone
SMALL = (
    *("train.steps=4", "train.warmdown_steps=2", "train.priming_steps=0", "calibrate.batches=1"),
    "compress.budget_bytes=16000000",
)
PLAIN_READ = (
    "import sys, pyarrow.parquet as pq\nwith pq.ParquetFile(sys.argv[1]) as f: print(len(f.read().to_pylist()))"
)


@dataclass(frozen=True, slots=True)
class Ran:
    """Cost of one command. peak_bytes: peak memory of its own process."""

    wall_s: float
    peak_bytes: int


class Place:
    """A store with finished networks, and commands that run on copies of it."""

    def __init__(self, folder: Path, seeds: Sequence[int], sets: Sequence[str]) -> None:
        self._folder, self._made = folder, 0
        self._recipe = ["demo", "--seeds", *map(str, seeds), *(part for item in sets for part in ("--set", item))]
        self._environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
        self._environment.pop("PREFECT_API_URL", None)  # measure the in-process server
        self._command(["run", *self._recipe, "--no-prefect", *self._places(folder / "store", folder / "first")])

    def _places(self, store: Path, results: Path) -> list[str]:
        return ["--store", str(store), "--results", str(results)]

    def _command(self, arguments: Sequence[str]) -> Ran:
        """Run a command to completion. Raises CalledProcessError, with its output, if it fails."""
        command = [sys.executable, "-m", "flows.commands.cli", *arguments]
        with tempfile.TemporaryFile() as said:
            began_s = perf_counter()
            process = subprocess.Popen(command, env=self._environment, stdout=said, stderr=subprocess.STDOUT)
            _pid, status, usage = os.wait4(process.pid, 0)
            wall_s = perf_counter() - began_s
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                print(said.read().decode(errors="replace"), file=sys.stderr)
                raise subprocess.CalledProcessError(process.returncode, command)
        return Ran(wall_s, usage.ru_maxrss * 1024)

    def sweep(self, grid: str, *options: str) -> tuple[Ran, Path]:
        """Sweep a grid on a fresh copy of the store; returns its cost and the folder of its tables."""
        self._made += 1
        store, results = self._folder / f"store-{self._made}", self._folder / f"results-{self._made}"
        shutil.copytree(self._folder / "store", store)
        command = ["sweep", *self._recipe, "--grid", grid, "--max-points", str(MOST_POINTS), *options]
        ran = self._command([*command, *self._places(store, results)])
        return ran, results

    def results(self, results: Path) -> float:
        """Seconds of `pgolf results`."""
        return self._command(["results", "--results", str(results)]).wall_s

    def plan(self) -> float:
        """Seconds of `pgolf plan` on the store of the last sweep."""
        store = self._folder / f"store-{self._made}"
        return self._command(["plan", *self._recipe, *self._places(store, self._folder / "first")]).wall_s

    def prefect_bytes(self) -> int:
        """Size of Prefect's home folder."""
        return size_bytes(self._folder / "prefect")


def size_bytes(folder: Path) -> int:
    """Size of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(place: Place, grid: str, repeats: int) -> list[Line]:
    """Sweep, read, plan, and count bytes."""
    _ran, few = place.sweep("alpha=0.2 order=2", "--no-prefect")  # once untimed: compile loops
    place.sweep("alpha=0.2 order=2")  # and let Prefect create its database
    flows: list[Ran] = []
    plains: list[Ran] = []
    grown = []
    folder = few
    for _ in range(repeats):
        before = place.prefect_bytes()
        ran, folder = place.sweep(grid)
        flows.append(ran)
        grown.append(place.prefect_bytes() - before)
        plains.append(place.sweep(grid, "--no-prefect")[0])
    rows = read(folder, SCORES, columns=["seed"]).num_rows
    (table,) = (folder / SCORES.name).iterdir()
    plain_read = [sys.executable, "-c", PLAIN_READ, str(table)]
    results_s, read_s, plan_s = in_turns_s(
        [
            lambda: place.results(folder),
            lambda: subprocess.run(plain_read, check=True, stdout=subprocess.DEVNULL),
            place.plan,
        ],
        max(3, repeats),
    )
    flow_s, plain_s = [ran.wall_s for ran in flows], [ran.wall_s for ran in plains]
    return [
        Line("flow under Prefect: wall", "s", Spread.of(flow_s)),
        Line("one plain process: wall", "s", Spread.of(plain_s)),
        Line("flow / plain process", "times", ratios(flow_s, plain_s)),
        Line("flow - plain process", "s", Spread.of([a - b for a, b in zip(flow_s, plain_s, strict=True)])),
        Line("flow: peak memory", "MB", Spread.of([ran.peak_bytes / 1e6 for ran in flows])),
        Line("plain process: peak memory", "MB", Spread.of([ran.peak_bytes / 1e6 for ran in plains])),
        Line(f"score table of {rows:,} rows", "MB", Spread.of([table.stat().st_size / 1e6])),
        Line("all tables and pictures", "MB", Spread.of([size_bytes(folder) / 1e6])),
        Line("what Prefect keeps of one flow", "MB", Spread.of([size / 1e6 for size in grown])),
        Line(f"pgolf results over {rows:,} rows", "s", Spread.of(results_s), "<= 2"),
        Line("pgolf results / reading the rows with pyarrow", "times", ratios(results_s, read_s)),
        Line("pgolf plan", "s", Spread.of(plan_s), "<= 2"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument("--alphas", type=int, default=625, help="weights of the grid (default: %(default)s)")
    options = parser.parse_args(argv)
    # Two mixers, two estimators and four orders of each weight.
    points = 16 * options.alphas
    grid = f"alpha=0:{(options.alphas - 1) / 1000:g}:0.001 order=2..5 mixer=fixed,backoff"
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as temporary:
        lines = measure(Place(Path(temporary), SEEDS, SMALL), grid, options.repeats)
    title = f"a flow of {len(SEEDS)} seeds x {points:,} grid points"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.scale", *argv]), lines), as_json=options.json
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
