"""Whose each keyword of a call is: a field, a parameter of a function of ours, or a name that others know."""

import ast
from collections.abc import Set
from dataclasses import dataclass, field

from pgolf.bundle.scopes import Occurrence
from pgolf.bundle.spelled import spelled
from pgolf.bundle.walk import walk


@dataclass(slots=True)
class Keywords:
    """kinds: id of a keyword -> "attribute" or "parameter"; those of others are not in it.

    parameters: names of parameters that calls fill by keyword. fixed: those that may be filled from a place where it is
    not certain whose they are.
    """

    kinds: dict[int, str] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)


def keywords_of(tree: ast.Module, places: list[Occurrence], reserved: Set[str]) -> Keywords:
    """Look at every call of the program. reserved: names of attributes that libraries have too."""
    return _Look(tree, places, reserved).found


class _Look:
    def __init__(self, tree: ast.Module, places: list[Occurrence], reserved: Set[str]) -> None:
        self.found, self.tree = Keywords(), tree
        self.reserved = reserved
        self.functions = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
        self.classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
        self.methods = {
            one.name for cls in self.classes.values() for one in cls.body if isinstance(one, ast.FunctionDef)
        }
        self.others = {
            alias.asname or alias.name: alias.name
            for one in tree.body
            if isinstance(one, ast.Import | ast.ImportFrom)
            for alias in one.names
        }
        # What names in functions are is known from their scopes; here only whether they are global.
        self.globals = {
            id(place.node) for place in places if (binder := place.scope.binder(place.name)) is None or binder.is_module
        }
        self.fields = {
            one.target.id
            for cls in self.classes.values()
            for one in cls.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        self.strings = {
            word
            for node in walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for word in spelled(node.value)
        }
        for statement in tree.body:
            cls = statement if isinstance(statement, ast.ClassDef) else None
            for node in walk(statement):
                if isinstance(node, ast.Call) and node.keywords:
                    self._take(node, cls)

    def _take(self, call: ast.Call, cls: ast.ClassDef | None) -> None:
        kind = self._kind(call, cls)
        for keyword in call.keywords:
            if keyword.arg is None:
                # Fields whose name is a word of a string keep it as it is.
                if kind in ("parameter", "unknown"):
                    self.found.fixed |= self.strings & self._parameters_of(call)
            elif kind == "unknown":
                self.found.fixed.add(keyword.arg)
            elif kind != "others":
                self.found.kinds[id(keyword)] = kind
                if kind == "parameter":
                    self.found.parameters.add(keyword.arg)

    def _parameters_of(self, call: ast.Call) -> set[str]:
        """Parameters that a mapping may fill, which is handed on as keywords."""
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        called = [one for one in self.tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
        if not called:
            return self.strings
        return {one.arg for one in walk(called[0].args) if isinstance(one, ast.arg)}

    def _kind(self, call: ast.Call, cls: ast.ClassDef | None) -> str:
        function = call.func
        if isinstance(function, ast.Name):
            name = function.id
            if id(function) not in self.globals:
                return self._of_class(cls) if name == "cls" and cls is not None else "unknown"
            if name in self.functions:
                return "parameter"
            if name in self.classes:
                return self._of_class(self.classes[name])
            if self.others.get(name) == "replace":
                return "attribute"
            return "unknown" if name == "dict" or self._hands_on(call) else "others"
        if isinstance(function, ast.Attribute):
            root: ast.expr = function
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and id(root) in self.globals and root.id in self.others:
                return "unknown" if self._hands_on(call) else "others"
            if function.attr == "_replace":
                return "attribute"
            if function.attr in self.methods:
                is_certain = function.attr not in self.reserved and not function.attr.startswith("__")
                return "parameter" if is_certain and function.attr not in self.fields else "unknown"
            if function.attr in self.fields or self._hands_on(call):
                return "unknown"
            return "others" if function.attr in self.reserved or not function.attr.startswith("_") else "unknown"
        if isinstance(function, ast.Call) and getattr(function.func, "id", "") == "type" and cls is not None:
            return self._of_class(cls)
        return "unknown"

    def _of_class(self, cls: ast.ClassDef) -> str:
        """Keywords of a class are its fields, or parameters of its `__init__`."""
        has_own = any(
            isinstance(one, ast.FunctionDef) and one.name == "__init__" and not one.args.kwarg for one in cls.body
        )
        return "parameter" if has_own else "attribute"

    def _hands_on(self, call: ast.Call) -> bool:
        """Whether a function of ours is among the arguments: it may be called with the keywords."""
        for one in call.args:
            if isinstance(one, ast.Name) and (one.id in self.functions or one.id in self.classes):
                return True
            if isinstance(one, ast.Attribute) and one.attr in self.methods:
                return True
            if isinstance(one, ast.Name) and id(one) not in self.globals:
                return call.func.attr in ("submit", "partial") if isinstance(call.func, ast.Attribute) else True
        return False
