"""`python -m bench.entered REPORT SCRIPT ARGUMENTS…`: a script of `pgolf bundle`, with an account of what it entered.

The script runs as `python SCRIPT ARGUMENTS…` does, on its own bytes, and finds no module of pgolf's; only when it has
its program compiled, every function of that gets a first statement that notes its line. At the end the lines are
appended to REPORT, one a line, by every rank its own. A loop that numba compiles notes nothing: it counts where it was
compiled.
"""

import ast
import builtins
import functools
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_NOTE = "note_entered"  # no name of a program, whose own are short


@functools.lru_cache(maxsize=1)
def noting(program: bytes) -> ast.Module:
    """The program, whose functions call `note_entered` with their line when they are entered."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not is_compiled(node):
            note = ast.Expr(ast.Call(ast.Name(_NOTE, ast.Load()), [ast.Constant(node.lineno)], []))
            # `nonlocal` may stand behind it: it only has to come before the name is used.
            node.body.insert(0, ast.fix_missing_locations(ast.copy_location(note, node.body[0])))
    return tree


def is_compiled(function: ast.FunctionDef) -> bool:
    """Whether numba makes a loop of it, so that it never runs as Python."""
    return any("njit" in ast.unparse(one) for one in function.decorator_list)


def run(report: Path, script: str, arguments: Sequence[str]) -> None:
    """Be the script; ends as it does."""
    entered: set[int] = set()
    python_compile, python_end = builtins.compile, os._exit

    def compile_noting(source: Any, filename: Any, *more: Any, **options: Any) -> Any:
        if filename == f"{script}:code":
            setattr(builtins, _NOTE, entered.add)
            source = noting(bytes(source))
        return python_compile(source, filename, *more, **options)

    def write() -> None:
        program = vars(sys.modules["pgolf"]) if "pgolf" in sys.modules else {}
        loops = {name: value.py_func.__code__ for name, value in program.items() if hasattr(value, "py_func")}
        for name, loop in loops.items():
            if program[name].signatures:
                # One that is inlined has no signatures of its own. The line is that of the decorator.
                inside = [loops[other] for other in loop.co_names if other in loops]
                entered.update(code.co_firstlineno for code in (loop, *inside))
        with report.open("a") as file:
            file.write("".join(f"{line}\n" for line in sorted(entered)))

    def write_and_end(code: int) -> None:
        write()
        python_end(code)

    for name in [name for name in sys.modules if name.partition(".")[0] in ("pgolf", "flows", "tasks")]:
        del sys.modules[name]
    builtins.compile, os._exit = compile_noting, write_and_end  # type: ignore[assignment]
    sys.argv[:] = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        write()
        builtins.compile, os._exit = python_compile, python_end  # type: ignore[assignment]


if __name__ == "__main__":
    run(Path(sys.argv[1]).absolute(), sys.argv[2], sys.argv[3:])
