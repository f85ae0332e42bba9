"""What parsing has found is kept, and is never another source's, another parser's or a damaged file's."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

FOUND = """
import json
from pgolf.identity import closure
parse, parsed = closure.syntax_tree, []
closure.syntax_tree = lambda source: parsed.append(source) or parse(source)
digests = closure.code_digests("pgolf.probe")
print(json.dumps([digests["pgolf.probe"], sorted(digests), len(parsed)]))
"""


def run(root: Path, **environment: str) -> tuple[str, list[str], int]:
    """The probe's digest, its closure, and how many modules a new process parsed for it."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(
        [sys.executable, "-c", FOUND],
        env={**ours, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    digest, names, parsed = json.loads(result.stdout)
    return digest, names, parsed


@pytest.fixture
def package(copy) -> Path:
    (copy / "pgolf/probe.py").write_text("from pgolf.helper import V\nW = V\n")
    (copy / "pgolf/helper.py").write_text("V = 11\n")
    return copy


def kept(root: Path) -> Path:
    (path,) = (root / "pgolf/identity/__pycache__").glob("parsed.*.json")
    return path


def test_a_second_process_parses_nothing_and_finds_the_same(package):
    first = run(package)
    assert first[1:] == (["pgolf.helper", "pgolf.probe"], 2)
    assert run(package) == (*first[:2], 0)


def test_what_was_edited_is_parsed_again_and_nothing_else(package):
    before = run(package)
    (package / "pgolf/probe.py").write_text("W = 12\n")
    edited = run(package)
    assert edited[1:] == (["pgolf.probe"], 1)
    assert edited[0] != before[0]
    (package / "pgolf/probe.py").write_text("from pgolf.helper import V\nW = V\n")
    assert run(package) == (*before[:2], 0)  # both are kept


def test_a_module_that_becomes_a_package_is_parsed_again(package):
    """Its bytes are the same, and what its relative imports mean is not."""
    (package / "pgolf/probe.py").write_text("from .helper import V\n")
    assert run(package)[1:] == (["pgolf.helper", "pgolf.probe"], 2)
    (package / "pgolf/probe").mkdir()
    (package / "pgolf/probe.py").rename(package / "pgolf/probe/__init__.py")
    (package / "pgolf/probe/helper.py").write_text("V = 12\n")
    assert run(package)[1:] == (["pgolf.probe", "pgolf.probe.helper"], 2)


def test_an_edit_of_what_parses_lets_nothing_stand(package):
    run(package)
    closure = package / "pgolf/identity/closure.py"
    closure.write_text(
        closure.read_text().replace('pieces.append(f"Name:{node.id};")', 'pieces.append(f"N:{node.id};")')
    )
    assert run(package)[2] == 2


def test_no_flipped_bit_is_ever_used(package):
    sound = run(package)
    content = kept(package).read_bytes()
    draw = random.Random(1)
    for place in [0, 63, 64, 65, len(content) - 1, *(draw.randrange(len(content)) for _ in range(4))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        kept(package).write_bytes(damaged)
        assert run(package) == sound, place
        assert kept(package).read_bytes() == content, "it is written again"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_a_file_of_others_counts_as_none(package, content):
    sound = run(package)
    kept(package).write_bytes(content)
    assert run(package) == sound


def test_where_nothing_may_be_written_nothing_is(package, tmp_path):
    sound = run(package, PYTHONDONTWRITEBYTECODE="1")
    assert run(package, PYTHONDONTWRITEBYTECODE="1") == sound
    assert not list(package.rglob("parsed.*"))
    elsewhere = {"PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere")}
    assert [run(package, **elsewhere)[2], run(package, **elsewhere)[2]] == [2, 0]
    assert not list((package / "pgolf").rglob("parsed.*"))
    (package / "pgolf/identity/__pycache__").write_text("a file, where a folder would be")
    assert [run(package)[2], run(package)[2]] == [2, 2]
