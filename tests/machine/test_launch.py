"""torchrun with real processes: what comes back, and that nothing stays behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pgolf.errors import LaunchError
from pgolf.machine import launch
from pgolf.machine.children import children
from pgolf.machine.launch import run_ranks
from tests.eventually import eventually
from tests.processes import command_of, is_running

as_a_user_does = pytest.mark.exec
ROOT = Path(__file__).parents[2]

# A rank writes its pid to a file of its own, so that a test can see whether it is still there.
RANK = """
import os, signal, sys, time
from pathlib import Path
from pgolf.machine.parent_death import die_with_parent
die_with_parent(int(sys.argv[-1]))
folder, what, rank = Path(sys.argv[1]), sys.argv[2], os.environ["RANK"]
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if what == "last words":
    def speak(*_):
        os.write(1, f"last words of rank {rank}\\n".encode())  # told again in the middle of a print, it would raise
        os._exit(1)
    signal.signal(signal.SIGTERM, speak)
(folder / f"pid-{rank}").write_text(str(os.getpid()))
print(f"rank {rank} with {os.environ['OMP_NUM_THREADS']} threads, EXTRA={os.environ.get('EXTRA')}")
print("sees", [name for name in ("BPB_SCALE", "NVIDIA_TF32_OVERRIDE", "HOME", "NCCL_DEBUG") if name in os.environ])
print("runs on", *sorted(os.sched_getaffinity(0)))
print(f"@mark {rank}")
if what == "crash" and rank == "1":
    time.sleep(0.5)
    raise RuntimeError("the reason is here")
if what == "killed" and rank == "1":
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
if what != "finish":
    time.sleep(300)
"""


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Calls run_ranks on the program above: ranks("crash", processes=2, …)."""
    (tmp_path / "rank_program.py").write_text(RANK)
    monkeypatch.syspath_prepend(tmp_path)

    def run(what: str, **options) -> None:
        options = {"log_path": tmp_path / "ranks.log", "environment": {"EXTRA": "yes"}, **options}
        run_ranks("rank_program", [str(tmp_path), what], **options)

    return run


def living(folder: Path) -> list[int]:
    """Pids of ranks that still run (a killed one may be a zombie until init collects it)."""
    # A rank whose file is there and still empty is about to write its pid.
    pids = [int(text) for path in folder.glob("pid-*") if (text := path.read_text())]
    alive = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            alive.append(pid)
    return alive


def assert_all_gone(folder: Path, count: int) -> None:
    assert len(list(folder.glob("pid-*"))) == count
    eventually(lambda: not living(folder), "all are gone", within_s=10)


def test_lines_reach_log_and_listener_and_marked_ones_the_listener_alone(ranks, tmp_path):
    heard = []
    ranks("finish", processes=2, threads=3, on_line=heard.append, unlogged_prefix="@mark")
    expected = {"rank 0 with 3 threads, EXTRA=yes", "[rank 1] rank 1 with 3 threads, EXTRA=yes"}
    logged = (tmp_path / "ranks.log").read_text().splitlines()
    assert expected <= set(heard)
    assert expected <= set(logged)
    assert "@mark 0" in heard
    assert "@mark 0" not in logged


def test_ranks_see_the_variables_of_the_list_and_those_given_to_them(ranks, monkeypatch):
    for name in ("BPB_SCALE", "NVIDIA_TF32_OVERRIDE", "NCCL_DEBUG"):
        monkeypatch.setenv(name, "1")
    heard = []
    ranks("finish", processes=1, on_line=heard.append)
    assert "sees ['HOME', 'NCCL_DEBUG']" in heard


CHILD = """
import os, subprocess, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
import pgolf.probe
from pgolf.machine.launch import _folder_for_code, _with_our_code
{before}
with _folder_for_code(str(root / "logs")) as folder:
    environment = _with_our_code(dict(os.environ), folder)
    {meanwhile}
    (root / "pgolf/probe.py").write_text("V = 12")
    shown = "import pgolf.probe as p, kit, sys; print(p.V, kit.V, 'a:b' in str(sys.path))"
    subprocess.run([sys.executable, "-c", shown], env=environment, stderr=sys.stdout)
"""


def child_of(root: Path, **code: str) -> str:
    """What a child with the environment of a rank prints of two modules, the first of which was edited meanwhile."""
    (root / "logs").mkdir(parents=True)
    for version in (1, 2):
        (root / f"site{version}").mkdir()
        (root / f"site{version}/kit.py").write_text(f"V = {version}")
    (root / "pgolf").mkdir()
    for path in ("__init__.py", "errors.py", "identity", "machine"):
        copy = shutil.copytree if (ROOT / "pgolf" / path).is_dir() else shutil.copy
        copy(ROOT / "pgolf" / path, root / "pgolf" / path)
    (root / "pgolf/probe.py").write_text("V = 11")
    result = subprocess.run(
        [sys.executable, "-c", CHILD.format(**{"before": "", "meanwhile": "", **code}), str(root)],
        env={**os.environ, "PYTHONPATH": str(root / "site1"), "PYTHONSAFEPATH": "1"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return result.stdout.strip()


def test_ranks_run_our_code_and_what_we_import_wherever_that_lies(tmp_path):
    """In a folder whose name PYTHONPATH would take for two, and behind a path that was changed by hand."""
    folder = tmp_path / "a:b"
    other = "sys.path.insert(0, str(root / 'site2'))"
    assert child_of(folder, before=other) == "11 2 True"
    assert not list(Path(tempfile.gettempdir()).glob("pgolf-code-*"))


def test_a_rank_that_finds_other_code_ends_and_says_so(tmp_path):
    other = "environment['PYTHONPATH'] = str(root); (root / 'pgolf/more.py').write_text('')"
    said = child_of(tmp_path / "b", meanwhile=other)
    assert said.startswith(f"this rank found the code of {tmp_path / 'b'} (")
    assert "the process that started it runs other code" in said
    assert "Traceback" not in said


@as_a_user_does
def test_a_crash_names_the_rank_and_carries_its_last_lines(ranks, tmp_path):
    with pytest.raises(LaunchError) as raised:
        ranks("crash", processes=2)
    message = str(raised.value)
    assert message.startswith("rank 1 of 2 of rank_program ended with exit code 1; its last lines:\n")
    assert message.endswith("RuntimeError: the reason is here")
    assert "rank 0 with" not in message
    assert "the reason is here" in (tmp_path / "ranks.log").read_text()
    assert_all_gone(tmp_path, 2)


def test_a_signal_without_a_name_is_named_by_its_number():
    last_lines = [
        "Root Cause (first observed failure):",
        "  rank      : 1 (local_rank: 1)",
        "  exitcode  : -40 (pid: 7)",
    ]
    said = launch._failure_message("a_module", 2, 1, last_lines)
    assert said.startswith("rank 1 of 2 of a_module was killed by signal 40; its last lines:")


@as_a_user_does
def test_ranks_run_on_the_given_cores_and_one_killed_from_outside_is_named_with_its_signal(ranks, tmp_path):
    heard, core = [], max(os.sched_getaffinity(0))
    with pytest.raises(LaunchError, match=r"rank 1 of 2 of rank_program was killed by SIGKILL"):
        ranks("killed", processes=2, on_line=heard.append, cores=[core])
    assert {f"runs on {core}", f"[rank 1] runs on {core}"} <= set(heard)
    assert_all_gone(tmp_path, 2)


def test_a_timeout_ends_the_run_whatever_it_is_doing(ranks, tmp_path):
    """Three seconds may be over before the ranks have started; then there is nothing to kill but torchrun."""
    with pytest.raises(LaunchError, match=r"rank_program on 2 ranks timed out after \d+ s and was stopped"):
        ranks("stubborn", processes=2, timeout_s=3, grace_s=0.2)
    assert_all_gone(tmp_path, len(list(tmp_path.glob("pid-*"))))


def test_an_error_in_the_listener_ends_even_ranks_that_ignore_sigterm(ranks, tmp_path):
    def fail(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ranks("stubborn", processes=1, grace_s=0.2, on_line=fail)
    assert_all_gone(tmp_path, 1)


def test_last_words_are_heard_however_often_torchrun_is_told_to_end(ranks, tmp_path):
    heard = []

    def tell() -> None:
        eventually(lambda: len(living(tmp_path)) == 2, "both ranks run", within_s=60)
        torchrun = next(pid for pid in children(os.getpid()) if "pgolf.machine.launch" in command_of(pid))
        with suppress(ProcessLookupError):
            while is_running(torchrun):
                os.kill(torchrun, signal.SIGTERM)
                time.sleep(0.01)

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(LaunchError):
        ranks("last words", processes=2, on_line=heard.append)
    teller.join()
    assert {"last words of rank 0", "[rank 1] last words of rank 1"} <= set(heard)


@as_a_user_does
def test_kill_9_of_the_caller_leaves_no_rank(ranks, tmp_path):
    caller = f"""
import sys
from pathlib import Path
from pgolf.machine.launch import run_ranks
folder = Path({str(tmp_path)!r})
sys.path.insert(0, str(folder))
run_ranks("rank_program", [str(folder), "stubborn"], processes=2, log_path=folder / "ranks.log")
"""
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=ROOT)
    eventually(lambda: len(living(tmp_path)) == 2, "both ranks live", within_s=60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_all_gone(tmp_path, 2)
