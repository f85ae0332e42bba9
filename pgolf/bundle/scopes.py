"""Who is meant by every name of a syntax tree: which scope binds it, as Python's compiler decides it.

Only where a name is bound is asked, so a tree needs no source text behind it, and it may be changed by what is found.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from pgolf.bundle.walk import children

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class, function or comprehension, and the names that it binds.

    elsewhere: names that `global` or `nonlocal` give to an outer scope.
    """

    node: ast.AST
    parent: "Scope | None"
    bound: set[str] = field(default_factory=set)
    to_module: set[str] = field(default_factory=set)
    to_outer: set[str] = field(default_factory=set)

    @property
    def is_class(self) -> bool:
        """Whether its names are attributes, which functions inside do not see."""
        return isinstance(self.node, ast.ClassDef)

    @property
    def is_module(self) -> bool:
        """Whether its names are global."""
        return self.parent is None

    def binder(self, name: str) -> "Scope | None":
        """The scope whose name is meant where `name` stands in this one; None for one that none binds: a builtin."""
        if name in self.to_module:
            return self._module()
        scope: Scope | None = self
        if name in self.to_outer:
            scope = self.parent
        first = scope
        while scope is not None:
            if name in scope.bound and not (scope.is_class and scope is not first):
                return scope
            if name in scope.to_module:
                return self._module()
            scope = scope.parent
        return None

    def _module(self) -> "Scope":
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass(slots=True)
class Occurrence:
    """A place where a name stands: `field` of `node`, the `index`-th one where it is a list.

    scope: where it stands. binds: whether it binds the name there.
    """

    node: ast.AST
    field: str
    scope: Scope
    binds: bool
    index: int | None = None

    @property
    def name(self) -> str:
        """The name as it stands there now."""
        value = getattr(self.node, self.field)
        return str(value if self.index is None else value[self.index])

    def rename(self, name: str) -> None:
        """Write another name there."""
        if self.index is None:
            setattr(self.node, self.field, name)
        else:
            getattr(self.node, self.field)[self.index] = name


def occurrences(tree: ast.AST) -> list[Occurrence]:
    """Every place of a name in the tree, but for attributes and keywords. The tree itself is the outermost scope."""
    found: list[Occurrence] = []
    _visit(tree, Scope(tree, None), found, is_scope=True)
    return found


def _visit(node: ast.AST, scope: Scope, found: list[Occurrence], *, is_scope: bool = False) -> None:
    kind = type(node)
    if kind is ast.Name:
        binds = not isinstance(node.ctx, ast.Load)  # type: ignore[attr-defined]
        _add(found, Occurrence(node, "id", scope, binds))
        return
    if kind is ast.Constant:
        return
    if not is_scope:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if not isinstance(node, ast.Lambda):
                _add(found, Occurrence(node, "name", scope, True))
                for one in (*node.decorator_list, *([node.returns] if node.returns else [])):
                    _visit(one, scope, found)
            arguments = node.args
            for default in (*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)):
                _visit(default, scope, found)
            inner = Scope(node, scope)
            for argument in _arguments(arguments):
                _add(found, Occurrence(argument, "arg", inner, True))
                if argument.annotation is not None:
                    _visit(argument.annotation, scope, found)
            for inside in node.body if isinstance(node.body, list) else [node.body]:
                _visit(inside, inner, found)
            return
        if isinstance(node, ast.ClassDef):
            _add(found, Occurrence(node, "name", scope, True))
            for part in (*node.decorator_list, *node.bases, *node.keywords):
                _visit(part, scope, found)
            inner = Scope(node, scope)
            for statement in node.body:
                _visit(statement, inner, found)
            return
        if isinstance(node, _COMPREHENSIONS):
            inner = Scope(node, scope)
            for number, generator in enumerate(node.generators):
                _visit(generator.iter, inner if number else scope, found)
                _visit(generator.target, inner, found)
                for test in generator.ifs:
                    _visit(test, inner, found)
            for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                _visit(value, inner, found)
            return
    if isinstance(node, ast.NamedExpr):
        _visit(node.value, scope, found)
        around = scope
        while isinstance(around.node, _COMPREHENSIONS) and around.parent is not None:
            around = around.parent
        _add(found, Occurrence(node.target, "id", around, True))
        return
    if isinstance(node, ast.Global | ast.Nonlocal):
        (scope.to_module if isinstance(node, ast.Global) else scope.to_outer).update(node.names)
        found.extend(Occurrence(node, "names", scope, False, index) for index in range(len(node.names)))
        return
    if isinstance(node, ast.alias):
        # `import a.b` binds a; whoever renames such a name must write it as `import a.b as name`.
        field = "asname" if node.asname else "name"
        if node.name != "*":
            scope.bound.add((node.asname or node.name).partition(".")[0])
            found.append(Occurrence(node, field, scope, True))
        return
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name is not None:
        _add(found, Occurrence(node, "name", scope, True))
    if isinstance(node, ast.MatchMapping) and node.rest is not None:
        _add(found, Occurrence(node, "rest", scope, True))
    for child in children(node):
        _visit(child, scope, found)


def _add(found: list[Occurrence], one: Occurrence) -> None:
    if one.binds and one.name not in one.scope.to_module | one.scope.to_outer:
        one.scope.bound.add(one.name)
    found.append(one)


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (one for one in (arguments.vararg, arguments.kwarg) if one is not None)
