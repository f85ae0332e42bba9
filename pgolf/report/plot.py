"""Axes, scales and marks of a small SVG figure that reads well at the width of a phone and twice that.

Colours are classes of the page's style sheet (`pgolf.report.page_style`): one figure serves light, dark and paper.
Lengths are units of the view box, about a CSS pixel on a phone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pgolf.report.markup import Markup, join, number, tag, void

WIDTH = 400.0
_LETTER = 5.6  # mean width of a letter of a label
SERIES = 7  # colours there are

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values low … high onto the lengths start … end; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values inside, at most about `most`."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if last - first <= most // 3 else (1,)
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            return [value for value in found if self.low <= value <= self.high][:: max(1, len(found) // (2 * most))]
        span = self.high - self.low
        if not span > 0:
            return [self.low]
        raw = span / max(1, most)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def around(values: Iterable[float], *, room: float = 0.06) -> tuple[float, float]:
    """Least and greatest value with some room; never of no extent."""
    found = list(values)
    low, high = min(found), max(found)
    margin = (high - low) * room or abs(high) * room or 1.0
    return low - margin, high + margin


def plain(value: float) -> str:
    """A tick's label: 0.25, 1,500, 2M."""
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


class Plot:
    """A figure in the making. title and description are its text alternative."""

    def __init__(
        self,
        title: str,
        description: str,
        *,
        height: float = 230.0,
        left: float = 44.0,
        right: float = 12.0,
        top: float = 10.0,
        bottom: float = 36.0,
    ) -> None:
        self.title, self.description, self.height = title, description, height
        self.left, self.right, self.top, self.bottom = left, WIDTH - right, top, height - bottom
        self._parts: list[Markup] = []

    def add(self, *marks: Markup) -> None:
        """Put marks on top."""
        self._parts += marks

    def x_axis(self, scale: Scale, label: str, *, show: Callable[[float], str] = plain, most: int = 6) -> None:
        """Ticks and label below."""
        for value in scale.ticks(most):
            x = scale(value)
            self.add(void("line", class_="grid", x1=x, x2=x, y1=self.top, y2=self.bottom))
            self.text(x, self.bottom + 13, show(value), anchor="middle")
        self.text((self.left + self.right) / 2, self.bottom + 28, label, anchor="middle", class_="axis")

    def y_axis(self, scale: Scale, label: str, *, show: Callable[[float], str] = plain, most: int = 5) -> None:
        """Ticks at the left, the label above them."""
        for value in scale.ticks(most):
            y = scale(value)
            self.add(void("line", class_="grid", x1=self.left, x2=self.right, y1=y, y2=y))
            self.text(self.left - 5, y + 3.5, show(value), anchor="end")
        if label:
            self.text(2, self.top - 11, label, class_="axis")

    def x(self, low: float, high: float, *, log: bool = False) -> Scale:
        """A scale over the width."""
        return Scale(low, high, self.left, self.right, log)

    def y(self, low: float, high: float) -> Scale:
        """A scale over the height, upwards."""
        return Scale(low, high, self.bottom, self.top)

    def text(self, x: float, y: float, words: str, *, anchor: str | None = None, class_: str | None = None) -> None:
        """A label; anchor: start (default), middle or end."""
        self.add(tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_))

    def line(self, points: Sequence[Point], class_: str) -> None:
        """A polyline."""
        self.add(void("path", class_=f"line {class_}", d="M" + "L".join(f"{number(x)},{number(y)}" for x, y in points)))

    def band(self, lower: Sequence[Point], upper: Sequence[Point], class_: str) -> None:
        """The area between two polylines of the same direction."""
        around_it = [*lower, *reversed(upper)]
        path = "M" + "L".join(f"{number(x)},{number(y)}" for x, y in around_it) + "Z"
        self.add(void("path", class_=f"band {class_}", d=path))

    def dot(self, x: float, y: float, class_: str, *, radius: float = 3.0, said: str = "") -> None:
        """A point; said: what a pointer is told."""
        self.add(tag("circle", tag("title", said) if said else None, class_=class_, cx=x, cy=y, r=radius))

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        class_: str | None = None,
        *,
        said: str = "",
        **more: object,
    ) -> None:
        """A box; said: what a pointer is told."""
        inside = tag("title", said) if said else None
        self.add(tag("rect", inside, class_=class_, x=x, y=y, width=max(0.0, width), height=max(0.0, height), **more))

    def figure(self, caption: object = None, legend: Sequence[tuple[str, str]] = (), numbers: object = None) -> Markup:
        """The figure with its heading, a legend of (class, words), a caption and the numbers behind it."""
        svg = tag(
            "svg",
            tag("title", self.title),
            tag("desc", self.description),
            join(*self._parts),
            viewBox=f"0 0 {number(WIDTH)} {number(self.height)}",
            role="img",
        )
        items = [tag("li", tag("i", class_=f"key {class_}"), words) for class_, words in legend]
        return tag(
            "figure",
            tag("h3", self.title),
            tag("ul", *items, class_="legend") if items else None,
            svg,
            tag("figcaption", caption) if caption else None,
            numbers,
        )


def fitting(words: str, width: float) -> str:
    """As much of a text as fits into a width, an ellipsis for the rest."""
    most = max(3, int(width / _LETTER))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def series_class(index: int) -> str:
    """The colour of the series of that number."""
    return f"c{index % SERIES + 1}"
