"""A module's tree as a machine needs it: without what people read, what type checkers check, and what needs files."""

import ast

from pgolf.bundle.walk import walk
from pgolf.identity.closure import is_bare_string

_BODIES = ("body", "orelse", "finalbody")
_PLACEHOLDER = "int"


def bare(tree: ast.Module) -> ast.Module:
    """The tree, changed: no docstrings, annotations, asserts, casts, abstract methods, or caches of compiled loops.

    Fields of dataclasses and named tuples stay declared; what pydantic reads stays as it is.
    """
    _Bare().visit(tree)
    return tree


class _Bare(ast.NodeTransformer):
    def __init__(self) -> None:
        self.declares = "nothing"

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in _BODIES:
            body = getattr(node, field, None)
            if isinstance(body, list):
                kept = [one for one in body if not is_bare_string(one) and not isinstance(one, ast.Pass | ast.Assert)]
                if len(kept) < len(body):
                    may_be_empty = isinstance(node, ast.Module) or field != "body"
                    setattr(node, field, kept or ([] if may_be_empty else [ast.Pass()]))
        super().generic_visit(node)
        for field in _BODIES:
            if getattr(node, field, None) == [] and field == "body" and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(one) for one in node.orelse]
        return self.generic_visit(node)

    def visit_FunctionDef(self, function: ast.FunctionDef) -> ast.FunctionDef | None:
        if any(getattr(one, "id", "") == "abstractmethod" for one in function.decorator_list):
            return None
        outer, self.declares = self.declares, "nothing"
        self.generic_visit(function)
        self.declares = outer
        function.returns = None
        return function

    def visit_ClassDef(self, cls: ast.ClassDef) -> ast.ClassDef:
        outer, self.declares = self.declares, _declares(cls)
        self.generic_visit(cls)
        self.declares = outer
        return cls

    def visit_arg(self, argument: ast.arg) -> ast.arg:
        argument.annotation = None
        return argument

    def visit_AnnAssign(self, assignment: ast.AnnAssign) -> ast.stmt | None:
        if self.declares == "pydantic":
            self.generic_visit(assignment)
            return assignment
        kind = assignment.annotation
        is_class_variable = "ClassVar" in {node.id for node in walk(kind) if isinstance(node, ast.Name)}
        if assignment.value is not None:
            assignment.value = self.visit(assignment.value)
        if self.declares == "fields" and not is_class_variable:
            assignment.annotation = ast.copy_location(ast.Name(_PLACEHOLDER, ast.Load()), kind)
            return assignment
        if assignment.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[assignment.target], value=assignment.value), assignment)

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        name = called(call)
        if name == "cast" and isinstance(call.func, ast.Name):
            return call.args[1]
        dropped = {"Field": "description", "njit": "cache"}.get(name, "")
        call.keywords = [keyword for keyword in call.keywords if keyword.arg != dropped]
        return call


def called(call: ast.Call) -> str:
    """The last name of what is called: Field, or njit of numba.njit."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _declares(cls: ast.ClassDef) -> str:
    """What annotations in the class's body are: "fields", what pydantic reads, or nothing."""
    names = {node.id for one in cls.decorator_list for node in walk(one) if isinstance(node, ast.Name)}
    bases = {node.id for base in cls.bases for node in walk(base) if isinstance(node, ast.Name)}
    if "dataclass" in names or "NamedTuple" in bases:
        return "fields"
    is_model = any(base == "BaseModel" or base.endswith(("Config", "Product", "Job")) for base in bases)
    return "pydantic" if is_model else "nothing"
