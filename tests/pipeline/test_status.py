"""The small files that say what runs on a store: whole, few, and gone when the stage is done."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pgolf.machine.gpu_peak import peak_flops
from pgolf.machine.process import Process
from pgolf.mix.config import MixConfig
from pgolf.model.flops import training_flops_per_token
from pgolf.pipeline import status as status_module
from pgolf.pipeline.graph import Node
from pgolf.pipeline.status import RUNNING, Status, StatusFile, Training, forget_the_gone, statuses
from pgolf.recipes.recipe import MIX, TRAIN
from pgolf.run_options import Progress, RunOptions
from pgolf.train.config import TrainConfig, TrainStageConfig

NODE = Node(name="mix[7]", stage=MIX, config=MixConfig())
KEY = "mix-0123456789ab"
H100 = "NVIDIA H100 80GB HBM3"


def reported(done: int, **facts: object) -> Progress:
    return Progress(stage="mix", done=done, total=100, unit="targets", facts=facts)


@pytest.fixture
def clock(monkeypatch):
    """Time that moves when told to; assign to clock[0]."""
    now = [1000.0]
    monkeypatch.setattr(status_module.time, "time", lambda: now[0])
    monkeypatch.setattr(status_module.time, "monotonic", lambda: now[0])
    return now


def test_a_stage_is_there_while_it_runs_and_its_file_is_gone_afterwards(tmp_path, clock):
    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        assert statuses(tmp_path) == []
        file.building(NODE)
        file.line(NODE, "waiting for 1 of gpu-0\n")
        clock[0] += 2
        file.line(NODE, "waiting for 1 of gpu-0, for 60 s")
        (status,) = statuses(tmp_path)
        assert (status.node, status.process.pid, status.state, status.is_gone) == (
            "mix[7]",
            os.getpid(),
            "building",
            False,
        )
        assert status.note == "waiting for 1 of gpu-0, for 60 s"
        assert status.share is status.left_s is None
        clock[0] += 2
        file.progress(NODE, reported(10))
        clock[0] += 5
        file.progress(NODE, reported(20, loss_nats=3.5))
        (status,) = statuses(tmp_path)
        assert (status.note, status.share, status.facts) == ("", 0.2, {"loss_nats": 3.5})
        assert (status.units_per_s, status.left_s) == (2.0, 40.0)
    assert list((tmp_path / RUNNING).iterdir()) == []


def test_reports_are_written_about_once_a_second_and_the_latest_wins(tmp_path, clock, monkeypatch):
    written = []
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: written.append(content) or write(self, content))
    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        file.building(NODE)
        for done in range(100):
            clock[0] += 0.05
            file.progress(NODE, reported(done))
        assert 4 <= len(written) - 1 <= 5
        assert json.loads(written[-1])["done"] > 75


def test_a_reader_never_sees_a_half_written_file(tmp_path, monkeypatch):
    monkeypatch.setattr(status_module, "WRITE_EVERY_S", 0.0)
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            for path in (tmp_path / RUNNING).glob("*.json"):
                seen.append(Status.model_validate_json(path.read_bytes()).done)

    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        file.building(NODE)
        reader = threading.Thread(target=read)
        reader.start()
        for done in range(500):
            file.progress(NODE, reported(done, text="x" * 2000))
        stop.set()
        reader.join()
    assert seen == sorted(seen)


def test_a_store_that_cannot_be_written_to_costs_the_message_only(tmp_path):
    (tmp_path / RUNNING).write_text("in the way")
    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        file.building(NODE)
        file.progress(NODE, reported(1))
    assert statuses(tmp_path) == []


KILLED = f"""
import os, signal, sys
from pathlib import Path
from pgolf.mix.config import MixConfig
from pgolf.pipeline.graph import Node
from pgolf.machine.process import Process
from pgolf.run_options import RunOptions
from pgolf.recipes.recipe import MIX
from pgolf.pipeline.status import StatusFile
for node in ("mix[7]", "mix[8]"):
    key = "{KEY}" if node == "mix[7]" else "mix-ba9876543210"
    StatusFile(Path(sys.argv[1]), key, RunOptions()).building(Node(name=node, stage=MIX, config=MixConfig()))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_is_known_as_such_and_the_next_holder_of_the_lock_removes_its_file(tmp_path):
    subprocess.run([sys.executable, "-m", "tests.program", KILLED, str(tmp_path)], check=False, timeout=60)
    assert [(status.node, status.is_gone) for status in statuses(tmp_path)] == [("mix[7]", True), ("mix[8]", True)]
    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        file.building(NODE)
        assert [(status.node, status.is_gone) for status in statuses(tmp_path)] == [("mix[8]", True), ("mix[7]", False)]
        assert forget_the_gone(tmp_path) == 1
        assert [status.node for status in statuses(tmp_path)] == ["mix[7]"]


