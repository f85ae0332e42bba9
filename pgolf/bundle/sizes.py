"""What takes the bytes of a recipe's script, by module and function."""

import ast
import bz2
from dataclasses import dataclass

from pgolf.bundle.bundle import ENTRIES, built, program_of_modules, settings_of, tree_of
from pgolf.bundle.layout import source_of
from pgolf.bundle.names import shorten
from pgolf.bundle.reserved_names import RESERVED
from pgolf.bundle.script import START
from pgolf.bundle.stands_for import STAND_INS
from pgolf.identity.closure import walk_closure
from pgolf.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Size:
    """What a module costs: bytes that its removal saves of the compressed program, and its largest definitions.

    Removing two modules saves more than both alone where they repeat one another, so the sizes do not add up.
    """

    module: str
    saves_bytes: int
    largest: tuple[tuple[str, int], ...]


def sizes(recipe: Recipe) -> tuple[int, list[Size]]:
    """Bytes of the script, and its modules, the largest first. The bytes of definitions are those of their text."""
    made = program_of_modules([*walk_closure(*ENTRIES, STAND_INS)], settings_of(recipe))
    names = {id(one.node): one.names[0] for one in made.definitions}
    modules = {id(one.node): one.module for one in made.definitions}
    tree = tree_of(made)
    shorten(tree, frozenset({START}) | made.errors, RESERVED | made.spelled)
    text = [(one, source_of(ast.Module([one], []))) for one in tree.body]
    whole = _packed("".join(source for _one, source in text))
    found = []
    for module in sorted(set(modules.values())):
        own = [(names[id(one)], len(source)) for one, source in text if modules.get(id(one)) == module]
        rest = "".join(source for one, source in text if modules.get(id(one)) != module)
        largest = tuple(sorted(own, key=lambda pair: -pair[1])[:4])
        found.append(Size(module, whole - _packed(rest), largest))
    return len(built(recipe).script), sorted(found, key=lambda size: -size.saves_bytes)


def text_of(found: tuple[int, list[Size]]) -> str:
    """The sizes as a table."""
    total, modules = found
    lines = [f"{total:>7,} B  the script"]
    for size in modules:
        largest = ", ".join(f"{name} {count:,}" for name, count in size.largest)
        lines.append(f"{size.saves_bytes:>7,} B  {size.module.removeprefix('pgolf.')}  ({largest})")
    return "\n".join(lines)


def _packed(text: str) -> int:
    return len(bz2.compress(text.encode()))
