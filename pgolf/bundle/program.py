"""The program of a recipe's script: its modules as one, with its settings in it, and nothing that these rule out.

Steps, each in its own module: `bare`, `flat`, `records`, `constants` and `reachable` in turn until nothing changes,
`messages`, `names`, `layout`.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from pydantic import BaseModel

from pgolf.bundle.bare import bare
from pgolf.bundle.calls import fixed_arguments, fixed_attributes, fixed_results
from pgolf.bundle.constants import fold
from pgolf.bundle.cuts import cut
from pgolf.bundle.dead import drop_dead_locals, drop_unread_attributes
from pgolf.bundle.flat import Definition, External, Program, flatten
from pgolf.bundle.kinds import kind_of, kinds_of, local_kinds, note_kinds
from pgolf.bundle.known import There, configs, known
from pgolf.bundle.messages import Message, numbered
from pgolf.bundle.reachable import imports_of, mentioned, reachable
from pgolf.bundle.records import make_records
from pgolf.bundle.reserved_names import RESERVED
from pgolf.bundle.script_settings import Settings
from pgolf.bundle.settings_text import classes_written
from pgolf.bundle.stands_for import STAND_INS, STANDS_FOR
from pgolf.bundle.walk import children, walk

ENTRY = ("pgolf.bundle.standalone", "main")


@dataclass(frozen=True, slots=True)
class Made:
    """What is left. main: the entry's name. fields: class of configs -> all of them, read or not.

    spelled: fields whose names the program writes or reads somewhere. errors: exceptions, whose names are printed.
    """

    definitions: list[Definition]
    imports: list[ast.stmt]
    main: str
    fields: dict[str, set[str]]
    messages: list[Message]
    spelled: frozenset[str]
    errors: frozenset[str]


@dataclass(frozen=True, slots=True)
class Joined:
    """All modules as one, before any settings. records: names of the classes of configs."""

    program: Program
    main: str
    records: frozenset[str]


def join(modules: Sequence[tuple[str, ast.Module, bool]]) -> Joined:
    """Modules (name, tree, is a package) as one. Their trees are changed."""
    for _name, tree, _is_package in modules:
        note_kinds(tree)
        bare(tree)
        for node in walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                node.original = node.name  # type: ignore[union-attr]
    there = {name for name, _tree, _is_package in modules}
    replaced = {original: (STAND_INS, name) for original, name in STANDS_FOR.items() if STAND_INS in there}
    program = flatten(modules, ENTRY[0], replaced)
    main = program.own[ENTRY]
    records: frozenset[str] = frozenset()
    if STAND_INS in there:
        base = program.own[STAND_INS, "BaseModel"]
        records = make_records((one.node for one in program.definitions), base)
    return Joined(program, main, records)


def make(joined: Joined, settings: Settings | None) -> Made:
    """The program of settings, from modules whose trees are changed. settings: None for none at all."""
    program, main, records = joined.program, joined.main, joined.records
    if settings is not None:
        cut(program, settings)
    wanted = frozenset({main})
    own = frozenset() if settings is None else frozenset(type(one).__name__ for one in configs(settings))
    definitions = reachable(program, wanted | own)
    fields: dict[str, set[str]] = {}
    if settings is not None:
        definitions = _specialised(program, definitions, settings, wanted | own)
        fields = _prune_fields(definitions, records, program.imports)
        # Of the settings' classes those that the text of the settings names.
        wanted |= set(classes_written(settings, fields))
        definitions = reachable(_with(program, definitions), wanted)
    errors = frozenset(one.node.name for one in definitions if isinstance(one.node, ast.ClassDef) and _is_error(one))
    messages = numbered([(one.module, one.node) for one in definitions], errors)
    definitions = reachable(_with(program, definitions), wanted)
    # The settings can be read back from their text (`settings_read`), so their fields have their names in it.
    spelled = _fields(definitions, _dumped(definitions, records, program.imports)).union(*fields.values())
    shown = frozenset(one.names[0] for one in definitions if one.module == "pgolf.errors")
    return Made(definitions, imports_of(program, definitions), main, fields, messages, spelled, shown)


def _with(program: Program, definitions: list[Definition]) -> Program:
    return Program(definitions, program.imports, program.own)


def _is_error(definition: Definition) -> bool:
    bases = definition.node.bases if isinstance(definition.node, ast.ClassDef) else ()
    names = [base.id for base in bases if isinstance(base, ast.Name)]
    return definition.module == "pgolf.errors" or any(name.endswith(("Error", "Exception")) for name in names)


def _specialised(
    program: Program, definitions: list[Definition], settings: BaseModel, wanted: frozenset[str]
) -> list[Definition]:
    """Constants and reachability in turn until nothing changes."""
    named: dict[str, list[str]] = {}
    for (_module, name), own in program.own.items():
        named.setdefault(name, []).append(own)
    certain = {name: several[0] for name, several in named.items() if len(several) == 1}
    kinds = kinds_of([one.node for one in definitions], certain)
    waiting = {id(one) for one in definitions}
    seen: dict[int, tuple[int, frozenset[str]]] = {}
    told: set[str] = set()
    while waiting:
        statements = [one.node for one in definitions]
        fixed = {certain[cls]: own for cls, own in known(settings, _changed(statements)).items()}
        for cls, values in fixed.items():
            noted = kinds.attributes.setdefault(cls, {})
            for name, value in values.items():
                if isinstance(value, There) and value.cls is not None:
                    noted[name] = certain[value.cls]
        arguments = fixed_arguments(statements, RESERVED)
        results = fixed_results(statements, RESERVED)
        attributes = fixed_attributes(statements, RESERVED)
        fixed_now = {*results, *(f".{name}" for name in attributes)}
        new = {name.removeprefix(".").removesuffix("()") for name in (fixed_now - told) | set(arguments)}
        told |= fixed_now
        changed = set()
        for one in definitions:
            if id(one) not in seen:
                seen[id(one)] = _summary(one.node)
            if id(one) in waiting or new & seen[id(one)][1]:
                before = seen[id(one)]
                fold(one.node, fixed, kinds, arguments, results, attributes)
                drop_dead_locals(one.node)
                seen[id(one)] = _summary(one.node)
                if seen[id(one)] != before:
                    changed.add(id(one))
        waiting = changed
        if changed:
            definitions = reachable(_with(program, definitions), wanted)
    drop_unread_attributes(statements, attributes)
    return definitions


def _summary(statement: ast.stmt) -> tuple[int, frozenset[str]]:
    """How many nodes a statement has, and which names stand in it."""
    nodes = list(walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return len(nodes), frozenset(names)


def _changed(statements: Iterable[ast.stmt]) -> frozenset[str]:
    """Fields that copies of configs are given other values of."""
    found: set[str] = set()
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "model_copy":
                for keyword in node.keywords:
                    assert isinstance(keyword.value, ast.Dict)
                    found |= {str(one.value) for one in keyword.value.keys if isinstance(one, ast.Constant)}
    return frozenset(found)


_NAMES_FIELDS = (External("dataclasses", "asdict"), External("dataclasses", "fields"))
_DUMPS = frozenset({"model_dump", "model_dump_json", "model_validate", "model_validate_json", "model_fields"})


def _prune_fields(
    definitions: list[Definition], records: frozenset[str], imports: Mapping[str, External]
) -> dict[str, set[str]]:
    """Drop fields of configs that nothing reads; returns class -> its fields, those included.

    What the settings fix nothing reads any more, but their text says it all the same: it tells what the script does.
    """
    attributes = {name for one in definitions for name, is_attribute in mentioned(one.node) if is_attribute}
    whole = _dumped(definitions, records, imports)
    every: dict[str, set[str]] = {}
    for one in definitions:
        if isinstance(one.node, ast.ClassDef) and one.node.name in records:
            every[one.node.name] = {
                statement.target.id
                for statement in one.node.body
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            }
            one.node.body = [
                statement
                for statement in one.node.body
                if not isinstance(statement, ast.AnnAssign)
                or one.node.name in whole
                or (isinstance(statement.target, ast.Name) and statement.target.id in attributes)
            ] or [ast.Pass()]
    return every


def _fields(definitions: list[Definition], classes: set[str]) -> frozenset[str]:
    return frozenset(
        one.target.id
        for definition in definitions
        if isinstance(definition.node, ast.ClassDef) and definition.node.name in classes
        for one in definition.node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    )


def _dumped(definitions: list[Definition], records: frozenset[str], imports: Mapping[str, External]) -> set[str]:
    """Classes whose fields are read as a whole, so that they have their names, with what they derive from and hold."""
    statements = [one.node for one in definitions]
    classes = {one.name for one in statements if isinstance(one, ast.ClassDef)}
    kinds = kinds_of(statements, {name: name for name in classes | records})
    found: set[str] = set()

    def add(kind: str | None, every: Set[str]) -> None:
        """All that an object of this kind may be, classes that derive from it included, and what its fields hold."""
        new = (set(every) if kind is None else kinds.whole(kind)) - found
        found.update(new)
        for one in new:
            for held in kinds.held.get(one, set()) & records:
                add(held, every)

    def look(node: ast.AST, local: dict[str, str], cls: str | None) -> None:
        if isinstance(node, ast.ClassDef):
            cls = node.name
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            local, cls = local_kinds(node, local, kinds, cls), None
        elif isinstance(node, ast.Attribute) and node.attr in _DUMPS:
            of = node.value
            if isinstance(of, ast.Call) and getattr(of.func, "id", "") == "type":
                of = of.args[0]
            name = getattr(of, "id", "")
            add(name if name in records else kind_of(of, local, kinds), records)
        elif isinstance(node, ast.Call) and imports.get(getattr(node.func, "id", "")) in _NAMES_FIELDS:
            name = getattr(node.args[0], "id", "")
            add(name if name in classes else kind_of(node.args[0], local, kinds), classes)
        for child in children(node):
            look(child, local, cls)

    for one in definitions:
        if one.module != STAND_INS:
            look(one.node, {}, None)
    return found
