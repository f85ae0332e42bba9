"""What a program can reach from one of its functions, by names alone, so that nothing that is used can be missed.

A top-level definition is reached where its name stands in what is reached; a method of a class that is reached, where
its name stands anywhere in what is reached, as an attribute, a keyword or a string. Methods that Python or libraries
call stay with their class. Statements that do more than define stay with their module.
"""

import ast
from collections.abc import Iterable, Iterator

from pgolf.bundle.flat import Definition, Program
from pgolf.bundle.spelled import spelled
from pgolf.bundle.walk import walk
from pgolf.errors import ConfigError

# Bases of others, with the methods that they call; a new one is looked up in its documentation and added.
CALLED_BY_BASES = {
    "ABC": (),
    "Exception": (),
    "Generic": (),
    "ValueError": (),
    "NamedTuple": (),
    "Protocol": (),
    "BaseModel": ("model_post_init",),
    "Structure": (),
    "Module": ("forward", "reset_parameters", "extra_repr"),
    "_Environ": ("get",),
}
# Calls at the top level that only make a value.
_PURE = frozenset(
    {"Annotated", "Field", "Discriminator", "Tag", "AfterValidator", "TypeVar", "Path", "Struct", "ConfigDict"}
    | {"compile", "frozenset", "tuple", "len", "range", "dict", "uint32", "log", "schema", "fields", "get", "str"}
    | {"searchsorted", "arange", "int64", "int32", "uint32", "float32", "float64", "bool_", "string", "removeprefix"}
    | {"items", "partial", "MappingProxyType", "compress"}
)


def reachable(program: Program, entries: Iterable[str]) -> list[Definition]:
    """The definitions that the entries reach, in their order; classes are left with the methods reached.

    Raises ConfigError for a base class of others of which it is not known what it calls.
    """
    return _Walk(program).run(entries)


class _Walk:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.by_name: dict[str, list[Definition]] = {}
        self.by_module: dict[str, list[Definition]] = {}
        self.classes = {one.node.name for one in program.definitions if isinstance(one.node, ast.ClassDef)}
        for definition in program.definitions:
            for name in definition.names:
                self.by_name.setdefault(name, []).append(definition)
            if self._has_effects(definition.node):
                self.by_module.setdefault(definition.module, []).append(definition)
        self.attributes: set[str] = set()
        self.kept: set[int] = set()
        self.waiting: list[ast.AST] = []
        self.methods: dict[str, list[ast.stmt]] = {}
        self.kept_methods: set[int] = set()
        self.modules: set[str] = set()

    def run(self, entries: Iterable[str]) -> list[Definition]:
        for entry in sorted(entries):
            self._reach(entry)
        while self.waiting:
            node = self.waiting.pop()
            for name, is_attribute in mentioned(node):
                if is_attribute:
                    self._use(name)
                else:
                    self._reach(name)
        found = [one for one in self.program.definitions if id(one) in self.kept]
        for definition in found:
            if isinstance(definition.node, ast.ClassDef):
                definition.node.body = [
                    one for one in definition.node.body if not _is_method(one) or id(one) in self.kept_methods
                ] or [ast.Pass()]
        return found

    def _reach(self, name: str) -> None:
        for definition in self.by_name.get(name, ()):
            self._keep(definition)

    def _keep(self, definition: Definition) -> None:
        if id(definition) in self.kept:
            return
        self.kept.add(id(definition))
        if definition.module not in self.modules:
            self.modules.add(definition.module)
            for effect in self.by_module.get(definition.module, ()):
                self._keep(effect)
        node = definition.node
        if not isinstance(node, ast.ClassDef):
            self.waiting.append(node)
            return
        self.waiting += [*node.bases, *node.keywords, *node.decorator_list]
        called = self._called_by_bases(node, definition.module)
        for statement in node.body:
            if not isinstance(statement, ast.FunctionDef):
                self.waiting.append(statement)
            elif statement.name in self.attributes or statement.name in called or _is_special(statement):
                self._keep_method(statement)
            else:
                self.methods.setdefault(statement.name, []).append(statement)

    def _use(self, attribute: str) -> None:
        self.attributes.add(attribute)
        for method in self.methods.pop(attribute, ()):
            self._keep_method(method)

    def _keep_method(self, method: ast.stmt) -> None:
        self.kept_methods.add(id(method))
        self.waiting.append(method)

    def _called_by_bases(self, cls: ast.ClassDef, module: str) -> set[str]:
        called: set[str] = set()
        for base in cls.bases:
            while isinstance(base, ast.Subscript):
                base = base.value
            name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
            if name in self.classes:
                for definition in self.by_name[name]:
                    if isinstance(definition.node, ast.ClassDef):
                        called |= self._called_by_bases(definition.node, module)
            elif name in CALLED_BY_BASES:
                called.update(CALLED_BY_BASES[name])
            else:
                raise ConfigError(
                    f"{module}: class {cls.name} derives from {ast.unparse(base)}, and the bundle does not know which "
                    "methods that calls; add it to pgolf.bundle.reachable.CALLED_BY_BASES"
                )
        return called

    def _has_effects(self, node: ast.stmt) -> bool:
        """Whether a top-level statement may do more than bind its names."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            return True
        return any(
            isinstance(part, ast.Call) and (name := _last(part.func)) not in _PURE and name not in self.classes
            for part in walk(node)
        )


def _is_method(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_special(statement: ast.stmt) -> bool:
    """Whether Python calls a method by itself, or a validator of pydantic is run by its decorator."""
    assert isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    if statement.name.startswith("__") and statement.name.endswith("__"):
        return True
    names = {node.id for one in statement.decorator_list for node in walk(one) if isinstance(node, ast.Name)}
    return bool(names & {"model_validator", "field_validator"})


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def mentioned(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every name in a tree, and whether it is an attribute's: keywords and what strings spell count as such too."""
    for node in walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, False
        elif isinstance(node, ast.Attribute):
            yield node.attr, True
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, True
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((word, True) for word in spelled(node.value))
        elif isinstance(node, ast.MatchClass):
            yield from ((name, True) for name in node.kwd_attrs)


def imports_of(program: Program, definitions: Iterable[Definition]) -> list[ast.stmt]:
    """Import statements for what the definitions use of others, in an order of their own."""
    used = {node.id for one in definitions for node in walk(one.node) if isinstance(node, ast.Name)}
    wanted = sorted((target.module, target.name, name) for name, target in program.imports.items() if name in used)
    statements: list[ast.stmt] = []
    whole = [ast.alias(module, name if name != module else None) for module, attribute, name in wanted if not attribute]
    if whole:
        statements.append(ast.Import(names=whole))
    for module in dict.fromkeys(module for module, attribute, _name in wanted if attribute):
        aliases = [
            ast.alias(attribute, name if name != attribute else None)
            for where, attribute, name in wanted
            if where == module and attribute
        ]
        statements.append(ast.ImportFrom(module=module, names=aliases, level=0))
    return statements
