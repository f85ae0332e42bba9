"""Many modules as one: every top-level name of all of them in one namespace, imports among them gone.

A name that two modules define, or that is a local one anywhere, gets its module's name behind it, so that no name means
anything else than before. What modules import from outside is imported once.
"""

import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgolf.bundle.scopes import Occurrence, occurrences
from pgolf.bundle.walk import walk
from pgolf.errors import ConfigError

_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__"}


@dataclass(eq=False, slots=True)
class Definition:
    """A top-level statement with the names that it defines, and the module in which it stands."""

    names: tuple[str, ...]
    node: ast.stmt
    module: str


@dataclass(frozen=True, slots=True)
class External:
    """Something of others: a module, or a name that a module has."""

    module: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """One namespace. definitions: in an order in which they can run. imports: the names for what others have.

    own: (module, name) -> the name in this namespace.
    """

    definitions: list[Definition]
    imports: Mapping[str, External]
    own: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class _Own:
    """A name of one of the modules; "" for the module itself."""

    module: str
    name: str


_StandIns = Mapping[tuple[str, str], tuple[str, str]]


class _Module:
    """A module's tree and what its top-level names are."""

    def __init__(
        self, name: str, tree: ast.Module, is_package: bool, known: frozenset[str], stand_ins: _StandIns
    ) -> None:
        self.name, self.tree, self.known, self.stand_ins = name, tree, known, stand_ins
        self.package = name if is_package else name.rpartition(".")[0]
        self.places = occurrences(tree)
        self.local = {place.name for place in self.places if place.binds and not place.scope.is_module}
        self.imported: dict[str, _Own | External] = {}
        self.lazy: dict[tuple[int, str], _Own] = {}
        self.needs: list[str] = []
        for statement in tree.body:
            for name, target in self._targets(statement):
                self.imported[name] = target
                if isinstance(target, _Own):
                    self.needs += [target.module, f"{target.module}.{target.name}"]
        for place in self.places:
            if isinstance(place.node, ast.alias) and not place.scope.is_module:
                for inner in walk(place.scope.node):
                    if isinstance(inner, ast.ImportFrom) and place.node in inner.names:
                        for name, target in self._targets(inner):
                            if isinstance(target, _Own):
                                self.lazy[id(place.scope), name] = target

    def _targets(self, statement: ast.stmt) -> Iterator[tuple[str, _Own | External]]:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if "." in alias.name and not alias.asname:
                    raise ConfigError(f"{self.name}: `import {alias.name}` binds its package; write `import … as name`")
                yield alias.asname or alias.name, External(alias.name)
        elif isinstance(statement, ast.ImportFrom):
            if statement.level:
                raise ConfigError(f"{self.name}:{statement.lineno}: a relative import; write the module in full")
            base = statement.module or ""
            for alias in statement.names:
                whole = f"{base}.{alias.name}"
                if (stand_in := self.stand_ins.get((base, alias.name))) is not None:
                    yield alias.asname or alias.name, _Own(*stand_in)
                elif whole in self.known:
                    yield alias.asname or alias.name, _Own(whole, "")
                elif base in self.known:
                    yield alias.asname or alias.name, _Own(base, alias.name)
                else:
                    yield alias.asname or alias.name, External(base, alias.name)


