"""Ctrl-C, as a terminal sends it to a whole process group: one line, exit code 130, whatever the process is doing."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

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
