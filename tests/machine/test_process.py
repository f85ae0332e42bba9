"""When a process counts as gone: never while it may live, and never because its pid has come again."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pgolf.machine.children import children
from pgolf.machine.process import Process


@pytest.fixture(scope="module")
def here() -> Process:
    return Process.here()


def test_this_process_lives(here):
    assert here.pid == os.getpid()
    assert not here.is_gone


def test_a_pid_that_has_come_again_is_another_process(here):
    assert replace(here, at="1").is_gone


def test_an_earlier_boot_of_this_host_is_gone_and_another_host_or_container_is_unknown(here):
    assert replace(here, boot="00000000").is_gone
    assert not replace(here, host="elsewhere", pid=999999999).is_gone
    assert not replace(here, pids="1", pid=999999999).is_gone


def test_an_ended_child_is_gone_even_before_it_is_waited_for():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert not process.is_gone
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_gone
    child.communicate()


def test_a_process_whose_name_is_no_text_is_found_and_lives():
    rename = "open('/proc/self/comm', 'wb').write(b'\\xff) Z 1 ('); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in children(os.getpid())
        assert not Process.of(child.pid).is_gone
        child.communicate(b"\n")
