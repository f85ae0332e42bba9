"""Messages of errors as numbers: the script says which message with which values, and the text stays at home.

`DataError(f"{path}: {found} of {wanted} tokens")` becomes `DataError(17, path, found, wanted)`.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A shorter text costs no more than its number saves.
_LEAST_CHARACTERS = 8
_EXCEPTIONS = frozenset({"ValueError", "RuntimeError", "TypeError", "KeyError", "AttributeError", "ArithmeticError"})


@dataclass(frozen=True, slots=True)
class Message:
    """A text with gaps, `{}`, `{!r}` or `{:,}`, for the values, and where it stands in the source."""

    template: str
    module: str
    line: int


def numbered(definitions: Iterable[tuple[str, ast.stmt]], errors: frozenset[str]) -> list[Message]:
    """Change the (module, statement)s: texts that exceptions are made with become numbers, from 1 on.

    errors: names of exception classes of our own. Returns the messages, the first of which is number 1.
    """
    found: list[Message] = []
    for module, statement in definitions:
        _Numbered(found, module, errors | _EXCEPTIONS).visit(statement)
    return found


def expand(messages: Sequence[Message], values: Sequence[object]) -> str | None:
    """The text that an exception's arguments stand for; None where they are no number of a message and its values.

    A value that is such arguments again, in brackets, is expanded too.
    """
    if not values or not isinstance(values[0], int) or not 1 <= values[0] <= len(messages):
        return None
    template = messages[values[0] - 1].template
    shown = [_expanded(messages, value) if isinstance(value, str) else value for value in values[1:]]
    try:
        return template.format(*shown)
    except (IndexError, ValueError, TypeError):
        return None


def _expanded(messages: Sequence[Message], value: str) -> str:
    if not (value.startswith("(") and value.endswith(")")):
        return value
    try:
        inner = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return (expand(messages, inner) if isinstance(inner, tuple) else None) or value


class _Numbered(ast.NodeTransformer):
    def __init__(self, found: list[Message], module: str, errors: frozenset[str]) -> None:
        self.found, self.module, self.errors = found, module, errors

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        if isinstance(call.func, ast.Name) and call.func.id in self.errors and len(call.args) == 1:
            parts = _parts(call.args[0])
            if parts is not None:
                template, values = parts
                if len(template) >= _LEAST_CHARACTERS:
                    self.found.append(Message(template, self.module, call.lineno))
                    call.args = [ast.copy_location(ast.Constant(len(self.found)), call), *values]
        return call


def _parts(text: ast.expr) -> tuple[str, list[ast.expr]] | None:
    """A text's template and values; None for what is not a text with gaps."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return text.value.replace("{", "{{").replace("}", "}}"), []
    if not isinstance(text, ast.JoinedStr):
        return None
    template = ""
    values: list[ast.expr] = []
    for piece in text.values:
        if isinstance(piece, ast.Constant):
            template += str(piece.value).replace("{", "{{").replace("}", "}}")
            continue
        assert isinstance(piece, ast.FormattedValue)
        form = "" if piece.conversion < 0 else f"!{chr(piece.conversion)}"
        if piece.format_spec is not None:
            spec = _parts(piece.format_spec)
            if spec is None or spec[1]:
                template += "{}"
                values.append(ast.copy_location(ast.JoinedStr([piece]), piece))
                continue
            form += f":{spec[0]}"
        template += f"{{{form}}}"
        values.append(piece.value)
    return template, values
