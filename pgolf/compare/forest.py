"""Gains and their intervals as a figure of characters: a line per test, the margin and zero as upright lines."""

from collections.abc import Sequence

from pgolf.compare.comparison import Gain, title_of

_LEAST_WIDTH = 24


def forest(gains: Sequence[Gain], width: int) -> list[str]:
    """One line per test with an interval, and the axis below; empty where there is none. width: of the terminal."""
    rows = [(label, low, point, high) for gain in gains for label, low, point, high in _rows(gain, len(gains) > 1)]
    if not rows:
        return []
    margin = gains[0].rule.margin_nats
    left = max(len(label) for label, *_ in rows)
    room = max(_LEAST_WIDTH, width - left - 2)
    low, high = min(0.0, *(row[1] for row in rows)), max(margin, 0.0, *(row[3] for row in rows))
    pad = 0.04 * ((high - low) or 1.0)
    low, high = low - pad, high + pad

    def place(value: float) -> int:
        return round((value - low) / (high - low) * (room - 1))

    lines = []
    for label, first, point, last in rows:
        cells = [" "] * room
        for mark, at in (("┊", margin), ("│", 0.0)):
            cells[place(at)] = mark
        cells[place(first) : place(last) + 1] = "─" * (place(last) + 1 - place(first))
        cells[place(first)], cells[place(last)] = "├", "┤"
        cells[place(point)] = "●"
        lines.append(f"{label:<{left}}  {''.join(cells).rstrip()}")
    return [*lines, *_axis(left, room, place(0.0), place(margin), margin, gains[0].rule.unit)]


def _rows(gain: Gain, several: bool) -> list[tuple[str, float, float, float]]:
    name = f"{gain.candidate.name}: " if several else ""
    found = []
    for test in (gain.welch, gain.paired):
        if test is not None and test.low_nats is not None and test.high_nats is not None:
            found.append((f"{name}{title_of(test)}", test.low_nats, test.gain_nats, test.high_nats))
    if (documents := gain.documents) is not None:
        found.append((f"{name}documents", documents.low_nats, documents.gain_nats, documents.high_nats))
    return found


def _axis(left: int, room: int, zero: int, margin: int, margin_nats: float, unit: str) -> list[str]:
    cells = [" "] * (room)
    cells[zero] = "0"
    text = f"{margin_nats:g}"
    if margin_nats and margin > zero + 1:
        first = min(margin, room - len(text))
        cells[first : first + len(text)] = text
    return [f"{' ' * (left + 2)}{''.join(cells).rstrip()}", f"gain in {unit}, to the right is better"]
