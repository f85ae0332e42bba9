"""Every benchmark runs at a toy size and prints ratios; what they come to is nobody's claim here."""

import json
import sys

import pytest

from bench import __main__ as bench
from bench import counts, grid, start
from bench.report import Line, Report
from bench.timing import Spread, in_turns_s, ratios

SECTION = Report(
    title="a title",
    about="one thing against another",
    command="python -m bench.counts",
    device="a processor, 2 cores",
    date="2025-12-01",
    lines=(Line("ours", "times", Spread(3, 1.0, 2.0, 4.0), ">= 8"),),
)


def test_works_are_timed_in_turns():
    called = []
    seconds = in_turns_s([lambda: called.append("a"), lambda: called.append("b")], repeats=2)
    assert called == ["a", "b", "a", "b"]
    assert [len(of_work) for of_work in seconds] == [2, 2]


def test_a_ratio_is_taken_turn_by_turn():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == Spread(2, 2.0, 2.5, 3.0)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (counts.main, ["--targets", "2000", "--orders", "2", "3"]),
        (grid.main, ["--targets", "500", "--points", "12"]),
    ],
)
def test_the_numerical_benchmarks_print_ratios_and_the_command_that_makes_them(main, arguments, capsys):
    arguments = [*arguments, "--repeats", "1", "--json"]
    assert main(arguments) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.command == f"python -m {main.__module__} {' '.join(arguments)}"
    assert [line for line in report.lines if line.unit == "times"]
    assert all(line.spread.n == 1 and line.spread.median > 0 for line in report.lines)
    assert report.title in report.to_text()


def test_the_start_benchmark_prints_the_ratios_of_whole_processes(monkeypatch, capsys):
    # A finished store takes half a minute to make; tests/flows holds what plan and run do over one.
    plan = json.dumps({"steps": [{"node": "data", "action": "reuse"}]})
    monkeypatch.setattr(start, "PGOLF", (sys.executable, "-c", f"print({plan!r})"))
    assert start.main(["--repeats", "1", "--json", "--", "demo", "--seeds", "1"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.command == "python -m bench.start --repeats 1 --json -- demo --seeds 1"
    units = {line.name: line.unit for line in report.lines}
    assert units["pgolf plan: over python -c pass"] == units["pgolf run, all reused: over python -c pass"] == "times"
    assert units["pgolf plan"] == units["pgolf run, all reused"] == units['python -c "import pgolf"'] == "s"


def test_without_a_finished_store_the_start_benchmark_says_so(tmp_path, capsys):
    assert start.main(["--store", str(tmp_path / "none"), "--results", str(tmp_path / "results")]) == 2
    shown = capsys.readouterr()
    assert "18 of 18 outputs are not in the store" in shown.err
    assert "pgolf run demo" in shown.err
    assert not shown.out
    assert not (tmp_path / "none").exists()


def test_the_page_says_for_every_number_what_made_it(tmp_path, monkeypatch, capsys):
    missing = "## start\n\nNot measured: because"
    monkeypatch.setattr(bench, "section_of", lambda name: missing if name == "start" else SECTION)
    assert bench.main(["--out", str(tmp_path / "docs" / "page.md")]) == 2
    page = (tmp_path / "docs" / "page.md").read_text()
    assert page.startswith("# Benchmarks\n")
    assert "`python -m bench.counts` on a processor, 2 cores, 2025-12-01" in page
    assert "| ours | times | 3 | 1 | 2 | 4 | >= 8 |" in page
    assert missing in page
    assert Report.from_json(SECTION.to_json()) == SECTION
