"""Drawings made side by side: the same bytes, by processes that end with the block, or else by this one."""

import json
import subprocess
import sys

import pytest

from tests.pipeline import drawers_program

pytestmark = pytest.mark.exec  # a fork of the tests' template has imported what draws, and has a child


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".svg", ".png")}


def test_others_draw_the_same_bytes_and_where_they_are_gone_or_may_not_be_this_process_draws(tmp_path):
    command = [sys.executable, "-m", drawers_program.__name__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    told = json.loads(done.stdout)
    assert told == {
        "drew here": False,
        "missing": "FileNotFoundError",
        "forks": 1,
        "killed": False,
        "left": 0,
        "with threads": False,
    }
    by_others = contents(tmp_path / "by others")
    assert sorted(by_others) == ["fixed-curves.png", "fixed-curves.svg", "fixed-map.png", "fixed-map.svg"]
    assert by_others == contents(tmp_path / "here")
