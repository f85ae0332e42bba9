"""Takes out assignments to locals and attributes that nothing reads, once the branches that read them are gone."""

import ast
from collections import Counter
from collections.abc import Collection, Sequence

from pgolf.bundle.walk import children, walk

# Calls that only tell something.
_PURE = frozenset(
    {"perf_counter", "monotonic", "len", "isinstance", "list", "tuple", "dict", "set", "sorted", "str", "partial"}
)
_EFFECTS = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


def drop_dead_locals(statement: ast.stmt) -> None:
    """Change every function in a top-level statement. A value that may do something stays, as a statement."""
    for node in list(walk(statement)):
        if isinstance(node, ast.FunctionDef):
            _in_function(node)


def drop_unread_attributes(statements: Sequence[ast.stmt], constant: Collection[str]) -> None:
    """Change every function in them that assigns such an attribute. constant: those that are only given constants."""
    read = {
        node.attr
        for statement in statements
        for node in walk(statement)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    unread = set(constant) - read
    for statement in statements:
        for node in list(walk(statement)):
            if isinstance(node, ast.FunctionDef):
                _DropAttributes(unread).generic_visit(node)


def _in_function(function: ast.FunctionDef) -> None:
    loaded: Counter[str] = Counter()
    elsewhere: set[str] = set()
    for node in walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            loaded[node.id] += 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere |= set(node.names)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            loaded[node.target.id] += 1
    _Drop(function, set(loaded) | elsewhere).generic_visit(function)


class _Drop(ast.NodeTransformer):
    def __init__(self, function: ast.FunctionDef, used: set[str]) -> None:
        self.function, self.used = function, used

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                body = getattr(node, field, None)
                if isinstance(body, list) and body:
                    made = [kept for one in body for kept in self._visited(one)]
                    setattr(node, field, made or ([ast.Pass()] if field == "body" else []))
        return node

    def _visited(self, one: ast.AST) -> list[ast.AST]:
        made = self.visit(one)
        return [] if made is None else [made]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node  # has its own turn

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Name) and target.id not in self.used:
            return None if is_pure(node.value) else ast.copy_location(ast.Expr(node.value), node)
        return node


def is_pure(node: ast.AST) -> bool:
    """Whether evaluating an expression does nothing but compute its value."""
    if isinstance(node, ast.Lambda):
        return True
    if isinstance(node, _EFFECTS):
        return False
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in _PURE:
            return False
    return all(is_pure(one) for one in children(node))


class _DropAttributes(_Drop):
    """Of constants given to these attributes of an object that has a name."""

    def __init__(self, attributes: Collection[str]) -> None:
        self.attributes = attributes

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=name)], value=ast.Constant()):
                return None if name in self.attributes else node
        return node
