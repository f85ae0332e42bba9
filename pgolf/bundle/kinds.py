"""Of which class an expression is, as far as annotations say it, which mypy has checked.

Annotations are read before they are dropped. What is not certain has no kind: a name that two modules give to a class,
a union of two classes, a local that is bound to different kinds.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgolf.bundle.walk import children, walk

_LISTS = frozenset({"tuple", "list", "Sequence", "Iterable", "Iterator"})
_MAPPINGS = frozenset({"dict", "Mapping"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def note_kinds(tree: ast.Module) -> None:
    """Write on every argument, function and class of a tree what its annotations say, as `kind` or `kinds`.

    On a class also `held`, every name that the annotations of its fields contain.
    """
    for node in walk(tree):
        if isinstance(node, ast.arg):
            node.kind = _named(node.annotation)  # type: ignore[attr-defined]
        elif isinstance(node, ast.FunctionDef):
            node.kind = _named(node.returns)  # type: ignore[attr-defined]
        elif isinstance(node, ast.ClassDef):
            node.kinds = {  # type: ignore[attr-defined]
                one.target.id: kind
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                if (kind := _named(one.annotation)) is not None
            }
            fields = [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
            node.held = {one.id for each in fields for one in walk(each) if isinstance(one, ast.Name)}  # type: ignore[attr-defined]


def _named(annotation: ast.expr | None) -> str | None:
    """The class that an annotation names, alone or or-else None; "[X]" for a list of X, "{X}" for a mapping to X."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Name):
        return annotation.id
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [one for one in (annotation.left, annotation.right) if not _is_none(one)]
        return _named(sides[0]) if len(sides) == 1 else None
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.value, ast.Name):
        return None
    inside = annotation.slice
    if annotation.value.id in _MAPPINGS and isinstance(inside, ast.Tuple):
        value = _named(inside.elts[-1])
        return None if value is None else f"{{{value}}}"
    if annotation.value.id not in _LISTS:
        return None
    if isinstance(inside, ast.Tuple):
        if len(inside.elts) != 2 or not isinstance(inside.elts[1], ast.Constant):
            return None
        inside = inside.elts[0]
    item = _named(inside)
    return None if item is None else f"[{item}]"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


_Pair = tuple[ast.expr, ast.expr | None]


@dataclass(slots=True)
class Kinds:
    """What is known of a program's classes and functions.

    attributes: class -> attribute -> kind. returns: function, or (class, method) -> kind. bases: class -> its bases.
    held: class -> the names in the annotations of its fields.
    """

    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    returns: dict[str | tuple[str, str], str] = field(default_factory=dict)
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held: dict[str, set[str]] = field(default_factory=dict)

    def attribute(self, kind: str, name: str) -> str | None:
        """The kind of an attribute, or of a property."""
        for one in self.family(kind):
            found = self.attributes.get(one, {}).get(name)
            if found is not None:
                return found
        return None

    def method(self, kind: str, name: str) -> str | None:
        """The kind of what a method returns."""
        for one in self.family(kind):
            found = self.returns.get((one, name))
            if found is not None:
                return found
        return None

    def family(self, kind: str) -> list[str]:
        """A class and those of ours from which it derives."""
        found = [kind]
        for one in found:
            found += [base for base in self.bases.get(one, ()) if base not in found]
        return found

    def whole(self, kind: str) -> set[str]:
        """The classes that what is said to be of a class may be of, and all from which these derive."""
        own = [cls for cls in (kind, *self.bases) if kind in self.family(cls)]
        return {one for cls in own for one in self.family(cls)}


def kinds_of(statements: list[ast.stmt], names: Mapping[str, str]) -> Kinds:
    """names: a class as annotations call it -> as the program calls it, of those where that is certain."""
    kinds = Kinds()

    def own(kind: str | None) -> str | None:
        if kind is None:
            return None
        if kind[0] in "[{":
            item = own(kind[1:-1])
            return None if item is None else f"{kind[0]}{item}{kind[-1]}"
        return names.get(kind)

    classes = [one for one in statements if isinstance(one, ast.ClassDef)]
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.arg | ast.FunctionDef):
                raw = getattr(node, "kind", None)
                node.returns_self = raw == "Self" or getattr(node, "returns_self", False)  # type: ignore[union-attr]
                node.kind = own(raw)  # type: ignore[union-attr]
        if isinstance(statement, ast.FunctionDef) and (kind := statement.kind):  # type: ignore[attr-defined]
            kinds.returns[statement.name] = kind
    for cls in classes:
        cls.held = kinds.held[cls.name] = {names.get(one, one) for one in getattr(cls, "held", ())}  # type: ignore[attr-defined]
        kinds.bases[cls.name] = tuple(base.id for base in cls.bases if isinstance(base, ast.Name))
        noted = {name: its for name, raw in getattr(cls, "kinds", {}).items() if (its := own(raw)) is not None}
        kinds.attributes[cls.name] = noted
        for method in cls.body:
            if not isinstance(method, ast.FunctionDef):
                continue
            kind = cls.name if method.returns_self else method.kind  # type: ignore[attr-defined]
            if kind:
                is_property = any(
                    isinstance(one, ast.Name) and one.id in ("property", "cached_property")
                    for one in method.decorator_list
                )
                if is_property:
                    noted[method.name] = kind
                else:
                    kinds.returns[cls.name, method.name] = kind
    stored_elsewhere = {
        node.attr
        for statement in statements
        for node in walk(statement)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not _is_self(node.value)
    }
    for cls in classes:
        found: dict[str, set[str | None]] = {}
        for method in cls.body:
            if isinstance(method, ast.FunctionDef) and method.args.args:
                local = local_kinds(method, {}, kinds, cls.name)
                for node in walk(method):
                    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr | ast.For):
                        for target, value in _pairs(node):
                            for one in walk(target):
                                if isinstance(one, ast.Attribute) and _is_self(one.value):
                                    is_whole = one is target and value is not None
                                    kind = kind_of(value, local, kinds) if is_whole and value is not None else None
                                    found.setdefault(one.attr, set()).add(kind)
        for name, several in found.items():
            one_kind = next(iter(several))
            if len(several) == 1 and one_kind is not None and name not in stored_elsewhere:
                kinds.attributes[cls.name].setdefault(name, one_kind)
    return kinds


