"""Configs as plain records: fields with their defaults, methods, nothing that checks.

Settings are checked where the script is made, and it is made for them alone; `pgolf.bundle.stand_ins` has the rest.
"""

import ast
from collections.abc import Iterable

from pgolf.errors import ConfigError

_VALIDATORS = frozenset({"model_validator", "field_validator"})


def is_record(cls: ast.ClassDef, records: frozenset[str]) -> bool:
    """Whether a class is a config or another of pydantic's models, as one of `records` or their base."""
    return any(isinstance(base, ast.Name) and base.id in records for base in cls.bases)


def make_records(statements: Iterable[ast.stmt], base: str) -> frozenset[str]:
    """Change every class that derives from `base`; returns their names. Bases come before what derives from them.

    Raises ConfigError for what a record cannot do: a validator that changes values, a default made anew each time.
    """
    records = {base}
    for statement in statements:
        if isinstance(statement, ast.ClassDef) and is_record(statement, frozenset(records)):
            records.add(statement.name)
            statement.body = [kept for one in statement.body if (kept := _plain(one, statement.name)) is not None]
            statement.body = statement.body or [ast.Pass()]
    return frozenset(records - {base})


def _plain(statement: ast.stmt, cls: str) -> ast.stmt | None:
    if isinstance(statement, ast.FunctionDef):
        for decorator in statement.decorator_list:
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") in _VALIDATORS:
                if [ast.unparse(keyword.value) for keyword in decorator.keywords] != ["'after'"]:
                    raise ConfigError(f"{cls}.{statement.name} changes what it is given; a script's settings are final")
                return None
        return None if statement.name == "__get_pydantic_core_schema__" else statement
    if isinstance(statement, ast.AnnAssign):
        statement.annotation = ast.copy_location(ast.Name("int", ast.Load()), statement)
        statement.value = _default(statement.value, cls)
        return statement
    if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "model_config":
        return None
    return statement


def _default(value: ast.expr | None, cls: str) -> ast.expr | None:
    """The default of a field: what `Field` is given as such."""
    if not (isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Field"):
        return value
    given = {keyword.arg: keyword.value for keyword in value.keywords}
    if "default_factory" in given:
        raise ConfigError(f"{cls}: a field whose default is made anew each time; give it a value that cannot change")
    return value.args[0] if value.args else given.get("default")
