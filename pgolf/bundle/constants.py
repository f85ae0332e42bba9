"""Puts what the settings fix into the code, and takes out the branches that it rules out."""

import ast
import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgolf.bundle.dead import is_pure
from pgolf.bundle.kinds import Kinds, kind_of, local_kinds
from pgolf.bundle.known import Known, There
from pgolf.bundle.walk import children, walk

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_UNKNOWN: Any = object()


def fold(
    statement: ast.stmt,
    known: Known,
    kinds: Kinds,
    arguments: Mapping[str, Mapping[str, ast.Constant]],
    results: Mapping[str, ast.Constant | ast.Tuple],
    attributes: Mapping[str, ast.Constant],
) -> ast.stmt:
    """The top-level statement with what is known in place of the accesses; changed in place.

    arguments, results, attributes: of `pgolf.bundle.calls`.
    """
    _Fold(known, kinds, arguments, results, attributes).visit(statement)
    return statement


class _Fold(ast.NodeTransformer):
    def __init__(
        self,
        known: Known,
        kinds: Kinds,
        arguments: Mapping[str, Mapping[str, ast.Constant]],
        results: Mapping[str, ast.Constant | ast.Tuple],
        attributes: Mapping[str, ast.Constant],
    ) -> None:
        self.known, self.kinds, self.arguments, self.results = known, kinds, arguments, results
        self.attributes = attributes
        self.depth = 0
        self.local: dict[str, str] = {}
        self.constants: dict[str, ast.Constant | There] = {}
        self.once: frozenset[str] = frozenset()
        self.cls: str | None = None

    # Scopes.

    def visit_ClassDef(self, cls: ast.ClassDef) -> ast.ClassDef:
        outer, self.cls = self.cls, cls.name
        self.depth += 1
        self.generic_visit(cls)
        self.depth -= 1
        self.cls = outer
        return cls

    def visit_FunctionDef(self, function: ast.FunctionDef) -> ast.FunctionDef:
        self._in_function(function)
        return function

    def visit_Lambda(self, function: ast.Lambda) -> ast.Lambda:
        self._in_function(function)
        return function

    def _in_function(self, function: ast.FunctionDef | ast.Lambda) -> None:
        around = dict(self.local)
        cls = self.cls if isinstance(function, ast.FunctionDef) else None
        saved = self.local, self.constants, self.once, self.cls
        generates = _yields(function)
        if isinstance(function, ast.FunctionDef):
            function.decorator_list = [self.visit(one) for one in function.decorator_list]
        function.args = self.visit(function.args)
        self.cls = None
        self.local = local_kinds(function, around, self.kinds, cls)
        arguments = {one.arg for one in walk(function.args) if isinstance(one, ast.arg)}
        bound = _bindings(function)
        self.constants = {
            name: value for name, value in self.constants.items() if name not in arguments and name not in bound
        }
        if self.depth == 0 and isinstance(function, ast.FunctionDef):
            self.constants |= self.arguments.get(function.name, {})
        elif cls is not None and isinstance(function, ast.FunctionDef):
            name = f"{cls}()" if function.name == "__init__" else f".{function.name}"
            self.constants |= self.arguments.get(name, {})
        self.depth += 1
        self.once = frozenset(name for name, times in bound.items() if times == 1 and name not in arguments)
        if isinstance(function, ast.Lambda):
            function.body = self.visit(function.body)
        else:
            function.body = self._block(function.body) or [ast.Pass()]
            if generates and not _yields(function):
                if not isinstance(function.body[-1], _ENDS):
                    function.body.append(ast.copy_location(ast.Return(), function))
                function.body.append(ast.copy_location(ast.Expr(ast.Yield()), function))
        self.local, self.constants, self.once, self.cls = saved
        self.depth -= 1

    # Statements.

    def _block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements that can be reached."""
        found: list[ast.stmt] = []
        for statement in statements:
            made = self.visit(statement)
            for one in made if isinstance(made, list) else [] if made is None else [made]:
                found.append(one)
                if isinstance(one, _ENDS):
                    return found
        return found

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                continue
            if isinstance(body, ast.AST):
                setattr(node, field, self.visit(body))
        for field, value in ast.iter_fields(node):
            if field in ("body", "orelse", "finalbody") and not isinstance(value, ast.AST):
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    continue
            elif field in ("body", "orelse", "finalbody"):
                continue
            if isinstance(value, list):
                value[:] = [made for one in value for made in self._made(one)]
            elif isinstance(value, ast.AST):
                setattr(node, field, self.visit(value))
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                made = self._block(body)
                setattr(node, field, made or ([ast.Pass()] if field == "body" else []))
        return node

    def _made(self, one: Any) -> list[Any]:
        if not isinstance(one, ast.AST):
            return [one]
        made = self.visit(one)
        return made if isinstance(made, list) else [] if made is None else [made]

    def visit_If(self, node: ast.If) -> Any:
        node.test = self.visit(node.test)
        truth = self._truth(node.test)
        if truth is not None:
            return self._block(node.body if truth else node.orelse)
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        if not node.body and not node.orelse:
            return ast.copy_location(ast.Expr(node.test), node)
        if not node.body:
            node.test, node.body, node.orelse = ast.UnaryOp(ast.Not(), node.test), node.orelse, []
        return node

    def visit_For(self, node: ast.For) -> ast.AST | None:
        self.generic_visit(node)
        return None if self._value(node.iter) == () and not node.orelse else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        is_empty = isinstance(node.value, ast.YieldFrom) and self._value(node.value.value) == ()
        return None if is_empty or is_pure(node.value) else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Name) and target.id in self.once:
            if isinstance(node.value, ast.Constant) and not isinstance(node.value.value, bytes):
                self.constants[target.id] = node.value
            elif isinstance(value := self._value(node.value), There):
                self.constants[target.id] = value
        return node

    # Expressions.

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.constants.get(node.id)
        if isinstance(node.ctx, ast.Load) and isinstance(value, ast.Constant):
            return ast.copy_location(ast.Constant(value.value), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        value = self._known(node) if isinstance(node.ctx, ast.Load) else _UNKNOWN
        if value is not _UNKNOWN and not isinstance(value, There):
            return ast.copy_location(_literal(value), node)
        if isinstance(node.ctx, ast.Load) and node.attr in self.attributes and _is_path(node.value):
            return ast.copy_location(ast.Constant(self.attributes[node.attr].value), node)
        node.value = self.visit(node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        operation, right = node.ops[0], node.comparators[0]
        if isinstance(operation, ast.Is | ast.IsNot):
            if isinstance(right, ast.Constant) and right.value is None:
                left = self._value(node.left)
                if left is not _UNKNOWN:
                    return ast.copy_location(ast.Constant((left is None) == isinstance(operation, ast.Is)), node)
            return node
        one, other = self._value(node.left), self._value(right)
        if any(value is _UNKNOWN or isinstance(value, There) for value in (one, other)):
            return node
        try:
            return ast.copy_location(ast.Constant(bool(_COMPARE[type(operation)](one, other))), node)
        except TypeError:
            return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and (truth := self._truth(node.operand)) is not None:
            return ast.copy_location(ast.Constant(not truth), node)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        stops_at = isinstance(node.op, ast.Or)
        values: list[ast.expr] = []
        for number, one in enumerate(node.values):
            value = self.visit(one)
            truth = self._truth(value)
            if truth is not None and truth is not stops_at and number < len(node.values) - 1:
                continue
            values.append(value)
            if truth is stops_at:
                break
        node.values = values
        return values[0] if len(values) == 1 else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        node.test = self.visit(node.test)
        truth = self._truth(node.test)
        if truth is not None:
            return self.visit(node.body if truth else node.orelse)  # type: ignore[no-any-return]
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute) and _is_path(node.func.value):
            name = f".{node.func.attr}"
        if name in self.results and _is_plain(node):
            return ast.copy_location(copy.copy(self.results[name]), node)
        if name == "zip" and any(self._value(one) == () for one in node.args):
            return ast.copy_location(ast.Tuple([], ast.Load()), node)
        if name == "isinstance" and isinstance(node.args[1], ast.Name):
            value = self._value(node.args[0])
            asked = node.args[1].id
            if value is None and asked in self.kinds.attributes:
                return ast.copy_location(ast.Constant(False), node)
            if isinstance(value, There):
                answers = {asked in self.kinds.family(cls) for cls in value.classes}
                if len(answers) == 1 and asked in self.kinds.attributes:
                    return ast.copy_location(ast.Constant(answers.pop()), node)
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node)

    def _comprehension(self, node: Any) -> ast.AST:
        """Its names are its own."""
        names = {one.id for each in node.generators for one in walk(each.target) if isinstance(one, ast.Name)}
        saved = self.local, self.constants
        items = {}
        for each in node.generators:
            kind = kind_of(each.iter, self.local, self.kinds)
            if isinstance(each.target, ast.Name) and kind is not None and kind.startswith("["):
                items[each.target.id] = kind[1:-1]
        self.local = {name: kind for name, kind in self.local.items() if name not in names} | (
            items if len(items) == len(names) else {}
        )
        self.constants = {name: value for name, value in self.constants.items() if name not in names}
        self.generic_visit(node)
        self.local, self.constants = saved
        if self._value(node.generators[0].iter) == ():
            empty = {ast.ListComp: "[]", ast.SetComp: "set()", ast.DictComp: "{}", ast.GeneratorExp: "()"}
            return ast.copy_location(ast.parse(empty[type(node)], mode="eval").body, node)
        return node  # type: ignore[no-any-return]

    # What is known.

    def _known(self, node: ast.Attribute) -> Any:
        if not _is_path(node.value):
            return _UNKNOWN
        kind = kind_of(node.value, self.local, self.kinds)
        return self.known.get(kind or "", {}).get(node.attr, _UNKNOWN)

    def _value(self, node: ast.expr) -> Any:
        """A constant, `There`, or `_UNKNOWN`."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Tuple) and all(isinstance(one, ast.Constant) for one in node.elts):
            return tuple(one.value for one in node.elts if isinstance(one, ast.Constant))
        if isinstance(node, ast.Attribute):
            return self._known(node)
        if isinstance(node, ast.Name) and isinstance(value := self.constants.get(node.id), There):
            return value
        return _UNKNOWN

    def _truth(self, node: ast.expr) -> bool | None:
        value = self._value(node)
        if isinstance(value, There):
            return True
        return None if value is _UNKNOWN else bool(value)


