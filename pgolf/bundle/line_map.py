"""Where each line of a script's program is from. The map stays at home: names in tracebacks then cost nothing."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.bundle.flat import Definition
from pgolf.bundle.layout import places
from pgolf.bundle.walk import children


@dataclass(frozen=True, slots=True)
class Line:
    """A statement of the source. function: with its class, as in `Grid.run`; empty at the top level."""

    module: str
    function: str
    line: int


def lines_of(text: str, tree: ast.Module, definitions: Sequence[Definition]) -> dict[int, Line]:
    """Line of the program's text -> its source. tree: what the text was written from, with the source's lines in it.

    definitions: the top-level statements in it. Lines that only the script has, such as its imports, are not in it.
    """
    source: dict[int, Line] = {}
    for definition in definitions:
        _note(definition.node, definition, "", source)
    found: dict[int, Line] = {}
    for line, statement in places(text, tree):
        if id(statement) in source:
            found.setdefault(line, source[id(statement)])
    return found


def _note(node: ast.AST, definition: Definition, inside: str, found: dict[int, Line]) -> None:
    if isinstance(node, ast.stmt):
        found[id(node)] = Line(definition.module, inside, getattr(node, "lineno", 0))
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        name = getattr(node, "original", node.name)
        inside = f"{inside}.{name}" if inside else name
        found[id(node)] = Line(definition.module, inside, node.lineno)
    for child in children(node):
        _note(child, definition, inside, found)
