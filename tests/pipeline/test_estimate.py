"""Expected seconds: of the same hardware or none, of the same config first, else of the nearest with a word."""

import pytest

from pgolf.identity.fingerprint import canonical
from pgolf.mix.config import MixConfig
from pgolf.pipeline.estimate import Estimate, estimate
from pgolf.pipeline.graph import Node
from pgolf.recipes.recipe import FETCH, MIX, TRAIN
from pgolf.run import RunOptions
from pgolf.store.output_record import Record
from pgolf.train.config import TrainConfig, TrainStageConfig

H100 = "NVIDIA H100 80GB HBM3"
CPU = RunOptions(device="cpu")
GPU = RunOptions(device="cuda")
STEPS = TrainStageConfig(train=TrainConfig(steps=100, clock_limit_s=None))
CLOCK = TrainStageConfig(train=TrainConfig(steps=100_000, clock_limit_s=600))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A node with eight H100 and a processor of 64 cores."""
    monkeypatch.setattr("pgolf.machine.hardware.gpu_names", lambda: (H100,) * 8)
    monkeypatch.setattr("pgolf.pipeline.placement.cpu_name", lambda: "EPYC")
    monkeypatch.setattr("pgolf.pipeline.placement.core_count", lambda: 64)


def record(stage, config, wall_s, *, inputs=None, **about):
    fields = {"gpu": None, "cpu": "EPYC", "cores": 64, "ranks": 1, "phases_s": {}, "facts": {}, "node": "a[1]"} | about
    key = {"stage": stage.name, "config": canonical(config), "inputs": inputs or {}}
    return Record(
        key_digest="0" * 64,
        key=key,
        outputs={},
        files={},
        wall_s=wall_s,
        **{"started_utc": "2026-01-01T00:00:00+00:00", "host": "node-1", "git_commit": None, "parents": {}} | fields,
    )


def train_node(config, seed=1):
    return Node(name=f"train[{seed}]", stage=TRAIN, config=config, seed=seed)


MIX_NODE = Node(name="mix[1]", stage=MIX, config=MixConfig())


def test_only_the_same_gpu_and_as_many_ranks_count():
    there = {"cpu": "Xeon", "cores": 8}  # of a node with GPUs, the processor is not asked for
    known = [
        record(TRAIN, STEPS, 50, gpu=H100, ranks=8, **there),
        record(TRAIN, STEPS, 400, gpu=H100, ranks=1, **there),
        record(TRAIN, STEPS, 90, gpu="NVIDIA A100-SXM4-80GB", ranks=8, **there),
        record(TRAIN, STEPS, 9_000),
    ]
    assert estimate(train_node(STEPS), GPU, known, {}) == Estimate(50)
    assert estimate(train_node(STEPS), RunOptions(device="cuda", processes=1), known, {}) == Estimate(400)
    assert estimate(train_node(STEPS), CPU, known, {}) == Estimate(9_000)


def test_without_the_same_hardware_it_says_where_it_last_ran():
    known = [record(TRAIN, STEPS, 612.4, gpu=H100, ranks=8)]
    assert estimate(train_node(STEPS), CPU, known, {}) == Estimate(None, f"last ran on 8 x {H100}: 612 s")
    assert estimate(train_node(STEPS), CPU, [], {}) == Estimate(None, "never ran")


@pytest.mark.parametrize("about", [{"cores": 32}, {"cpu": "Xeon"}])
def test_of_a_processor_name_and_cores_count(about):
    found = estimate(MIX_NODE, CPU, [record(MIX, MixConfig(), 7, **about)], {})
    assert found.seconds is None
    assert "last ran on" in found.note


def test_a_record_older_than_these_fields_is_readable_and_not_compared():
    old = record(MIX, MixConfig(), 7, cpu=None, cores=None, ranks=None)
    assert estimate(MIX_NODE, CPU, [old], {}) == Estimate(
        None, "last ran on node-1, whose hardware was not recorded: 7 s"
    )


def test_the_checksum_of_an_older_record_holds():
    old = record(MIX, MixConfig(), 7, cpu=None, cores=None, ranks=None)
    assert "cpu" not in old.model_dump(exclude_none=True)
    fields = old.model_dump(mode="json", exclude={"checksum", "cpu", "cores", "ranks"})
    from pgolf.identity.fingerprint import digest

    assert old.content_digest() == digest(fields)
    assert record(MIX, MixConfig(), 7).content_digest() != old.content_digest()


def test_a_training_that_went_on_after_a_kill_is_no_measure():
    resumed = record(TRAIN, STEPS, 3, gpu=H100, ranks=8, facts={"resumed_at_step": 90})
    assert estimate(train_node(STEPS), GPU, [resumed], {}).seconds is None
    assert estimate(train_node(STEPS), GPU, [resumed, record(TRAIN, STEPS, 50, gpu=H100, ranks=8)], {}) == Estimate(50)


def test_a_mix_that_went_on_after_a_kill_is_no_measure():
    resumed = record(MIX, MixConfig(), 3, facts={"resumed_at_record": 40})
    assert estimate(MIX_NODE, CPU, [resumed], {}).seconds is None
    assert estimate(MIX_NODE, CPU, [resumed, record(MIX, MixConfig(), 9)], {}) == Estimate(9)


def test_downloads_take_as_long_on_any_machine():
    from pgolf.corpus.fetch_config import FetchConfig

    node = Node(name="data", stage=FETCH, config=FetchConfig())
    assert estimate(node, CPU, [record(FETCH, FetchConfig(), 70, cpu="Xeon")], {}) == Estimate(70)


def test_the_same_config_comes_before_a_later_one_and_the_nearest_is_named():
    other, further = MixConfig(alphas=(0.1,)), MixConfig(alphas=(0.1,), mixers=("fixed",))
    known = [
        record(MIX, MixConfig(), 7),
        record(MIX, other, 9, started_utc="2026-02-01T00:00:00+00:00"),
        record(MIX, further, 11, started_utc="2026-03-01T00:00:00+00:00"),
    ]
    assert estimate(MIX_NODE, CPU, known, {}) == Estimate(7)
    nearest = estimate(MIX_NODE, CPU, known[1:], {})
    assert nearest.seconds == 9
    assert nearest.note.startswith("nearest config: alphas [0.1] → ")


def test_other_data_is_named_and_the_same_data_preferred():
    wanted = {"data.val": "a", "trace.trace": "x"}
    known = [
        record(MIX, MixConfig(), 7, inputs={"data.val": "a", "trace.trace": "y"}),
        record(MIX, MixConfig(), 9, inputs={"data.val": "b"}, started_utc="2026-02-01T00:00:00+00:00"),
    ]
    assert estimate(MIX_NODE, CPU, known, wanted) == Estimate(7)
    assert estimate(MIX_NODE, CPU, known[1:], wanted) == Estimate(9, "of other input data.val")


def test_a_training_by_the_clock_takes_its_limit_and_a_start_up():
    known = [record(TRAIN, STEPS, 130, gpu=H100, ranks=8, phases_s={"train": 100.0})]
    found = estimate(train_node(CLOCK), GPU, known, {})
    assert found.seconds == 630
    assert found.note.startswith("its clock limit and 30.0 s of start-up; nearest config: ")
    assert estimate(train_node(CLOCK), GPU, [], {}) == Estimate(600, "its clock limit; start-up not known here")
    assert estimate(train_node(CLOCK), GPU, [record(TRAIN, CLOCK, 641, gpu=H100, ranks=8)], {}) == Estimate(641)
