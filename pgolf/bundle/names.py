"""Shorter names that mean the same: of locals, of what the program defines, and of its own attributes.

Locals are named scope by scope; everything else by one table for the whole program, which gives different names
different short ones,
so that no two things that were told apart become one. A name that anything of others may know keeps its
spelling: what a library has as an attribute (`pgolf.bundle.reserved_names`), what stands as a string, what a
checkpoint or a file names, and parameters that code of others fills by keyword.
"""

import ast
import builtins
import itertools
import keyword
import string
from collections import Counter
from collections.abc import Iterator, Mapping

from pgolf.bundle.keywords import keywords_of
from pgolf.bundle.scopes import Occurrence, Scope, occurrences
from pgolf.bundle.spelled import spelled
from pgolf.bundle.walk import walk

_LETTERS = string.ascii_lowercase + string.ascii_uppercase
_SMALL, _LARGE_FIRST = string.ascii_lowercase, string.ascii_uppercase + string.ascii_lowercase
_KEPT = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)
# ("global" | "attribute" | "parameter", name) -> short name.
Table = Mapping[tuple[str, str], str]


def short_names(letters: str) -> Iterator[str]:
    """Every name that begins with one of the letters and is neither a keyword nor a builtin, short ones first."""
    rest = _LETTERS + string.digits + "_"
    for length in itertools.count(1):
        for first in letters:
            for others in itertools.product(rest, repeat=length - 1):
                name = first + "".join(others)
                if name not in _KEPT:
                    yield name


def _words(tree: ast.Module) -> set[str]:
    """Every word of a string: names that are looked up by text."""
    return {
        word
        for node in walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in spelled(node.value)
    }


def _of_torch_modules(tree: ast.Module) -> set[str]:
    """Attributes of torch's modules are the names of their tensors in files."""
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.ClassDef) and any(_last(base) == "Module" for base in node.bases):
            found |= {
                one.attr for one in walk(node) if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
            }
    return found


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _defined_attributes(tree: ast.Module) -> set[str]:
    """What the program's classes define: methods, fields, and what is set on an object."""
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    found.add(one.name)
                elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    found.add(one.target.id)
                elif isinstance(one, ast.Assign):
                    found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name for name in found if not (name.startswith("__") and name.endswith("__"))} - _of_others(tree)


def _of_others(tree: ast.Module) -> set[str]:
    """Attributes of what comes from an import, and what is set on objects from outside their own methods."""
    imported = {
        alias.asname or alias.name
        for one in walk(tree)
        if isinstance(one, ast.Import | ast.ImportFrom)
        for alias in one.names
    }
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.Attribute):
            root: ast.AST = node
            while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
                root = root.func if isinstance(root, ast.Call) else root.value
            is_own = isinstance(root, ast.Name) and root.id == "self"
            if (isinstance(root, ast.Name) and root.id in imported) or (
                isinstance(node.ctx, ast.Store | ast.Del) and not (is_own and node.value is root)
            ):
                found.add(node.attr)
    return found


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _all_attributes(tree: ast.Module) -> Iterator[str]:
    for node in walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.MatchClass):
            yield from node.kwd_attrs