def test_a_later_process_of_the_same_number_is_another(tmp_path):
    with StatusFile(tmp_path, KEY, RunOptions()) as file:
        file.building(NODE)
        (status,) = statuses(tmp_path)
        assert not status.is_gone
        assert status.model_copy(update={"process": replace(status.process, at="1")}).is_gone
        elsewhere = {"process": replace(status.process, host="other", at="1")}
        assert not status.model_copy(update=elsewhere).is_gone, "of other machines nobody here can tell"


def test_those_who_wait_keep_files_of_their_own(tmp_path):
    with StatusFile(tmp_path, KEY, RunOptions()) as builder, StatusFile(tmp_path, KEY, RunOptions()) as other:
        builder.building(NODE)
        other.waiting(NODE, "another process is building it; waiting")
        assert [status.state for status in statuses(tmp_path)] == ["building", "waiting"]
        builder.building(NODE)
        assert sorted(status.state for status in statuses(tmp_path)) == ["building", "waiting"]


def training(**about: object) -> Status:
    return Status(
        folder="train-0123456789ab",
        node="train[1]",
        stage="train",
        state="building",
        process=Process("node-1", "b", "1", 1, "1"),
        began_s=0,
        written_s=0,
        **about,
    )


def test_a_clocked_training_ends_by_its_clock_or_by_its_steps():
    by_clock = Training(steps=20_000, clock_limit_s=600.0, flops_per_token=1, gpu=None, ranks=8)
    told = {"unit": "second", "total": 600, "first_s": 100.0, "first_done": 0, "first_step": 1}
    told |= {"reported_s": 200.0, "done": 100, "facts": {"step": 1001}}
    assert training(training=by_clock, **told).left_s == 500
    assert training(training=by_clock.model_copy(update={"steps": 2001}), **told).left_s == 100


def test_the_share_of_the_peak_is_that_of_the_published_run():
    """#792: 786,432 tokens in 114.45 ms on 8 H100, of whose 989 TFLOP/s about a fifth goes into the network."""
    from pgolf.recipes.catalog import recipe_named

    flops = training_flops_per_token(recipe_named("pr792").model, 2048)
    known = Training(steps=20_000, clock_limit_s=600, flops_per_token=flops, gpu=H100, ranks=8)
    told = {"facts": {"tokens_per_s": round(786_432 / 0.11445)}, "training": known}
    assert training(**told).flops_share == pytest.approx(0.2, abs=0.01)
    unknown = known.model_copy(update={"gpu": "NVIDIA GeForce RTX 9090"})
    assert training(facts=told["facts"], training=unknown).flops_share is None
    assert training(training=known).flops_share is None


@pytest.mark.parametrize(
    ("gpu", "tera"),
    [
        (H100, 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA A10", None),
        ("NVIDIA H100 96GB", None),
        (None, None),
    ],
)
def test_peaks_are_of_the_very_product(gpu, tera):
    assert peak_flops(gpu) == (None if tera is None else tera * 1e12)


def test_a_training_says_what_is_known_beforehand(tmp_path, monkeypatch):
    monkeypatch.setattr("pgolf.pipeline.placement.gpu_name", lambda: H100)
    config = TrainStageConfig(train=TrainConfig(steps=7, clock_reserve_s=20))
    node = Node(name="train[1]", stage=TRAIN, config=config, seed=1)
    with StatusFile(tmp_path, "train-0123456789ab", RunOptions(device="cuda", processes=8)) as file:
        file.building(node)
        (status,) = statuses(tmp_path)
    flops = training_flops_per_token(config.model, config.train.sequence_length)
    assert status.training == Training(steps=7, clock_limit_s=580.0, flops_per_token=flops, gpu=H100, ranks=8)
