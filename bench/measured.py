"""Report of a benchmark (quantities, device, date, command), as text, JSON or Markdown."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import sched_getaffinity
from typing import Any

from bench.timing import Spread
from pgolf.machine.hardware import cpu_name


@dataclass(frozen=True, slots=True)
class Line:
    """One measured quantity. target: requirement on its median. The unit of ratios is "times"."""

    name: str
    unit: str
    spread: Spread
    target: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The lines of one benchmark. about: what was compared with what."""

    title: str
    about: str
    command: str
    device: str
    date: str
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, title: str, about: str, command: str, lines: Sequence[Line]) -> "Report":
        """A report for this machine and today's date."""
        device = f"{cpu_name()}, {len(sched_getaffinity(0))} cores"
        return cls(title, about.strip(), command, device, datetime.now(UTC).date().isoformat(), tuple(lines))

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        lines = tuple(Line(**{**line, "spread": Spread(**line["spread"])}) for line in fields["lines"])
        return cls(**{**fields, "lines": lines})

    def to_json(self) -> str:
        """The report as a JSON object."""
        return json.dumps(asdict(self))

    def to_text(self) -> str:
        """The report as text for a terminal."""
        width = max(len(line.name) for line in self.lines)
        lines = [self.title, f"{self.device}, {self.date}"]
        for line in self.lines:
            target = f"  (target {line.target})" if line.target else ""
            lines.append(f"  {line.name:<{width}}  {line.spread}  {line.unit}{target}")
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The report as a Markdown section: command, device, date, and one row per quantity."""
        rows = [
            f"| {line.name} | {line.unit} | {line.spread.n} | {line.spread.least:.4g} | {line.spread.median:.4g} "
            f"| {line.spread.most:.4g} | {line.target} |"
            for line in self.lines
        ]
        return "\n".join(
            [
                f"## {self.title}\n",
                f"{self.about}\n",
                f"`{self.command}` on {self.device}, {self.date}\n",
                "| quantity | unit | n | min | median | max | target |",
                "|---|---|--:|--:|--:|--:|--:|",
                *rows,
            ]
        )


def arguments_parser(about: str, repeats: int) -> argparse.ArgumentParser:
    """Argument parser of a benchmark with --json and --repeats; benchmarks add their own options."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=repeats, help="timings per quantity (default: %(default)s)")
    return parser


def show(report: Report, *, as_json: bool) -> None:
    """Print the report."""
    print(report.to_json() if as_json else report.to_text())
