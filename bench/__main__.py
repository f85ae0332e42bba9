"""Run every benchmark in its own process, and write their tables to docs/benchmarks.md.

With the name of a benchmark, run only that one, with its own options: it prints its table and writes nothing. With
--only, measure some, and leave the other sections of the page as they are. A benchmark that cannot run here gets a
section that says why, and the exit code is 2. With --file, measure nothing: enter what bench/gpu.sh has measured on a
GPU, with its device and date.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import filed
from bench.measured import Report
from pgolf.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = (
    *("count_speed", "impossibility", "score_speed", "grid_speed", "sweep_cost", "compress_speed", "codecs"),
    *("clip_codecs", "full_size_cost", "overlap_speed"),
    *("start", "rerun_cost", "scale", "store_scale", "train_step", "checkpoint_cost", "watch_cost"),
)
HEAD = """# Benchmarks

Written by `make bench`. Every ratio is between two things measured in turns in the same run on the same machine;
seconds and speeds are that machine's. A target is asked of the median.
"""


def page(sections: Sequence[Report | str]) -> str:
    """The whole page; sections given as text are included verbatim."""
    written = [section.to_markdown() if isinstance(section, Report) else section for section in sections]
    return "\n".join([HEAD, "\n\n".join(written)]) + "\n"


def sections_of(text: str) -> dict[str, str]:
    """Benchmark -> its section of a page, in the page's order."""
    found = {}
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        name = re.search(r"`python -m bench[. ](\w+)[^`]*` (?:on|ended)", section)
        assert name is not None, f"a section without its command: {section[:80]!r}"
        assert name[1] in BENCHMARKS, f"a section of no benchmark: {section[:80]!r}"
        found[name[1]] = section.rstrip("\n")
    return found


def section_of(name: str) -> Report | str:
    """Run a benchmark; returns its report, or a section that says why there is none."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return Report.from_json(done.stdout)
    reason = done.stderr.strip() or "(it printed nothing)"
    return f"## {name}\n\nNot measured: `python -m bench.{name}` ended with {done.returncode}:\n\n```\n{reason}\n```"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in BENCHMARKS:
        return subprocess.run([sys.executable, "-m", f"bench.{argv[0]}", *argv[1:]], cwd=ROOT, check=False).returncode
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page to write")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help="measure these alone")
    parser.add_argument("--file", type=Path, metavar="DIR", help="enter the results of bench/gpu.sh in this folder")
    options = parser.parse_args(argv)
    before, elsewhere = filed.split(options.out.read_text() if options.out.exists() else HEAD)
    if options.file:
        try:
            elsewhere |= filed.sections_in(options.file)
        except DataError as error:
            print(error, file=sys.stderr)
            return 2
        options.out.write_text(filed.joined(before, elsewhere))
        print(f"written: {options.out}", file=sys.stderr)
        return 0
    sections: dict[str, Report | str] = {}
    if options.only and options.out.exists():
        sections |= sections_of(before)
    measured = options.only or BENCHMARKS
    for name in measured:
        print(f"bench.{name} …", file=sys.stderr, flush=True)
        section = sections[name] = section_of(name)
        print(section.to_text() if isinstance(section, Report) else section, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    measured_here = page([sections[name] for name in BENCHMARKS if name in sections])
    options.out.write_text(filed.joined(measured_here, elsewhere))
    print(f"written: {options.out}", file=sys.stderr)
    return 0 if all(isinstance(sections[name], Report) for name in measured) else 2


if __name__ == "__main__":
    sys.exit(main())
