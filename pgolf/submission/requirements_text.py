"""What a script imports beside the standard library, as `requirements.txt` has it: exact versions."""

import ast
import sys

from pgolf.identity.origins import distributions_of


def requirements_text(program: str) -> str:
    """A line for each distribution of which the program imports a module, with the version that is installed here.

    Public versions: without what a build adds (+cpu).
    """
    found: dict[str, str] = {}
    for top in sorted(imported(ast.parse(program)) - sys.stdlib_module_names):
        found |= distributions_of(top)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items(), key=lambda one: one[0].lower()))


def imported(program: ast.Module) -> set[str]:
    """Top-level names of all modules that a program imports by statements, wherever they stand."""
    names: set[str] = set()
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
