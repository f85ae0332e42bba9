"""What a person waits for after an evaluation-only change: `pgolf run` of a recipe whose grid alone is new.

Each turn takes a weight that no turn had before: with Prefect's own server, without Prefect, and an empty flow under
Prefect's own server as the reference (`prefect` doing nothing). Seconds to the result are from the last finished mix to
the first line of the table; those to the end include the pictures. Then Ctrl-C, sent to the whole process group as a
terminal does, at three moments. Needs a store in which the recipe has run; otherwise it says so and exits with 2.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measured import Line, Report, arguments_parser, show
from bench.start import PGOLF, NothingToReuse, check_reuse, recipe_arguments
from bench.timing import Spread, ratios

NOTHING = """
from flows.settings import apply_settings
apply_settings(quiet=True)
from prefect import flow
flow(lambda: None, name="nothing")()
"""
# What has been printed when Ctrl-C is sent: the server starts, the first mixture is computed, pictures are drawn.
MOMENTS = {"the server starts": r"stages reused", "it mixes": r"^▸ mix", "it draws": r"^table: "}
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Timed:
    """One command. lines: when each was printed, seconds after the start. cpu_s: of all its processes."""

    wall_s: float
    cpu_s: float
    exit_code: int
    lines: tuple[tuple[float, str], ...]

    def said_s(self, pattern: str, *, last: bool = False) -> float:
        """When a line that fits was printed, the first or the last of them."""
        found = [at_s for at_s, line in self.lines if re.search(pattern, line)]
        if not found:
            said = "\n".join(line for _, line in self.lines)
            raise RuntimeError(f"no line fits {pattern!r}; exit code {self.exit_code}:\n{said}")
        return found[-1 if last else 0]


def timed(command: Sequence[str], *, interrupt_at: str | None = None) -> Timed:
    """Run a command without the user's Prefect server. interrupt_at: Ctrl-C once a line fits.

    wall_s is then from the signal on.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    before = os.times()
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command, env={**environment, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    lines: list[tuple[float, str]] = []
    signalled_s = started_s
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            lines.append((time.perf_counter() - started_s, line.rstrip("\n")))
            if interrupt_at and signalled_s == started_s and re.search(interrupt_at, line):
                signalled_s = time.perf_counter()
                os.killpg(process.pid, signal.SIGINT)
    exit_code = process.returncode
    ended_s, after = time.perf_counter(), os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Timed(ended_s - signalled_s, cpu_s, exit_code, tuple(lines))


def measure(pgolf_arguments: Sequence[str], repeats: int) -> list[Line]:
    """Seconds of the reruns and their ratios to an empty flow. Raises NothingToReuse."""
    check_reuse(pgolf_arguments)
    weights = iter(f"0.{time.time_ns() % 10**9 + i:09d}" for i in range(3 * repeats + 2 + len(MOMENTS)))

    def rerun(*options: str) -> list[str]:
        return [*PGOLF, "run", *pgolf_arguments, "--set", f"mix.alphas=0.1,{next(weights)},0.4", *options]

    for command in ([sys.executable, "-c", NOTHING], rerun(), rerun("--no-prefect")):  # fill the page cache
        timed(command)
    nothing, with_prefect, without = [], [], []
    for _ in range(repeats):
        nothing.append(timed([sys.executable, "-c", NOTHING]))
        with_prefect.append(timed(rerun()))
        without.append(timed(rerun("--no-prefect")))
    lines = [
        Line("an empty flow, Prefect's own server", "s", Spread.of([run.wall_s for run in nothing])),
        Line("an empty flow, Prefect's own server: CPU", "s", Spread.of([run.cpu_s for run in nothing])),
    ]
    for how, runs, limit_s in (("with Prefect's own server", with_prefect, 10), ("without Prefect", without, 4)):
        if failed := [run for run in runs if run.exit_code]:
            raise RuntimeError("\n".join(line for _, line in failed[0].lines))
        walls_s, cpus_s = [run.wall_s for run in runs], [run.cpu_s for run in runs]
        result_s = [run.said_s("^validation bits") - run.said_s("^✓ mix.* cells  [0-9]", last=True) for run in runs]
        lines += [
            Line(f"rerun {how}: from the last mix to the result", "s", Spread.of(result_s), "<= 3"),
            Line(f"rerun {how}: whole command", "s", Spread.of(walls_s), f"<= {limit_s}"),
            Line(f"rerun {how}: CPU", "s", Spread.of(cpus_s)),
            Line(f"rerun {how} / empty flow", "times", ratios(walls_s, [run.wall_s for run in nothing])),
            Line(f"rerun {how} / empty flow: CPU", "times", ratios(cpus_s, [run.cpu_s for run in nothing])),
        ]
    for moment, pattern in MOMENTS.items():
        ended = timed(rerun(), interrupt_at=pattern)
        if ended.exit_code != INTERRUPTED:
            raise RuntimeError(f"Ctrl-C while {moment} ended with {ended.exit_code}, not {INTERRUPTED}")
        lines.append(Line(f"Ctrl-C while {moment}: to the end", "s", Spread.of([ended.wall_s]), "<= 3"))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 2 if the store lacks the recipe's outputs."""
    argv = sys.argv[1:] if argv is None else argv
    options = recipe_arguments(arguments_parser(__doc__ or "", repeats=3), argv)
    try:
        lines = measure(options.pgolf, options.repeats)
    except NothingToReuse as error:
        print(f"bench.rerun_cost: {error}", file=sys.stderr)
        return 2
    title = f"an evaluation-only rerun of {options.recipe[0]}, and Ctrl-C"
    command = shlex.join(["python", "-m", "bench.rerun_cost", *argv])
    show(Report.of(title, __doc__ or "", command, lines), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
