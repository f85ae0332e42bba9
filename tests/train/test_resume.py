"""Real trainings under torchrun that are killed in many ways and run again: the same bytes, and no process left."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pgolf.train.checkpoint_record import read_record
from pgolf.train.loss_table import LOSSES_FILE
from pgolf.train.train_job import CHECKPOINT_FILE, LEDGER_FILE
from tests.eventually import eventually
from tests.processes import command_of, descendants, is_running
from tests.train import resume_program
from tests.train.resume_program import STEPS
from tests.train.runs import learnable_tokens, write_data

WAIT_S = 120.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("resume") / "data", [learnable_tokens(1500), learnable_tokens(2500, 1)])


def started(name, processes, folder, every_s=1e-9) -> subprocess.Popen[str]:
    """By default it keeps a checkpoint whenever the one before is on the disk."""
    return subprocess.Popen(
        [sys.executable, "-m", resume_program.__name__, name, str(processes), str(folder), str(every_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finished(run, folder) -> tuple[list[str], bytes, dict]:
    """What a run that nobody disturbs says, its checkpoint and its ledger."""
    said, _ = run.communicate(timeout=WAIT_S)
    assert run.returncode == 0, said
    out = folder / "out"
    return said.splitlines(), (out / CHECKPOINT_FILE).read_bytes(), json.loads((out / LEDGER_FILE).read_text())


def commands_below(pid: int) -> dict[int, str]:
    """pid -> command line of every process below `pid`."""
    return {below: command for below in descendants(pid) if (command := command_of(below))}


def torchrun_of(commands: dict[int, str]) -> int:
    return next(pid for pid, command in commands.items() if "pgolf.machine.launch" in command)


def ranks_of(commands: dict[int, str]) -> list[int]:
    return [
        pid for pid, command in commands.items() if "pgolf.train" in command and "pgolf.machine.launch" not in command
    ]


VICTIMS = {
    "a rank": (lambda run, below: ranks_of(below)[-1], signal.SIGKILL),
    "torchrun": (lambda run, below: torchrun_of(below), signal.SIGKILL),
    "the process above": (lambda run, below: run.pid, signal.SIGKILL),
    "the process above, asked to end": (lambda run, below: run.pid, signal.SIGTERM),
    "torchrun, asked to end": (lambda run, below: torchrun_of(below), signal.SIGTERM),
    "a rank, asked to end": (lambda run, below: ranks_of(below)[-1], signal.SIGTERM),
}
# These keep a last checkpoint, and here no other.
LAST_ONLY = ("torchrun, asked to end", "a rank, asked to end")


def killed(name, processes, folder, victim, *, at_step) -> int | None:
    """Kill the victim once step `at_step` is reported; returns the step the run had resumed at. Nothing may be left."""
    choose, told = VICTIMS[victim]
    run = started(name, processes, folder, 1e6 if victim in LAST_ONLY else 1e-9)
    assert run.stdout is not None
    resumed = None
    for line in run.stdout:
        if found := re.match(r"note: resumed at step (\d+) of", line):
            resumed = int(found[1])
        if (step := re.match(r"step (\d+)/", line)) and int(step[1]) >= at_step:
            break
    else:
        pytest.fail(f"the run ended with {run.wait()} before step {at_step}")
    below = commands_below(run.pid)
    os.kill(choose(run, below), told)
    if victim == "torchrun, asked to end":  # as Prefect does: the whole group, and what the flow does itself
        time.sleep(0.05)
        os.kill(choose(run, below), told)
    rest = run.stdout.read()
    if victim in LAST_ONLY:
        last = max([int(step[1]), *map(int, re.findall(r"^step (\d+)/", rest, re.MULTILINE))])
        assert f"training was told to stop and did so after step {last}; run again" in rest
        assert read_record(folder / "scratch").steps == last
    run.stdout.close()
    assert run.wait(timeout=WAIT_S) != 0
    eventually(lambda: not any(map(is_running, below)), f"gone: {below}", within_s=30)
    return resumed


@pytest.mark.parametrize(
    ("name", "processes", "victims"),
    [
        pytest.param("matrices", 1, ["the process above"], marks=pytest.mark.exec),
        ("matrices", 2, ["a rank", "torchrun, asked to end"]),
        ("banks, shuffled rows", 2, ["torchrun", "the process above, asked to end", "a rank, asked to end"]),
    ],
)
def test_killed_at_some_step_in_every_way_it_ends_with_the_bytes_of_a_run_that_was_not(
    data, tmp_path, name, processes, victims
):
    for folder in ("whole", "killed"):
        (tmp_path / folder / "scratch").mkdir(parents=True)
        (tmp_path / folder / "data").symlink_to(data)
    undisturbed = started(name, processes, tmp_path / "whole")  # beside the others: most of their time is imports
    reached, resumed_at = 0, []
    for number, victim in enumerate(victims, 1):
        at_step = number * STEPS // (len(victims) + 1)
        resumed = killed(name, processes, tmp_path / "killed", victim, at_step=at_step)
        assert (resumed or 0) == reached
        reached = read_record(tmp_path / "killed/scratch").steps
        assert 0 < reached < STEPS
        resumed_at.append(reached)
    shutil.rmtree(tmp_path / "killed/out")
    said, whole, ledger = finished(undisturbed, tmp_path / "whole")
    assert not [line for line in said if "resumed" in line]
    assert (ledger["resumed_at"], ledger["interrupted"]) == ([], False)
    said, again, resumed_ledger = finished(started(name, processes, tmp_path / "killed"), tmp_path / "killed")
    assert f"note: resumed at step {reached} of {STEPS}" in said
    assert again == whole
    assert resumed_ledger["resumed_at"] == resumed_at
    assert resumed_ledger["interrupted"] is False  # by steps it is the same training
    tables = [pq.read_table(tmp_path / each / "out" / LOSSES_FILE).to_pydict() for each in ("whole", "killed")]
    assert [table["step"] for table in tables] == [list(range(1, STEPS + 1))] * 2
    assert tables[0]["loss_nats"] == tables[1]["loss_nats"]
    assert tables[1]["clock_s"] == sorted(tables[1]["clock_s"])
