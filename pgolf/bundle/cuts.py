"""Takes out of the definitions what `pgolf.bundle.stands_for` lists."""

import ast

from pgolf.bundle.flat import Definition, Program
from pgolf.bundle.script_settings import Settings
from pgolf.bundle.stands_for import ACCOUNTS, CHECKS_ITS_OWN, CHOSEN, FIXED, RULED_OUT
from pgolf.bundle.walk import walk
from pgolf.errors import ConfigError


def cut(program: Program, settings: Settings) -> None:
    """Change the definitions. Raises ConfigError for a name in the lists that the code no longer has."""
    for module, name, is_ruled_out in RULED_OUT:
        if not is_ruled_out(settings):
            _node(program, module, name)
        elif isinstance(function := _node(program, module, name), ast.ClassDef):
            function.body = [ast.Pass()]
        elif isinstance(cls := _node(program, module, name.partition(".")[0]), ast.ClassDef) and _inherits_none(cls):
            # What asks for it all the same finds no such attribute.
            cls.body = [one for one in cls.body if one is not function] or [ast.Pass()]
        else:
            function.body = [ast.copy_location(ast.Raise(ast.Name("AssertionError", ast.Load())), function)]
    for module, name, result, is_fixed in FIXED:
        function = _function(program, module, name)
        if is_fixed(settings):
            function.body = [ast.copy_location(ast.Return(ast.parse(result, mode="eval").body), function)]
    for module, name in ACCOUNTS:
        function = _function(program, module, name)
        if isinstance(function.body[-1], ast.Return):
            function.body.pop()
    for definition in program.definitions:
        if definition.module == "pgolf.bundle.standalone":
            _NoHelp().visit(definition.node)
    for (module, name), choose in CHOSEN.items():
        _choose(_definition(program, module, name), choose(settings))
    for definition in program.definitions:
        if definition.module in CHECKS_ITS_OWN:
            _NoChecks().visit(definition.node)


def _inherits_none(cls: ast.ClassDef) -> bool:
    """Whether a class has no methods but its own, for which one that is taken out could be mistaken."""
    return all(getattr(base, "id", "") in ("ABC", "StageConfig") for base in cls.bases)


def _definition(program: Program, module: str, name: str) -> Definition:
    own = program.own.get((module, name))
    for definition in program.definitions:
        if own in definition.names:
            return definition
    raise ConfigError(f"{module} has no {name} any more; change the lists of pgolf.bundle.stands_for")


def _function(program: Program, module: str, name: str) -> ast.FunctionDef:
    node = _node(program, module, name)
    assert isinstance(node, ast.FunctionDef)
    return node


def _node(program: Program, module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """A function, a class, or `Class.method`."""
    first, _, method = name.partition(".")
    node: ast.AST = _definition(program, module, first).node
    if method:
        assert isinstance(node, ast.ClassDef)
        found = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == method]
        if not found:
            raise ConfigError(f"{module} has no {name} any more; change the lists of pgolf.bundle.stands_for")
        node = found[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    return node


def _choose(definition: Definition, chosen: set[str]) -> None:
    """Leave of a table's keys, or a tuple's names, the chosen ones."""
    assert isinstance(definition.node, ast.Assign)
    table = definition.node.value
    if isinstance(table, ast.Dict):
        kept = [
            (key, value)
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant) and key.value in chosen
        ]
        table.keys, table.values = [key for key, _value in kept], [value for _key, value in kept]
    else:
        assert isinstance(table, ast.Tuple)
        table.elts = [one for one in table.elts if isinstance(one, ast.Name) and one.id in chosen]


class _NoHelp(ast.NodeTransformer):
    """Drops what a parser of arguments only shows."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        call.keywords = [one for one in call.keywords if one.arg not in ("help", "metavar", "description")]
        return call


class _NoChecks(ast.NodeTransformer):
    """Drops `if …:` whose body only prepares and raises an error."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        self.generic_visit(node)
        only_raises = isinstance(node.body[-1], ast.Raise) and all(
            isinstance(one, ast.Assign) for one in node.body[:-1]
        )
        binds = any(isinstance(one, ast.NamedExpr) for one in walk(node.test))
        if only_raises and not node.orelse and not binds and not _is_control(node.body[-1]):
            return None
        return node


def _is_control(statement: ast.stmt) -> bool:
    """Whether an exception is for the program itself to catch."""
    assert isinstance(statement, ast.Raise)
    called = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
    name = getattr(called, "id", "")
    return not name.endswith("Error") or name in ("ValueError", "KeyError")
