"""Verdicts as lines of a terminal, and what a command that gives them ends with."""

import textwrap
from collections.abc import Iterator, Sequence

from pgolf.audit.verdict import Outcome, Verdict

MARKS: dict[Outcome, str] = {"pass": "✓", "fail": "✗", "not applicable": "–", "inconclusive": "?"}
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many there are of each kind: 9 pass, 1 fail."""
    counts = {outcome: sum(verdict.outcome == outcome for verdict in verdicts) for outcome in MARKS}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most `width` columns; None: one line."""
    return [text] if width is None else textwrap.wrap(text, max(width, 40))


def verdict_lines(verdicts: Sequence[Verdict], width: int | None) -> Iterator[str]:
    """A line per verdict, wrapped at `width` columns (None: not wrapped): mark, number, name, why, what settles it."""
    column = max(len(verdict.name) for verdict in verdicts) + 8
    if width is not None and width < 3 * column:
        column = 4
    for verdict in verdicts:
        head = f"{MARKS[verdict.outcome]} {verdict.number:<3} {verdict.name}"
        said = verdict.finding.because
        if verdict.finding.settles:
            said += f"; what would settle it: {verdict.finding.settles}"
        if width is None:
            yield f"{head.ljust(column)} {said}"
            continue
        first, rest = (head.ljust(column), said) if column > 4 else (head, f"— {said}")
        yield from textwrap.wrap(
            rest,
            max(width, 40),
            initial_indent=f"{first} ",
            subsequent_indent=(column + 1) * " ",
            break_on_hyphens=False,
        )
