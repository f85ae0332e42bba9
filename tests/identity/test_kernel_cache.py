"""Compiled loops are taken from the disk only while all the code that they were made from is the same."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A loop that adds up what other files decide, each in its way. An edit is 11 -> 12 in one of them.
CALLEES = {
    "function": ("function(1)", "import numba\n@numba.njit\ndef function(x): return x * 11\n"),
    "default": ("default()", "import numba\n@numba.njit\ndef default(x=11): return x\n"),
    "constant": ("constant", "constant = 11\n"),
    "made": (
        "made(1)",
        "import numba\ndef make(n):\n    return numba.njit(lambda x: x * n)\nmade = make(11)\n",
    ),
    "behind": ("behind", "from pgolf.constant import constant\nbehind = 2 * constant\n"),
}
LOOP = """
import numba
{imports}
@numba.njit(cache=True)
def loop(n):
    total = 0
    for _ in range(n):
        total += {terms}
    return total
"""


SHOW = "from pgolf.loop import loop; print(loop(10), sum(loop.stats.cache_hits.values()))"
# Every request in a fork of a process that has imported numba, which takes longer than all else.
FORKS = """
import json, os, sys, traceback
import numba
for line in sys.stdin:
    paths, code = json.loads(line)
    if os.fork() == 0:
        sys.path[:0] = paths
        try:
            exec(code)
        except BaseException:
            print(*traceback.format_exc().splitlines(), sep=" | ")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def forks() -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.communicate()


def in_fork(process: "subprocess.Popen[str]", *paths: Path) -> tuple[int, int]:
    """What `run` tells, by a fork of a process that had numba before pgolf."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps([[*map(str, paths)], SHOW]), file=process.stdin, flush=True)
    total, hits = process.stdout.readline().split()
    return int(total), int(hits)


def run(root: Path, *, before: str = "", **environment: str) -> tuple[int, int]:
    """What a new process adds up in ten turns, and how many compilations it took from the disk."""
    result = subprocess.run(
        [sys.executable, "-c", f"{before}\n{SHOW}"],
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    total, hits = result.stdout.split()
    return int(total), int(hits)


def write(root: Path, names: Collection[str] = ("constant",), edited: str = "") -> None:
    """Write a loop that calls what these files hold."""
    imports = "; ".join(f"from pgolf.{name} import {name}" for name in names)
    terms = " + ".join(CALLEES[name][0] for name in names)
    (root / "pgolf/loop.py").write_text(LOOP.format(imports=imports, terms=terms))
    for name, (_, code) in CALLEES.items():
        (root / f"pgolf/{name}.py").write_text(code.replace("11", "12") if name == edited else code)


def test_an_edit_in_another_file_is_compiled_anew(copy, forks):
    write(copy, CALLEES)
    assert run(copy) == (660, 0)
    # The constant counts once more, and twice behind another file.
    for name, total in {"function": 670, "default": 670, "constant": 690, "made": 670}.items():
        write(copy, CALLEES, name)
        assert in_fork(forks, copy) == (total, 0), name
    write(copy, CALLEES)
    assert in_fork(forks, copy) == (660, 1)  # all are kept, each under its own name


def test_another_version_of_a_distribution_is_compiled_anew(copy, forks):
    def install(version: str) -> None:
        site = copy / "site-packages"
        shutil.rmtree(site, ignore_errors=True)
        about = site / f"kit-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kit\nVersion: {version}\n")
        (about / "RECORD").write_text("kit.py,,\n")
        (site / "kit.py").write_text(f"import numba\nK = {version}\n@numba.njit\ndef f(): return {version}\n")

    imports = "import kit; from kit import K"
    (copy / "pgolf/loop.py").write_text(LOOP.format(imports=imports, terms="K + kit.f()"))
    shown = []
    for version in ("1", "2", "1"):
        install(version)
        shown.append(in_fork(forks, copy, copy / "site-packages"))
    assert shown == [(20, 0), (40, 0), (20, 1)]


def test_a_notebook_that_had_numba_before_pgolf_and_settings_of_numba(copy, forks):
    write(copy)
    assert in_fork(forks, copy) == (110, 0)
    assert run(copy, NUMBA_OPT="1") == (110, 0)
    assert run(copy, NUMBA_NUM_THREADS="1", NUMBA_OPT="1") == (110, 1)  # decides nothing
    write(copy, edited="constant")
    assert run(copy, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator") == (120, 0)
    assert run(copy) == (120, 1)


def test_a_process_that_changed_a_constant_keeps_no_compilation(copy):
    write(copy, ("constant",))
    (copy / "pgolf/loop.py").write_text(LOOP.format(imports="constant = 11", terms="constant"))
    with pytest.raises(AssertionError, match=r"pgolf.loop.constant was changed in this process from 11 to 12"):
        run(copy, before="import pgolf.loop; pgolf.loop.constant = 12")
    assert run(copy) == (110, 0)


def test_where_the_source_may_not_be_written_the_users_cache_is_taken(copy, tmp_path):
    write(copy)
    (copy / "pgolf/__pycache__").write_text("a file, where a folder would be")
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home/.cache")}
    assert [run(copy, **home), run(copy, **home)] == [(110, 0), (110, 1)]
    assert run(copy, **home, NUMBA_CACHE_DIR=str(tmp_path / "home/.cache/numba")) == (110, 1)  # the same place
    assert run(copy, **home, NUMBA_CACHE_DIR="/proc/nowhere") == (110, 0)
