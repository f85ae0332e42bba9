"""Standard output and error in another encoding, full, or without a reader: plain letters, short messages, no trace."""

import ast
import fcntl
import io
import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.text import Text

from flows.commands import cli, console, export_command, recipes_command, show_command, streams
from flows.commands.cli import main
from flows.commands.console import Console
from flows.commands.streams import show_plainly
from pgolf.errors import DataError, ResultsError
from pgolf.machine import lack
from pgolf.machine.process import Process
from pgolf.store.artifact import Store


@contextmanager
def output_to(descriptor: int, monkeypatch):
    """sys.stdout on this descriptor, as Python makes it where it is no terminal."""
    with open(descriptor, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield


COMMANDS = (["recipes"], ["--help"], ["run", "--help"], ["show", "demo"], ["show", "demo", "--json"], ["--version"])


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


def test_a_full_disk_of_an_out_folder_is_named_without_the_error_naming_it(monkeypatch, tmp_path, capfd):
    def fail(_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_command, "execute", fail)
    monkeypatch.setattr(lack, "_free_bytes", lambda folder: 12_345 if folder == tmp_path else 10**9)
    assert main(["export", "demo", "--out", str(tmp_path / "submission")]) == 2
    assert f"no space left in {tmp_path} (12,345 bytes free)" in capfd.readouterr().err


def test_an_error_that_was_raised_from_a_lack_names_it_too(monkeypatch, capsys):
    def fail(_arguments):
        raise ResultsError("t.parquet could not be written") from OSError(27, "File too large", "t.parquet")

    monkeypatch.setattr(recipes_command, "execute", fail)
    assert main(["recipes"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "ResultsError: t.parquet could not be written"
    assert "a file would be larger than this process may write" in second


@pytest.mark.parametrize("number", [resource.RLIMIT_DATA, resource.RLIMIT_AS])
def test_an_interrupt_that_a_library_sent_itself_is_no_ctrl_c(monkeypatch, capsys, number):
    """OpenBLAS does, in the midst of `import numpy`, where it cannot start its threads."""

    def load(_arguments):
        exec(compile("raise KeyboardInterrupt", "numpy/_core/multiarray.py", "exec"))

    def work(_arguments):
        raise KeyboardInterrupt

    before = resource.getrlimit(number)
    monkeypatch.setattr(recipes_command, "execute", load)
    assert main(["recipes"]) == 130
    resource.setrlimit(number, (1 << 45, before[1]))
    try:
        assert main(["recipes"]) == 2
        monkeypatch.setattr(recipes_command, "execute", work)
        assert main(["recipes"]) == 130
    finally:
        resource.setrlimit(number, before)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("interrupted")
    assert second.startswith("MachineError: a library was interrupted while it was loaded")
    assert "allows 35,184,372,088,832 bytes of " in second
    assert third.startswith("interrupted")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fail(_arguments):
        raise AssertionError("of ours")

    monkeypatch.setattr(cli, "command_named", lambda _name: recipes_command)
    monkeypatch.setattr(recipes_command, "execute", fail)
    with pytest.raises(AssertionError, match="of ours"):
        main(["recipes"])


HOSTILE = "t\x1b[2Jx\x9b1A\u202ey\r\x07\udce9"
SPELLED_OUT = "t\\x1b[2Jx\\x9b1A\\u202ey\\r\\x07\\xe9"


def test_commands_print_in_no_other_way_than_by_the_functions_that_spell_control_characters_out():
    found = []
    for path in sorted(Path(cli.__file__).parent.glob("*.py")):
        if path.name != "streams.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    *("print", "sys.stdout.write", "sys.stderr.write", "sys.stdout.writelines", "rich.print"),
                    *("RichConsole", "rich.console.Console", "os.write"),
                ):
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_what_others_have_written_moves_no_cursor(capsys, monkeypatch):
    streams.show(HOSTILE)
    streams.tell(f"{HOSTILE}\n{'x' * 10_000}")
    said = capsys.readouterr()
    assert said.out == f"{SPELLED_OUT}\n"
    assert said.err.splitlines()[0] == SPELLED_OUT
    assert len(said.err) < 1_000
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    streams.hand_over(HOSTILE)
    assert capsys.readouterr().out == f"{SPELLED_OUT}\n"


def test_a_program_that_reads_gets_every_byte(capsys):
    streams.hand_over("a\x1b\u202e\x9b\n")
    streams.hand_over("[]")
    assert capsys.readouterr().out == "a\x1b\u202e\x9b\n[]\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_neither_do_lines_and_screens_that_rich_draws(terminal):
    written = io.StringIO()
    drawn = console.PlainConsole(
        file=written, force_terminal=terminal, color_system="standard" if terminal else None, width=100
    )
    drawn.print(Text(f"a {HOSTILE} b", "bold"))
    assert "t\\x1b[2Jx\\x9b1A\\u202ey" in written.getvalue()
    assert ("\x1b[1m" in written.getvalue()) == terminal  # its own it still writes


@pytest.mark.parametrize("words", [*COMMANDS, ["results", "--results", "."], ["gc", "--empty-bin", "--store", "."]])
def test_streams_that_the_shell_has_closed_lead_nowhere(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    try:
        exit_code = main(words)
    except SystemExit as ended:
        exit_code = ended.code
    opened = [sys.stdin, sys.stdout, sys.stderr]
    assert exit_code == 0
    assert [stream.name for stream in opened] == [os.devnull] * 3
    for stream in opened:
        stream.close()


def test_their_numbers_go_to_no_other_file_and_children_can_write():
    program = (
        "import os, subprocess; from flows.commands.streams import open_missing; open_missing()\n"
        "assert [os.readlink(f'/proc/self/fd/{number}') for number in range(3)] == ['/dev/null'] * 3\n"
        "raise SystemExit(subprocess.run(['sh', '-c', 'echo out && echo err >&2 && ! read line']).returncode + 7)"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 7


@pytest.mark.parametrize(
    "words",
    [
        ["x" * 100_000],
        ["run", "demo", "--seeds", "9" * 100_000],
        ["plan", "demo", "--price-per-hour", "\x1b[2J" * 10_000],
        ["tokenize", "--vocab-size", "x" * 100_000],
        ["results", "--results", "x" * 100_000],
        ["gc", "--results", "x" * 100_000, "--store", "."],
    ],
)
def test_what_was_typed_is_repeated_in_part(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    try:
        exit_code = main(words)
    except SystemExit as ended:
        exit_code = ended.code
    assert exit_code == 2
    *usage, said = capsys.readouterr().err.splitlines()
    assert len(said) <= 600
    assert "characters in all" in said
    assert "\x1b" not in said
    assert all(len(line) < 200 for line in usage)


def test_an_error_of_the_system_says_on_what_or_in_doing_what(monkeypatch, capfd):
    failing = []

    def fail(_arguments):
        raise failing.pop()

    monkeypatch.setattr(recipes_command, "execute", fail)
    for error, said in (
        (OSError(5, "Input/output error"), "OSError: Input/output error, in `pgolf recipes`\n"),
        (OSError(5, "Input/output error", f"/a/{HOSTILE}"), f"OSError: /a/{SPELLED_OUT}: Input/output error\n"),
        (PermissionError(13, "Permission denied", b"/a/caf\xe9"), "PermissionError: /a/caf\\xe9: Permission denied\n"),
    ):
        failing.append(error)
        assert main(["recipes"]) == 2
        assert capfd.readouterr().err == said


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_names_in_a_store_move_no_cursor(tmp_path, capsys, words):
    (tmp_path / "failed" / "t\x1b[2Jx").mkdir(parents=True)
    (tmp_path / "referring").mkdir()  # as in a store
    assert main(["gc", "--store", str(tmp_path), "--without-results", *words]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert ("\\u001b" if words else "t\\x1b[2Jx") in said


def test_whom_a_run_waits_for_is_told_in_plain_characters_and_not_at_length(tmp_path, capsys):
    (tmp_path / ".locks").mkdir()
    process = asdict(Process.here()) | {"host": "h\x1b[2J" * 500}
    note = {"what": "pgolf gc\x1b[2J" * 500, "since_utc": "2026-01-01", "process": process}
    (tmp_path / ".locks" / "user-1.json").write_text(json.dumps(note))
    with open(tmp_path / ".locks" / "store", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def tell_and_let_go(text: str) -> None:
            streams.tell(text)
            fcntl.flock(lock, fcntl.LOCK_UN)

        with Store(tmp_path).using("pgolf run", tell_and_let_go):
            pass
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("waiting until nothing is deleted from ")
    assert said.isprintable()
    assert len(said) <= 600
