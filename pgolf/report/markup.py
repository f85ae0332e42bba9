"""HTML and SVG as text in which nothing that is data can become markup: every child and attribute is escaped."""

import re
from html import escape

_UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Markup(str):
    """Text that is markup already; every other string is data."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children that are None are left out; a Markup stays as it is, all else is escaped.

    An attribute is called class_ for class and stroke_width for stroke-width; None leaves it out, True has no value.
    """
    return Markup(f"<{name}{_attributes(attributes)}>{join(*children)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """An element without content, as SVG closes it."""
    return Markup(f"<{name}{_attributes(attributes)}/>")


def join(*children: object) -> Markup:
    """Children one after the other."""
    return Markup("".join(_child(child) for child in children if child is not None))


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _child(child: object) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, list | tuple):
        return join(*child)
    return escape(_text(child), quote=False)


def _text(value: object) -> str:
    """A value as text that a page may hold: no control characters, and no halves of surrogate pairs."""
    text = number(value) if isinstance(value, float) else str(value)
    return text if text.isprintable() else _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


def _attributes(attributes: dict[str, object]) -> str:
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        written.append(f" {name}" if value is True else f' {name}="{escape(_text(value))}"')
    return "".join(written)
