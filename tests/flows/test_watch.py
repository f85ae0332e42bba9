"""What `pgolf watch` shows of a store, and how it ends."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.cli import main
from flows.commands.watch_command import Snapshot, Watcher, lines, screen, span
from pgolf.machine.process import Process
from pgolf.pipeline.status import Status, Training
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store, build_once
from tests.toy_stage import TOY, ToyConfig, toy_key

H100 = "NVIDIA H100 80GB HBM3"
NOW_S = 1_000_000.0


def status(node: str, *, pid: int = 4242, **about: object) -> Status:
    fields = {"folder": f"{node.split('[')[0]}-0123456789ab", "state": "building"}
    times = {"began_s": NOW_S - 400, "written_s": NOW_S, "process": Process("node-1", "b", "1", pid, "1")}
    return Status(node=node, stage=node.split("[")[0], **{**fields, **times, **about})


def training(**about: object) -> Status:
    """A training by the clock on eight GPUs, 366 s into its 600."""
    known = Training(steps=20_000, clock_limit_s=600.0, flops_per_token=230_000_000, gpu=H100, ranks=8)
    facts = {"step": 3200, "loss_nats": 2.10342, "tokens_per_s": 6_871_000, "elapsed_s": 366.2}
    told = {"unit": "second", "done": 366, "total": 600, "facts": {**facts, "gpu_memory_bytes": 24 * 2**30}}
    times = {"first_s": NOW_S - 366, "first_done": 0, "first_step": 1, "reported_s": NOW_S}
    return status("train[42]", **{"training": known, **told, **times, **about})


def snapshot(**about: object) -> Snapshot:
    return Snapshot(**{"now_s": NOW_S, "building": (), "waiting": (), "gone": (), "finished": (), **about})


def drawn(shown: Snapshot) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen(shown, Path("artifacts")))
    return console.export_text()


def test_a_training_shows_step_clock_loss_speed_mfu_memory_and_the_time_left():
    (line,) = lines(snapshot(building=(training(),)))
    for part in (
        *("train[42]", "step 3,200", "clock 366 of 600 s", "loss 2.1034 nats", "6,871,000 tokens/s"),
        *("MFU 20.0 %", "GPU memory 24.0 GiB at most", "3 min 54 s left"),
    ):
        assert part in line
    text = drawn(snapshot(building=(training(),)))
    assert re.search(r"▸ train\[42\] +━.*61 %  step 3,200   clock 366 of 600 s", text)
    assert "node-1, pid 4242, for 6 min 40 s" in text


def test_a_gpu_of_unknown_peak_is_named_and_a_cpu_is_not_asked_for_one():
    known = training().training
    assert known is not None
    (line,) = lines(snapshot(building=(training(training=known.model_copy(update={"gpu": "RTX 9090"})),)))
    assert "MFU unknown: no peak for RTX 9090" in line
    (line,) = lines(snapshot(building=(training(training=known.model_copy(update={"gpu": None})),)))
    assert "MFU" not in line


def test_who_is_waited_for_who_has_fallen_silent_and_who_is_gone():
    builder = status("mix[7]", note="waiting for 1 of gpu-0", written_s=NOW_S - 90)
    waiting = status("mix[7]", state="waiting", pid=5)
    gone = status("count[exact]", pid=6, reported_s=NOW_S, unit="targets", done=10, total=40, written_s=NOW_S - 30)
    said = lines(snapshot(building=(builder,), waiting=(waiting,), gone=(gone,)))
    assert "waiting for 1 of gpu-0  silent for 1 min 30 s" in said[0]
    assert "waits: another process builds it (node-1, pid 4242)" in said[1]
    assert "ended without a word at targets 10 of 40: process 6 on node-1 is gone, last heard of 30 s ago" in said[2]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_a_time_reads_as_a_person_says_it(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize("width", [60, 80, 110])
def test_a_narrow_screen_shortens_facts_and_never_names_or_times(tmp_path, width):
    build_once(Store(tmp_path), TOY, toy_key(), node="calibrate[1337]", inputs={}, parents={}, run=RunOptions())
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(screen(Watcher(tmp_path).look(), tmp_path))
    (line,) = [line for line in console.export_text().splitlines() if "calibrate[1337]" in line]
    assert len(line.rstrip()) <= width
    assert line.rstrip().endswith("s ago")


def test_once_shows_what_finished_last_in_text_and_json(tmp_path, capsys, monkeypatch):
    assert main(["watch", "--once", "--store", str(tmp_path / "none")]) == 2
    assert f"there is no store at {tmp_path / 'none'}" in capsys.readouterr().err
    assert main(["watch", "--once", "--store", str(tmp_path)]) == 0
    assert "nothing is running\n" in capsys.readouterr().out
    build_once(Store(tmp_path), TOY, toy_key(), node="toy", inputs={}, parents={}, run=RunOptions())
    assert main(["watch", "--once", "--store", str(tmp_path)]) == 0
    assert re.search(r"nothing is running; last: toy, \d s ago", capsys.readouterr().out)
    assert main(["watch", "--once", "--json", "--store", str(tmp_path)]) == 0
    (finished,) = json.loads(capsys.readouterr().out)["finished"]
    assert (finished["node"], finished["folder"]) == ("toy", toy_key(ToyConfig()).folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["watch", "--once", "--store", "s3://bucket/x"]) == 0, "what this machine runs, by its cache"
    assert main(["watch", "--every", "0"]) == 2
    assert "give seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_ends_it_quietly(tmp_path, terminal):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.commands.cli", "watch", "--store", str(tmp_path)],
        stdout=theirs if terminal else subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    try:
        out = ours if terminal else process.stdout.fileno()
        shown, deadline = b"", time.monotonic() + 60
        while b"nothing is running" not in shown and time.monotonic() < deadline:
            shown += os.read(out, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(ours)
    assert b"nothing is running" in shown
