"""A program as a script that unpacks itself."""

import ast
import runpy
import sys
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.bundle import script as script_module
from pgolf.bundle.script import SETTINGS_BYTES, program_of, script_of, with_settings
from pgolf.errors import ConfigError

PROGRAM = "def start(arguments,path,environment):return[arguments,environment['SEED'],eval(R)]\n"


@given(st.binary(max_size=600))
def test_any_stream_can_stand_in_a_string_of_a_latin_1_script(stream):
    escaped = script_module._escaped(stream)
    source = b"# coding:latin-1\nx='''%s'''.encode('l1')\n" % escaped
    namespace: dict[str, object] = {}
    exec(compile(source, "script", "exec"), namespace)
    assert namespace["x"] == stream
    assert len(escaped) <= 4 * len(stream)


def test_every_byte_before_every_byte_is_read_back():
    stream = bytes(byte for first in range(256) for second in range(256) for byte in (first, second))
    namespace: dict[str, object] = {}
    exec(compile(b"# coding:latin-1\nx='''%s'''.encode('l1')" % script_module._escaped(stream), "s", "exec"), namespace)
    assert namespace["x"] == stream
    assert len(script_module._escaped(stream)) < 1.03 * len(stream)


@pytest.mark.parametrize("program", [PROGRAM, PROGRAM + "".join(f"x{i}={i * i}\n" for i in range(4000))])
def test_a_script_runs_from_its_file_and_gives_its_program_back(tmp_path, monkeypatch, program):
    path = tmp_path / "train_gpt.py"
    path.write_bytes(with_settings(script_of(program), "(1,'two')"))
    assert program_of(path.read_bytes()) == program
    with tokenize.open(path) as file:  # as tracebacks and linecache read it
        ast.parse(file.read())
    monkeypatch.setattr(sys, "argv", ["train_gpt.py", "eval"])
    monkeypatch.setenv("SEED", "7")
    monkeypatch.setitem(sys.modules, "pgolf", sys.modules["pgolf"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == [["eval"], "7", (1, "two")]


def test_settings_take_whole_steps_so_that_a_number_more_changes_no_size():
    script = script_of(PROGRAM)
    sizes = {len(with_settings(script, repr(tuple(range(count))))) for count in range(1, 100)}
    assert len(sizes) == 1
    assert len(with_settings(script, "x" * SETTINGS_BYTES)) == sizes.pop() + SETTINGS_BYTES


@pytest.mark.parametrize("spoil", [lambda script: b"", lambda script: script[:-200], lambda script: script[:200]])
def test_what_is_no_script_is_said(spoil):
    with pytest.raises(ConfigError, match=r"other\.py is no script of `pgolf bundle`"):
        program_of(spoil(script_of(PROGRAM)), "other.py")
