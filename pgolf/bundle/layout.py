"""A tree as the shortest text that parses to it: one blank a level, no blanks that Python does not need."""

import ast
import io
import tokenize

from pgolf.bundle.walk import walk

_JOINS = {tokenize.NAME, tokenize.NUMBER, tokenize.STRING}


def source_of(tree: ast.Module) -> str:
    """Source that parses to the tree."""
    text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    lines: list[str] = []
    depth = 0
    line: list[str] = []
    before: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = token.type
        if kind == tokenize.INDENT:
            depth += 1
        elif kind == tokenize.DEDENT:
            depth -= 1
        elif kind == tokenize.NEWLINE:
            lines.append(" " * depth + "".join(line))
            line, before = [], None
        elif kind not in (tokenize.NL, tokenize.ENDMARKER):
            if before is not None and _needs_blank(before, token):
                line.append(" ")
            line.append(token.string)
            before = token
    return "\n".join(lines) + "\n"


def _needs_blank(before: tokenize.TokenInfo, token: tokenize.TokenInfo) -> bool:
    if before.type not in _JOINS or token.type not in _JOINS:
        return False
    # A quote ends a word, but a word before it would become its prefix.
    return before.type != tokenize.STRING or token.type == tokenize.NUMBER


def places(text: str, tree: ast.Module) -> list[tuple[int, ast.stmt]]:
    """Every statement of the tree with the line of the text on which it begins. The text is `source_of` the tree."""
    made = compile(text, "the program", "exec", ast.PyCF_ONLY_AST)
    pairs = zip(_statements(made), _statements(tree), strict=True)
    return [(written.lineno, statement) for written, statement in pairs]


def _statements(tree: ast.AST) -> list[ast.stmt]:
    return [node for node in walk(tree) if isinstance(node, ast.stmt)]