def shorten(tree: ast.Module, shown: frozenset[str], reserved: frozenset[str]) -> Table:
    """Rename in the whole tree but for the global names that are `shown`; returns what all but locals are called now.

    reserved: names that may not be changed as attributes, fields, or parameters filled by keyword.
    """
    places = occurrences(tree)
    keywords = keywords_of(tree, places, reserved)
    by_keyword: dict[tuple[int, str], str] = {}
    for place in places:
        if isinstance(place.node, ast.arg) and place.name in keywords.fixed:
            by_keyword[id(place.scope), place.name] = "fixed"
        elif isinstance(place.node, ast.arg) and place.name in keywords.parameters:
            by_keyword[id(place.scope), place.name] = "parameter"
    changeable = _defined_attributes(tree) - (_KEPT | reserved | _words(tree) | _of_torch_modules(tree))
    changeable = {name for name in changeable if not _is_special(name)}
    kinds = [_kind(place, by_keyword, shown) for place in places]
    counts: Counter[tuple[str, str]] = Counter()
    for (kind, name), place in zip(kinds, places, strict=True):
        if kind in ("global", "parameter") or (kind == "attribute" and name in changeable):
            counts[kind, name] += 1
        assert place.name == name
    counts.update(("attribute", name) for name in _all_attributes(tree) if name in changeable)
    taken = {name for kind, name in kinds if kind in ("fixed", "attribute", "parameter")} | set(_all_attributes(tree))
    # Small letters alone are for locals.
    pool = (name for name in short_names(_LARGE_FIRST) if name not in taken and name not in _SMALL)
    often = sorted(counts, key=lambda one: (-counts[one], one))
    table = {one: next(pool) for one in often}
    local = _local_names(places, kinds, table)
    for node in walk(tree):
        if isinstance(node, ast.Attribute):
            node.attr = table.get(("attribute", node.attr), node.attr)
        elif isinstance(node, ast.keyword) and node.arg and id(node) in keywords.kinds:
            node.arg = table.get((keywords.kinds[id(node)], node.arg), node.arg)
        elif isinstance(node, ast.MatchClass):
            node.kwd_attrs = [table.get(("attribute", word), word) for word in node.kwd_attrs]
    for place, what, own in zip(places, kinds, local, strict=True):
        new = table.get(what, own)
        if new == what[1]:
            continue
        if isinstance(place.node, ast.alias):
            place.node.asname = new
        else:
            place.rename(new)
    return table


def _kind(place: Occurrence, by_keyword: Mapping[tuple[int, str], str], shown: frozenset[str]) -> tuple[str, str]:
    """What a name at a place is: global, attribute of a class, parameter filled by keyword, local, or fixed."""
    binder = place.scope.binder(place.name)
    if binder is None:
        return "fixed", place.name
    if binder.is_module:
        return ("fixed" if place.name in shown else "global"), place.name
    if binder.is_class:
        return "attribute", place.name
    return by_keyword.get((id(binder), place.name), "local"), place.name


def _local_names(
    places: list[Occurrence], kinds: list[tuple[str, str]], table: Mapping[tuple[str, str], str]
) -> list[str]:
    """For each place the name it gets as a local: the first that nothing seen from its scope has."""
    own: dict[int, list[int]] = {}
    scopes: dict[int, Scope] = {}
    seen_in: dict[int, set[int]] = {}  # scope -> places inside it, at any depth, whose name is bound outside of it
    binders = [place.scope.binder(place.name) for place in places]
    for number, (place, binder) in enumerate(zip(places, binders, strict=True)):
        if binder is not None and not (binder.is_class or binder.is_module):
            own.setdefault(id(binder), []).append(number)
            scopes[id(binder)] = binder
        scope: Scope | None = place.scope
        while scope is not None and scope is not binder:
            seen_in.setdefault(id(scope), set()).add(number)
            scope = scope.parent
    names = [table.get(kind, kind[1]) for kind in kinds]
    for scope in sorted(scopes.values(), key=_depth):
        numbers = own[id(scope)]
        mine = [number for number in numbers if kinds[number][0] == "local"]
        # A name that an import binds is spelled by the module it comes from; `as` could change it, and seldom pays.
        imported = _imported(places, numbers)
        mine = [number for number in mine if kinds[number][1] not in imported]
        taken = {names[number] for number in seen_in.get(id(scope), ())}
        taken |= {names[number] for number in set(numbers) - set(mine)}
        pool = (name for name in short_names(_SMALL) if name not in taken)
        counts = Counter(kinds[number][1] for number in mine)
        first = {name: rank for rank, name in enumerate(dict.fromkeys(kinds[number][1] for number in mine))}
        chosen = {name: next(pool) for name in sorted(counts, key=lambda name: first[name])}
        for number in mine:
            names[number] = chosen[kinds[number][1]]
    return names


def _imported(places: list[Occurrence], numbers: list[int]) -> set[str]:
    return {places[number].name for number in numbers if isinstance(places[number].node, ast.alias)}


def _depth(scope: Scope) -> int:
    return 0 if scope.parent is None else 1 + _depth(scope.parent)
