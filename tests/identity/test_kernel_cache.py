"""Compiled loops are taken from the disk only while all the code that they were made from is the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOP = """
import numba
{more}
@numba.njit(cache=True)
def loop(n):
    total = 0
    for _ in range(n):
        total += {term}
    return total
"""
# What the loop adds up, and a second file that decides it. The edit is 11 -> 12, there.
CALLEES = {
    "a compiled function": ("step(1)", "import numba\n@numba.njit\ndef step(x): return x * 11\n"),
    "its default argument": ("step()", "import numba\n@numba.njit\ndef step(x=11): return x\n"),
    "a constant": ("step", "step = 11\n"),
    "a constant of a class": ("step", "class A: x = 11\nstep = A.x\n"),
    "a function made by a function": (
        "step(1)",
        "import numba\ndef make(n):\n    return numba.njit(lambda x: x * n)\nstep = make(11)\n",
    ),
}


def run(root: Path, *, before: str = "", **environment: str) -> tuple[int, int]:
    """What a new process adds up in ten turns, and how many compilations it took from the disk."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{before}\nfrom pgolf.loop import loop; print(loop(10), sum(loop.stats.cache_hits.values()))",
        ],
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    total, hits = result.stdout.split()
    return int(total), int(hits)


def write(root: Path, term: str, callee: str) -> None:
    (root / "pgolf/step.py").write_text(callee)
    (root / "pgolf/loop.py").write_text(LOOP.format(more="from pgolf.step import step\n", term=term))


@pytest.mark.parametrize("callee", CALLEES)
def test_an_edit_in_another_file_is_compiled_anew(copy, callee):
    term, code = CALLEES[callee]
    write(copy, term, code)
    assert run(copy) == (110, 0)
    write(copy, term, code.replace("11", "12"))
    assert run(copy) == (120, 0)
    write(copy, term, code)
    assert run(copy) == (110, 1)  # both are kept, each under its own name


def test_a_notebook_that_had_numba_before_pgolf_and_a_setting_of_numba(copy):
    write(copy, *CALLEES["a compiled function"])
    assert run(copy, before="import numba; numba.njit(lambda x: x)(1)") == (110, 0)
    assert run(copy) == (110, 1)
    assert run(copy, NUMBA_OPT="1") == (110, 0)
    assert run(copy, NUMBA_NUM_THREADS="1", NUMBA_OPT="1") == (110, 1)  # decides nothing
    write(copy, *(text.replace("11", "12") for text in CALLEES["a compiled function"]))
    assert run(copy, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator") == (120, 0)
    assert run(copy) == (120, 1)


def test_where_the_source_may_not_be_written_the_users_cache_is_taken(copy, tmp_path):
    write(copy, *CALLEES["a constant"])
    (copy / "pgolf/__pycache__").write_text("a file, where a folder would be")
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home/.cache")}
    assert [run(copy, **home), run(copy, **home)] == [(110, 0), (110, 1)]
    chosen = {**home, "NUMBA_CACHE_DIR": str(tmp_path / "chosen")}
    assert [run(copy, **chosen), run(copy, **chosen)] == [(110, 0), (110, 1)]
    nowhere = {**home, "NUMBA_CACHE_DIR": "/proc/nowhere"}
    assert [run(copy, **nowhere), run(copy, **nowhere)] == [(110, 0), (110, 0)]
