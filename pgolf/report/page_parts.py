"""Parts that sections of a page are made of: tables, verdicts, rows of figures.

A table that is wider than the screen scrolls inside its own box.
"""

from collections.abc import Sequence

from pgolf.report.markup import Markup, tag

Cell = object


def table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, label: str, caption: str = "", sums: int = 0
) -> Markup:
    """A table whose first column names its rows. label: for whoever cannot see it. sums: so many last rows sum it up.

    A number's text stands flush right where all of its column do: columns whose first cell is a `num`.
    """
    numeric = [k > 0 and bool(rows) and isinstance(rows[0][k], Num) for k in range(len(headings))]
    head = tag("tr", *(tag("th", text, scope="col", class_="num" if numeric[k] else None)
                       for k, text in enumerate(headings)))  # fmt: skip
    body = [
        tag("tr", *(_cell(cell, k, numeric[k]) for k, cell in enumerate(row)),
            class_="sum" if number >= len(rows) - sums else None)
        for number, row in enumerate(rows)
    ]  # fmt: skip
    inside = tag("table", tag("thead", head) if any(headings) else None, tag("tbody", body))
    box = tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=label)
    return tag("div", box, tag("p", caption, class_="note") if caption else None, class_="table")


class Num(str):
    """The text of a number."""

    __slots__ = ()


def verdict(passed: bool | None) -> Markup:
    """A gate's verdict, told by word and not by colour alone."""
    if passed is None:
        return tag("span", "not judged", class_="soft")
    return tag("span", "✓ passed" if passed else "✗ failed", class_="yes" if passed else "no")


def yes_no(value: bool | None) -> Markup:
    """A flag that had better be true."""
    if value is None:
        return tag("span", "–", class_="soft")
    return tag("span", "yes" if value else "no", class_="yes" if value else "no")


def fold(summary: str, *content: object) -> Markup:
    """Content that is unfolded on demand, and on paper is not there."""
    return tag("details", tag("summary", summary), *content)


def _cell(cell: Cell, column: int, is_number: bool) -> Markup:
    if column == 0:
        return tag("th", cell, scope="row")
    long = isinstance(cell, str) and not isinstance(cell, Num | Markup) and len(cell) > 40
    return tag("td", cell, class_="num" if is_number else "wrap" if long else None)


def charts(*figures: Markup, wide: bool = False) -> Markup:
    """Figures side by side, as many as fit; wide: at most two."""
    return tag("div", *figures, class_=f"charts{' wide' if wide else ''}") if figures else Markup("")


def whole(value: int | None) -> str:
    """A whole number with separators; a dash where there is none."""
    return "–" if value is None else f"{value:,}"
