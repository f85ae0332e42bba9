"""Ctrl-C, as a terminal sends it to a whole process group: one line, exit code 130, whatever the process is doing."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.commands.cli import main
from tests.flows import ctrl_c_program

LINE = "interrupted; finished stages are kept and will be reused\n"


@contextmanager
def running(*words):
    program = subprocess.Popen(
        [sys.executable, "-m", ctrl_c_program.__name__, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    child = int(program.stdout.readline())
    try:
        yield program
    finally:
        program.kill()
        if child:
            os.kill(child, signal.SIGKILL)
        program.communicate()


def test_a_process_whose_main_thread_holds_every_lock_ends_with_one_line():
    with running() as program:
        os.killpg(program.pid, signal.SIGINT)
        out, errors = program.communicate(timeout=60)
        assert (program.returncode, out, errors) == (130, "", LINE)


def test_while_ranks_write_it_says_so_and_a_second_ctrl_c_ends_at_once():
    with running("ranks") as program:
        os.killpg(program.pid, signal.SIGINT)
        first = program.stderr.readline()
        assert first == "interrupted; ranks write what they have, 10 s at most (Ctrl-C again: end at once)\n"
        os.killpg(program.pid, signal.SIGINT)
        out, rest = program.communicate(timeout=60)
        assert (program.returncode, out, rest) == (130, "", "")


# Runs `pgolf plan demo`, and is interrupted as soon as a module is imported.
STARTING = """
import os, signal, sys
def hear(event, arguments):
    if event == "import" and arguments[0] == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hear)
sys.argv[0] = "/somewhere/bin/pgolf"
from flows.commands.cli import main
sys.exit(main(["plan", "demo"]))
"""
# Is interrupted again and again while it clears up after an interrupt.
AGAIN = """
import os, signal, sys
sys.argv[0] = "/somewhere/bin/pgolf"
from flows.commands import cli, recipes_command
def execute(_arguments):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        print("cleared up", flush=True)
        for _ in range(int(sys.argv[1])):
            os.kill(os.getpid(), signal.SIGINT)
        print("wholly", flush=True)
recipes_command.execute = execute
sys.exit(cli.main(["recipes"]))
"""


def ended(program, *words, folder):
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "module", ["pgolf", "pgolf.errors", "flows.commands.streams", "pgolf.pipeline.plan", "pydantic", "tomllib"]
)
def test_while_a_command_starts_it_ends_with_one_line(module, tmp_path):
    assert ended(STARTING, module, folder=tmp_path) == (130, "", LINE)


@pytest.mark.parametrize(("again", "out"), [(0, "cleared up\nwholly\n"), (1, "cleared up\n"), (2, "cleared up\n")])
def test_one_ctrl_c_is_cleared_up_after_and_further_ones_end_at_once(again, out, tmp_path):
    assert ended(AGAIN, str(again), folder=tmp_path) == (130, out, LINE)


def test_who_else_uses_the_command_line_keeps_ctrl_c_as_it_was(capsys):
    before = signal.getsignal(signal.SIGINT)
    assert main(["recipes"]) == 0
    assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler
