"""A killed, doubled or full machine: nothing is lost, nothing is built twice, nothing stays behind."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.status import RUNNING, statuses
from pgolf.pipeline.upkeep import garbage
from pgolf.store.artifact import PARTIAL, Store
from pgolf.store.content import Memo
from pgolf.tables.parquet import read
from pgolf.tables.ranked import ranking
from pgolf.tables.schema import SCORES
from pgolf.train.checkpoint_record import read_record
from tests.eventually import eventually
from tests.flows import build_program
from tests.flows.prefect_home import prefect_home
from tests.processes import descendants, is_running, ranks_below
from tests.tiny import UNTRIED, outputs, tiny_arguments, write_documents

START_S = 120.0
HINT = 'hint={"window": 64, "stride": 32, "orders": [3], "delay_targets": 40}'
TWO_POINTS = "mix.alphas=0.2,0.4"  # a picture to draw, so that a run goes on after its last stage


def pgolf(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """`pgolf run` on the tiny recipe with hints in a process of its own, without Prefect."""
    command = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "run",
        *tiny_arguments(folder, HINT, TWO_POINTS, UNTRIED, *overrides),
        "--no-prefect",
    ]
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder / "tmp")}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The outputs of an undisturbed run."""
    folder = tmp_path_factory.mktemp("reference")
    write_documents(folder)
    run = pgolf(folder)
    _, errors = run.communicate(timeout=START_S)
    assert run.returncode == 0, errors
    return outputs(folder)


def test_kill_9_in_every_stage_then_a_rerun_completes_with_the_same_bytes_and_nothing_is_left(tmp_path, reference):
    write_documents(tmp_path)
    killed, survivors = [], set()
    for stage in ("data", "count", "hint", "train", "calibrate", "compress", "score", "mix"):
        run = pgolf(tmp_path)
        assert run.stderr is not None
        for line in run.stderr:
            if re.match(rf"▸ {stage}\b", line):
                if stage == "train":
                    eventually(partial(ranks_below, run.pid), "a rank has started", every_s=0.02)
                survivors |= descendants(run.pid)
                os.kill(run.pid, signal.SIGKILL)
                killed.append(stage)
                break
        run.stderr.close()
        assert run.wait(timeout=START_S) == -signal.SIGKILL, f"the run ended before {stage} began"
    eventually(lambda: not any(map(is_running, survivors)), f"gone: {survivors}", within_s=30)
    assert killed == ["data", "count", "hint", "train", "calibrate", "compress", "score", "mix"]
    final = pgolf(tmp_path)
    _, errors = final.communicate(timeout=START_S)
    assert final.returncode == 0, errors
    assert outputs(tmp_path) == reference
    assert list((tmp_path / "store").glob(".tmp-*")) == []
    assert left_in_tmp(tmp_path / "tmp") == set()


def left_in_tmp(folder: Path) -> set[str]:
    """What is in a temporary folder besides torch's own cache of compiled kernels."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")}


def test_a_training_by_the_clock_that_was_killed_goes_on_with_its_clock_and_is_marked_and_never_ranked(tmp_path):
    write_documents(tmp_path)
    overrides = ["train.clock_limit_s=5", "train.steps=100000", "train.warmdown_steps=20"]
    command = [sys.executable, "-m", build_program.__name__, str(tmp_path), *overrides]
    _recipe, nodes = build_program.graph(tmp_path, overrides)
    store, memo = Store(tmp_path / "store"), Memo(tmp_path / "memo")

    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline, kept = time.monotonic() + START_S, None
    while kept is None or kept.elapsed_s < 1.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        kept = next(map(read_record, (tmp_path / "store" / PARTIAL).glob("train-*")), None)
    below = descendants(run.pid)
    run.kill()
    run.wait()
    while any(is_running(pid) for pid in below):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = next(map(read_record, (tmp_path / "store" / PARTIAL).glob("train-*")))

    (step,) = (step for step in make_plan(nodes, store, memo) if step.node.stage.name == "train")
    assert step.reasons == ("never run before", f"a killed run got to step {kept.steps:,}")
    assert [item.why for item in garbage(store, []) if item.path.parent.name == PARTIAL] == [
        "unfinished work; the next run of it would go on from there"
    ]

    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S)
    assert f"train[1]         resumed at step {kept.steps:,} of 100,000\n" in again.stderr
    assert "interrupted: the training of seed 1, which stops by the clock, was killed and went on" in again.stdout
    (trained,) = (record for record in store.records() if record.stage == "train")
    assert trained.facts["interrupted"] is True
    assert trained.facts["resumed_at_step"] == kept.steps
    assert 5.0 <= trained.facts["train_clock_s"] < 5.0 + trained.wall_s
    assert trained.facts["steps"] > kept.steps
    ledger = json.loads((tmp_path / "store" / trained.folder / "train.json").read_text())
    assert (ledger["interrupted"], ledger["resumed_at"]) == (True, [kept.steps])
    clock_s = [elapsed_s for _loss_nats, elapsed_s in ledger["losses"]]
    assert clock_s == sorted(clock_s)
    assert not any((tmp_path / "store" / PARTIAL).iterdir())
    scores = read(tmp_path / "results", SCORES)
    assert set(scores.column("interrupted").to_pylist()) == {True}
    assert ranking(scores).rows == ()
    assert "interrupted" in ranking(scores).notes[0]


def test_two_runs_at_once_build_every_output_once_and_the_other_waits_and_reuses(tmp_path, reference):
    write_documents(tmp_path)
    runs = [pgolf(tmp_path), pgolf(tmp_path)]
    said: list[str] = ["", ""]

    def listen(i: int) -> None:
        said[i] = runs[i].communicate(timeout=2 * START_S)[1]

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.returncode for run in runs] == [0, 0], said
    built = re.findall(r"^▸ (\S+)", "\n".join(said), re.MULTILINE)
    assert sorted(built) == sorted(reference)
    assert "another process is building it; waiting" in "\n".join(said)
    assert outputs(tmp_path) == reference


@pytest.mark.parametrize("size", ["96k", "2240k"])  # full in the first stage; in a rank of the training
def test_a_full_disk_stops_with_advice_and_publishes_nothing_half_written(tmp_path, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    try:
        write_documents(tmp_path)
        arguments = tiny_arguments(tmp_path)
        arguments[arguments.index("--store") + 1] = str(disk / "store")
        run = subprocess.run(
            [sys.executable, "-m", "flows.commands.cli", "run", *arguments, "--no-prefect"],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
        )
        assert run.returncode == 2, run.stderr
        assert re.search(r"StoreFull: .*no space left (in|for) .*bytes free", run.stderr)
        assert str(disk) in run.stderr
        assert "Traceback" not in run.stderr
        store = Store(disk / "store")
        assert all(not hasattr(store.inspect(path), "why") for path in store.artifacts())
        assert list((disk / "store").glob(".tmp-*")) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_store_made_read_only_stops_with_advice_and_once_writable_a_rerun_completes(tmp_path, reference):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        write_documents(disk)
        run = pgolf(disk)
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("✓ count[exact]"):
                break
        run.kill()
        run.communicate()
        made = outputs(disk)
        assert "data" in made
        assert made != reference
        read_only = ["mount", "-o", "remount,ro", str(disk)]
        eventually(
            lambda: subprocess.run(read_only, capture_output=True, check=False).returncode == 0,
            "no process that may write there is left",
            within_s=30,
        )
        refused = pgolf(disk)
        _, errors = refused.communicate(timeout=START_S)
        assert refused.returncode == 2, errors
        assert "ConfigError: 2 things stand against this run" in errors
        assert "/store: cannot be written to; make it writable" in errors
        assert "Traceback" not in errors
        assert outputs(disk) == made
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        final = pgolf(disk)
        _, errors = final.communicate(timeout=START_S)
        assert final.returncode == 0, errors
        assert outputs(disk) == reference
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_budget_that_cannot_be_met_is_an_error_with_numbers_and_no_file(tmp_path, reference):
    write_documents(tmp_path)
    run = pgolf(tmp_path, "compress.budget_bytes=26000")
    _, errors = run.communicate(timeout=START_S)
    assert run.returncode == 1
    assert re.search(r"BudgetExceeded: [\d,]+ bytes, [\d,]+ over the budget of 26,000", errors), errors
    assert "largest:" in errors
    assert list((tmp_path / "store").glob("compress-*")) == []
    shutil.rmtree(tmp_path / "store")


@pytest.mark.parametrize(
    ("told", "how"),
    [
        *((signal.SIGTERM, ["--no-prefect"]), (signal.SIGTERM, []), (signal.SIGKILL, []), (signal.SIGINT, [])),
        (signal.SIGINT, ["--no-prefect"]),
    ],
    ids=["asked, plain", "asked", "killed", "Ctrl-C", "Ctrl-C, plain"],
)
def test_a_run_that_is_ended_leaves_no_process_and_keeps_what_is_trained_and_the_next_settles_its_states(
    tmp_path, prefect_database, told, how
):
    """By the clock where it is asked, long before its first regular checkpoint; by steps where it is killed.

    Ctrl-C goes to the whole process group, as from a terminal.
    """
    write_documents(tmp_path)
    home = prefect_home(tmp_path, prefect_database)
    clock = ["train.clock_limit_s=600"] if told != signal.SIGKILL else []
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flows.commands.cli",
            "run",
            *tiny_arguments(tmp_path, "train.steps=100000", *clock),
            *how,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PREFECT_HOME": home},
        start_new_session=True,
    )
    assert run.stderr is not None
    eventually(
        lambda: any(status.stage == "train" and status.reported_s for status in statuses(tmp_path / "store")),
        "a rank has reported a step",
    )
    below = descendants(run.pid)
    if told == signal.SIGINT:
        os.killpg(run.pid, told)
    else:
        run.send_signal(told)
    assert run.wait(timeout=60) in (-told, 128 + told)
    eventually(lambda: not any(map(is_running, below)), f"gone: {below}", within_s=30)
    said = run.stderr.read()
    run.stderr.close()
    if told == signal.SIGINT:
        lines = said[said.index("interrupted;") :].splitlines()
        assert lines[0] == "interrupted; ranks write what they have, 10 s at most (Ctrl-C again: end at once)"
        kept = r"a checkpoint at step [\d,]+(, a checkpoint at step [\d,]+)?"  # of each training that had begun
        last = rf"interrupted; {kept} after \d+\.\d s; finished stages are kept and will be reused"
        assert re.fullmatch(last, lines[1])
        assert len(lines) == 2
        assert not list((tmp_path / "store" / RUNNING).iterdir())
    if told == signal.SIGINT and not how:
        with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
            assert database.execute("select name, state_type from flow_run").fetchall() == [
                ("demo with 33 settings changed · seeds 1, 2", "CANCELLED")
            ]
    if told != signal.SIGKILL:  # Prefect has recorded the crash
        kept = [read_record(path) for path in (tmp_path / "store" / PARTIAL).glob("train-*")]
        assert any(record is not None and record.steps > 0 for record in kept)
        return
    rerun = subprocess.run(
        [sys.executable, "-m", "flows.commands.cli", "run", *tiny_arguments(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PREFECT_HOME": home},
        timeout=START_S,
    )
    assert rerun.returncode == 0, rerun.stderr
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        states = [state for [state] in database.execute("select state_type from flow_run order by created")]
        open_tasks = database.execute(
            "select task_run.name, task_run.state_type from task_run join flow_run on flow_run.id = flow_run_id "
            "where task_run.state_type in ('RUNNING', 'PENDING', 'SCHEDULED') and flow_run.state_type = 'CRASHED'"
        ).fetchall()
    assert states == ["CRASHED", "COMPLETED"]
    assert open_tasks == []
