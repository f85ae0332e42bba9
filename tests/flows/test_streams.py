"""Standard output and error in another encoding, full, or without a reader: plain letters, short messages, no trace."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from flows.commands import cli, recipes_command, show_command, streams
from flows.commands.cli import main
from flows.commands.console import Console
from flows.commands.streams import show_plainly
from pgolf.errors import DataError, ResultsError


@contextmanager
def output_to(descriptor: int, monkeypatch):
    """sys.stdout on this descriptor, as Python makes it where it is no terminal."""
    with open(descriptor, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield


COMMANDS = (["recipes"], ["--help"], ["run", "--help"], ["show", "pr715"], ["show", "pr715", "--json"], ["--version"])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_output_is_said_in_one_line(monkeypatch, capfd, words):
    with output_to(os.open("/dev/full", os.O_WRONLY), monkeypatch):
        try:
            exit_code = main(words)
        except SystemExit as ended:
            exit_code = ended.code
    assert exit_code == 2
    said = capfd.readouterr().err
    assert said.startswith(
        "standard output could not be written to the end: the disk or device that it goes to is full"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", COMMANDS)
def test_nobody_who_reads_is_no_error(monkeypatch, capfd, words):
    reading, writing = os.pipe()
    os.close(reading)
    with output_to(writing, monkeypatch):
        try:
            exit_code = main(words)
        except SystemExit as ended:
            exit_code = ended.code
    assert exit_code == 0
    assert capfd.readouterr().err == ""


def test_a_failure_keeps_its_code_where_nobody_reads(monkeypatch, capfd):
    def fail(_arguments):
        print("so far")
        raise DataError("a file is missing")

    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(recipes_command, "execute", fail)
    with output_to(writing, monkeypatch):
        assert main(["recipes"]) == 2
    assert capfd.readouterr().err == "DataError: a file is missing\n"


def test_progress_that_nobody_reads_does_not_end_a_run(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Console({}) as console:
            console.say("a line")
            console.say("another")
        assert streams.close_outputs(0) == 0


def test_python_ends_without_a_word_of_its_own_after_a_full_output():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flows.commands.cli", "recipes"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_marks_and_foreign_file_names_are_shown_in_what_letters_there_are(monkeypatch, encoding):
    def show(_arguments):
        print("▸ ✓ ✗ × … → – caf\udce9.jsonl ü 漢")
        return 0

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(show_command, "execute", show)
    assert main(["show", "pr715"]) == 0
    shown = written.getvalue().decode(encoding)
    if encoding == "utf-8":
        assert shown == "▸ ✓ ✗ × … → – caf\\xe9.jsonl ü 漢\n"
    elif encoding == "ascii":
        assert shown == "> + x x ... -> - caf\\xe9.jsonl \\xfc \\u6f22\n"
    else:
        assert shown.startswith("> + x × ")
        assert shown.endswith("caf\\xe9.jsonl ü \\u6f22\n")


def test_progress_is_drawn_in_plain_letters_on_such_a_terminal(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding="ascii"))
    show_plainly()
    with Console({}) as console:
        console.say("▸ train[1]  never run before")
    sys.stderr.flush()
    assert written.getvalue() == b"> train[1]  never run before\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 9.0 TiB"), "MachineError: this machine has not enough memory: Unable to"),
        (OSError(28, "No space left on device", "/dev/shm/x"), "MachineError: no space left"),
        (OSError(24, "Too many open files"), "(ulimit -n: "),
        (OSError(27, "File too large", "x"), "MachineError: a file would be larger than this process may write"),
        (OSError(30, "Read-only file system", "/x"), "MachineError: /x is on a read-only file system"),
    ],
)
def test_what_the_machine_lacks_ends_a_command_with_its_name_and_no_trace(monkeypatch, capsys, error, said):
    def fail(_arguments):
        raise error

    monkeypatch.setattr(recipes_command, "execute", fail)
    assert main(["recipes"]) == 2
    assert said in capsys.readouterr().err


def test_an_error_that_was_raised_from_a_lack_names_it_too(monkeypatch, capsys):
    def fail(_arguments):
        raise ResultsError("t.parquet could not be written") from OSError(27, "File too large", "t.parquet")

    monkeypatch.setattr(recipes_command, "execute", fail)
    assert main(["recipes"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "ResultsError: t.parquet could not be written"
    assert "a file would be larger than this process may write" in second


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fail(_arguments):
        raise AssertionError("of ours")

    monkeypatch.setattr(cli, "command_named", lambda _name: recipes_command)
    monkeypatch.setattr(recipes_command, "execute", fail)
    with pytest.raises(AssertionError, match="of ours"):
        main(["recipes"])