def _is_plain(call: ast.Call) -> bool:
    """Whether evaluating a call's arguments does nothing but look up."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(isinstance(one, ast.Constant) or _is_path(one) for one in values)


def _yields(function: ast.AST) -> bool:
    """Whether a function is a generator."""
    waiting = list(children(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            waiting.extend(children(node))
    return False


def _is_path(node: ast.expr) -> bool:
    """Whether evaluating it does nothing but look up."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _literal(value: Any) -> ast.expr:
    if isinstance(value, tuple):
        return ast.Tuple([_literal(one) for one in value], ast.Load())
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _bindings(function: ast.AST) -> dict[str, int]:
    """How often a function binds each name itself."""
    found: dict[str, int] = {}
    waiting = list(children(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] = found.get(node.id, 0) + 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                found[name] = found.get(name, 0) + 2
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = found.get(node.name, 0) + 1
            # What it declares nonlocal it binds here.
            for one in walk(node):
                if isinstance(one, ast.Nonlocal):
                    for name in one.names:
                        found[name] = found.get(name, 0) + 2
            continue
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found[node.name] = found.get(node.name, 0) + 2
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = found.get(node.target.id, 0) + 1
        elif isinstance(node, ast.alias):
            name = (node.asname or node.name).partition(".")[0]
            found[name] = found.get(name, 0) + 2
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            found[node.target.id] = found.get(node.target.id, 0) + 1
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name] = found.get(node.name, 0) + 2
        if not isinstance(node, ast.Lambda):
            waiting.extend(children(node))
    return found