def _pairs(node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr | ast.For) -> list[_Pair]:
    """What an assignment binds, each with its value where that is certain: `a, b = x, y` binds two."""
    if not isinstance(node, ast.Assign):
        value = None if isinstance(node, ast.AugAssign | ast.For) else node.value
        return [(node.target, value)]
    found: list[_Pair] = []
    for target in node.targets:
        names, value = target, node.value
        if isinstance(names, ast.Tuple) and isinstance(value, ast.Tuple) and len(names.elts) == len(value.elts):
            is_starred = any(isinstance(one, ast.Starred) for one in (*names.elts, *value.elts))
            found += [(one, None if is_starred else other) for one, other in zip(names.elts, value.elts, strict=True)]
        else:
            found.append((target, None if isinstance(names, ast.Tuple | ast.List) else value))
    return found


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def kind_of(node: ast.expr, local: Mapping[str, str], kinds: Kinds) -> str | None:
    """The class of an expression's value, if it is not None; None where that is not certain."""
    if isinstance(node, ast.Name):
        return local.get(node.id)
    if isinstance(node, ast.NamedExpr):
        return kind_of(node.value, local, kinds)
    if isinstance(node, ast.Attribute):
        of = kind_of(node.value, local, kinds)
        return None if of is None else kinds.attribute(of, node.attr)
    if isinstance(node, ast.Subscript):
        of = kind_of(node.value, local, kinds)
        return of[1:-1] if of is not None and of.startswith("{") else None
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id if node.func.id in kinds.attributes else kinds.returns.get(node.func.id)
        if isinstance(node.func, ast.Attribute):
            of = kind_of(node.func.value, local, kinds)
            if of is not None:
                return of if node.func.attr == "model_copy" else kinds.method(of, node.func.attr)
    return None


def local_kinds(function: ast.AST, around: Mapping[str, str], kinds: Kinds, cls: str | None = None) -> dict[str, str]:
    """Kinds of the names that a function sees: those around it, its arguments, and what it binds to one kind only.

    cls: the class of which it is a method, and its first argument.
    """
    assert isinstance(function, _FUNCTIONS)
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    several = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    own = {one.arg: getattr(one, "kind", None) for one in every} | {one.arg: None for one in several}
    if cls is not None and every:
        own[every[0].arg] = cls
    seen = {name: kind for name, kind in around.items() if name not in own}
    seen |= {name: kind for name, kind in own.items() if kind}
    unknown = {name for name, kind in own.items() if not kind}
    for statement in function.body if isinstance(function.body, list) else ():
        _take_bindings(statement, seen, unknown, kinds)
    return seen


def _take_bindings(statement: ast.stmt, seen: dict[str, str], unknown: set[str], kinds: Kinds) -> None:
    """A name keeps its kind if all that it is bound to is of that kind; once it is not, the name is `unknown`."""
    bound: dict[str, set[str | None]] = {}
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node):
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, set()).add(None if value is None else kind_of(value, seen, kinds))
                else:
                    _unknown(target, bound)
        elif isinstance(node, ast.NamedExpr):
            bound.setdefault(node.target.id, set()).add(kind_of(node.value, seen, kinds))
        elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
            of = kind_of(node.iter, seen, kinds)
            bound.setdefault(node.target.id, set()).add(of[1:-1] if of is not None and of.startswith("[") else None)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.setdefault(node.id, set())
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.setdefault(node.name, set()).add(None)
        elif isinstance(node, ast.For | ast.comprehension | ast.AugAssign):
            _unknown(node.target, bound)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            _unknown(node.optional_vars, bound)
        waiting += list(children(node))
    for name, several in bound.items():
        one = next(iter(several)) if len(several) == 1 else None
        if one is None or seen.get(name, one) != one or name in unknown:
            seen.pop(name, None)
            unknown.add(name)
        else:
            seen[name] = one


def _unknown(target: ast.AST, bound: dict[str, set[str | None]]) -> None:
    for node in walk(target):
        if isinstance(node, ast.Name):
            bound.setdefault(node.id, set()).add(None)
