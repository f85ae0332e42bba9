"""Lines that go on below where a terminal is narrower."""

import textwrap

from flows.commands.arguments import terminal_width

_LEAST_WIDTH = 40


def folded(line: str, *, indent: str = "    ") -> str:
    """A line as it is where no terminal shows it; else in pieces, set in, that break between words."""
    width = terminal_width()
    if width is None or len(line) <= max(width, _LEAST_WIDTH):
        return line
    # Runs of spaces keep columns together. A word that is longer, such as a path, stays whole, to be copied.
    return textwrap.fill(
        line, max(width, _LEAST_WIDTH), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