def flatten(
    modules: Sequence[tuple[str, ast.Module, bool]],
    entry: str,
    stand_ins: _StandIns,
) -> Program:
    """The modules (name, tree, whether it is a package) as one. Their trees are changed.

    stand_ins: (module, name) of an import -> (module, name) of ours that is taken in its place.
    Raises ConfigError for a name that nothing defines, and for a module that is used otherwise than by its names.
    """
    known = frozenset(name for name, _tree, _is_package in modules)
    found = {name: _Module(name, tree, is_package, known, stand_ins) for name, tree, is_package in modules}
    replaced = {original: stand_in for original, stand_in in stand_ins.items() if original[0] in found}
    for where, replaced_name in replaced:
        tree = found[where].tree
        tree.body = [one for one in tree.body if replaced_name not in _defined(one)]
    order = _in_order(found, [*(module for module, _name in stand_ins.values()), entry])
    taken = set(_BUILTINS) | {name for module in order for name in module.local}
    own: dict[tuple[str, str], str] = {}
    for module in order:
        for statement in module.tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                for name in _defined(statement):
                    if (module.name, name) not in own:
                        own[module.name, name] = _free(name, module.name.rpartition(".")[2], taken)
    own |= {original: own[stand_in] for original, stand_in in replaced.items()}
    outside: dict[External, str] = {}
    for module in order:
        for name, target in module.imported.items():
            if isinstance(target, External) and target not in outside:
                outside[target] = _free(name, target.module.replace(".", "_"), taken)
    definitions = []
    for module in order:
        _rewrite(module, found, own, outside)
        for statement in module.tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                definitions.append(Definition(tuple(_defined(statement)), statement, module.name))
    return Program(definitions, {name: target for target, name in outside.items()}, own)


def _in_order(found: Mapping[str, _Module], first: Sequence[str]) -> list[_Module]:
    """As Python would run them from the first ones on: what a module imports at its top level comes before it."""
    order: dict[str, _Module] = {}
    begun: set[str] = set()

    def take(name: str) -> None:
        if name in found and name not in begun:
            begun.add(name)
            for needed in found[name].needs:
                take(needed)
            order[name] = found[name]

    for name in (*first, *found):
        take(name)
    return list(order.values())


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    names = [node.id for node in walk(statement) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    return list(dict.fromkeys(names))


def _free(name: str, suffix: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{name}_{suffix}"
    taken.add(name)
    return name


def _rewrite(
    module: _Module,
    found: Mapping[str, _Module],
    own: Mapping[tuple[str, str], str],
    outside: Mapping[External, str],
) -> None:
    """Write every global name as it is called in the one namespace, and drop the imports of our own."""
    modules_at: dict[int, str] = {}

    def resolved(target: _Own | External) -> _Own | External:
        while isinstance(target, _Own) and target.name and (target.module, target.name) not in own:
            if target.name not in found[target.module].imported:
                raise ConfigError(f"{module.name}: {target.module} defines no {target.name}")
            target = found[target.module].imported[target.name]
        return target

    def meant(place: Occurrence) -> _Own | External | None:
        scope = place.scope.binder(place.name)
        if scope is None:
            if place.name not in _BUILTINS and not isinstance(place.node, ast.Global):
                line = getattr(place.node, "lineno", 0)
                raise ConfigError(f"{module.name}:{line}: nothing defines {place.name}")
            return None
        if scope.is_module:
            target = module.imported.get(place.name)
            return _Own(module.name, place.name) if target is None else resolved(target)
        lazy = module.lazy.get((id(scope), place.name))
        return None if lazy is None else resolved(lazy)

    targets = [(place, meant(place)) for place in module.places if not isinstance(place.node, ast.alias)]
    for place, target in targets:
        if isinstance(target, External):
            place.rename(outside[target])
        elif target is not None and target.name:
            place.rename(own[target.module, target.name])
        elif target is not None:
            modules_at[id(place.node)] = target.module

    class Rewrite(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            if isinstance(node.value, ast.Name) and (of := modules_at.pop(id(node.value), None)) is not None:
                target = resolved(_Own(of, node.attr))
                name = outside[target] if isinstance(target, External) else own[target.module, target.name]
                return ast.copy_location(ast.Name(name, node.ctx), node)
            return self.generic_visit(node)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
            base = node.module or ""
            return None if base in found or f"{base}.{node.names[0].name}" in found else node

    tree = Rewrite().visit(module.tree)
    assert tree is module.tree
    if modules_at:
        raise ConfigError(f"{module.name}: a module is handed on whole ({', '.join(sorted(modules_at.values()))})")
