"""Expected seconds: of the same work on the same hardware, in proportion where that was shown, or none."""

import pytest

from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.counts.config import CountConfig
from pgolf.eval.config import ScoreConfig
from pgolf.identity.fingerprint import canonical, digest
from pgolf.mix.config import MixConfig
from pgolf.model.config import ModelConfig
from pgolf.model.parameter_count import parameter_count
from pgolf.pack.config import CompressConfig
from pgolf.pipeline.estimate import Estimate, estimate
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.work import work_of_node, work_of_record
from pgolf.recipes.recipe import COMPRESS, COUNT, FETCH, MIX, SCORE, TOKENIZE, TRAIN
from pgolf.run_options import RunOptions
from pgolf.store.output_record import Parent, Record
from pgolf.train.config import TrainConfig, TrainStageConfig
from tests.tiny import tiny_recipe

H100 = "NVIDIA H100 80GB HBM3"
CPU = RunOptions(device="cpu")
GPU = RunOptions(device="cuda")
ON_GPU = {"gpu": H100, "ranks": 8}
BOTH = ("seeds=1", "estimators=hashed,exact")


@pytest.fixture(autouse=True)
def node(monkeypatch, machine):
    """A node with eight H100 and a processor of 64 cores."""
    machine(8)
    monkeypatch.setattr("pgolf.pipeline.placement.cpu_name", lambda: "EPYC")
    monkeypatch.setattr("pgolf.pipeline.placement.core_count", lambda: 64)


class Past:
    """Records of past runs, each with the records that it was made from."""

    def __init__(self):
        self.records = {}

    def add(self, stage, config, wall_s, *, reads=None, inputs=None, **about):
        """reads: role -> record."""
        fields = {"gpu": None, "cpu": "EPYC", "cores": 64, "ranks": 1, "phases_s": {}, "facts": {}, "node": "a[1]"}
        key = {"stage": stage.name, "config": canonical(config), "inputs": inputs or {}, "number": len(self.records)}
        record = Record(
            key_digest=digest(key),
            key=key,
            outputs={},
            files={},
            wall_s=wall_s,
            parents={role: Parent(folder=made.folder, outputs={}) for role, made in (reads or {}).items()},
            **{
                "started_utc": f"2026-01-01T00:00:{len(self.records):02}+00:00",
                "host": "node-1",
                "git_commit": None,
            }
            | fields
            | about,
        )
        self.records[record.folder] = record
        return record

    def train(self, config, wall_s, **about):
        """A training that went all its steps, of which all but 2 s are the steps' own."""
        own = {"phases_s": {"train": wall_s - 2.0}, "facts": {"steps": config.train.steps}}
        return self.add(TRAIN, config, wall_s, **(own | about))

    def data(self, tokens_val):
        return self.add(TOKENIZE, TokenizeConfig(), 1.0, facts={"tokens_val": tokens_val})

    def run(self, recipe, tokens_val, seconds):
        """All stages of the recipe's first seed; seconds: stage -> wall seconds. The training is there already."""
        made = {"data": self.data(tokens_val)}
        for node in pipeline(recipe, run=CPU):
            reads = {role: made[link.node] for role, link in node.inputs.items()}
            if node.name != "data":
                made[node.name] = self.add(node.stage, node.config, seconds.get(node.stage.name, 1.0), reads=reads)

    def expect(self, node, run=CPU, nodes=(), targets=None, known_inputs=None):
        """What the node is expected to take."""
        known = known_inputs or {}
        work = work_of_node(node, {other.name: other for other in nodes}, targets, known)
        records = [record for record in self.records.values() if record.stage == node.stage.name]
        return estimate(node, run, work, records, lambda record: work_of_record(record, self.records.get), known)


@pytest.fixture
def past():
    return Past()


def recipe(*overrides):
    return tiny_recipe("tokenize.source=builtin", *BOTH, *overrides)


def expected(past, wanted, stage, targets):
    """What the recipe's stage is expected to take on data of so many targets."""
    nodes = pipeline(wanted, run=CPU)
    node = next(node for node in nodes if node.stage is stage)
    return past.expect(node, nodes=nodes, targets=targets)


def training(*, clock_limit_s=None, model=None, **train):
    return TrainStageConfig(model=model or ModelConfig(), train=TrainConfig(clock_limit_s=clock_limit_s, **train))


def train_node(config):
    node = next(node for node in pipeline(recipe(), run=CPU) if node.stage is TRAIN)
    return type(node)(name="train[1]", stage=TRAIN, config=config, seed=1, inputs=node.inputs)


# Hardware.


def test_only_the_same_gpu_and_as_many_ranks_count(past):
    steps = training(steps=100)
    past.train(steps, 50, **ON_GPU, cpu="Xeon", cores=8)  # of a node with GPUs, the processor is not asked for
    past.train(steps, 400, gpu=H100)
    past.train(steps, 90, gpu="NVIDIA A100-SXM4-80GB", ranks=8)
    past.train(steps, 9_000)
    assert past.expect(train_node(steps), GPU) == Estimate(50)
    assert past.expect(train_node(steps), RunOptions(device="cuda", processes=1)) == Estimate(400)
    assert past.expect(train_node(steps), CPU) == Estimate(9_000)


def test_without_the_same_hardware_it_says_where_it_last_ran(past):
    assert past.expect(train_node(training(steps=100))) == Estimate(None, "never ran")
    past.train(training(steps=100), 612.4, **ON_GPU)
    assert past.expect(train_node(training(steps=100))) == Estimate(None, f"last ran on 8 x {H100}: 612 s")


@pytest.mark.parametrize("about", [{"cores": 32}, {"cpu": "Xeon"}])
def test_of_a_processor_name_and_cores_count(past, about):
    past.train(training(steps=100), 7, **about)
    found = past.expect(train_node(training(steps=100)))
    assert found.seconds is None
    assert "last ran on" in found.note


def test_a_record_older_than_these_fields_is_readable_and_not_compared(past):
    past.train(training(steps=100), 7, cpu=None, cores=None, ranks=None)
    assert past.expect(train_node(training(steps=100))) == Estimate(
        None, "last ran on node-1, whose hardware was not recorded: 7 s"
    )


def test_the_checksum_of_an_older_record_holds(past):
    old = past.train(training(steps=100), 7, cpu=None, cores=None, ranks=None)
    assert "cpu" not in old.model_dump(exclude_none=True)
    assert old.content_digest() == digest(old.model_dump(mode="json", exclude={"checksum", "cpu", "cores", "ranks"}))
    assert past.train(training(steps=100), 7).content_digest() != old.content_digest()


def test_what_went_on_after_a_kill_is_no_measure(past):
    past.train(training(steps=100), 3, facts={"resumed_at_step": 90, "steps": 100})
    assert past.expect(train_node(training(steps=100))) == Estimate(
        None, "ran here, but went on after a kill: its seconds are those of a part"
    )
    past.train(training(steps=100), 50)
    assert past.expect(train_node(training(steps=100))) == Estimate(50)


def test_downloads_of_the_same_files_take_as_long_here(past):
    fetched = next(node for node in pipeline(recipe("tokenize=null", "fetch={}"), run=CPU) if node.stage is FETCH)
    past.add(FETCH, FetchConfig(), 70)
    assert past.expect(fetched) == Estimate(70)
    more = type(fetched)(name="data", stage=FETCH, config=FetchConfig(train_shards=3))
    assert past.expect(more).seconds is None


# Training: in proportion to its steps, of the same network and batch alone.


def test_more_steps_take_longer_in_proportion_beside_the_same_start_up(past):
    past.train(training(steps=16), 2 + 8)
    assert past.expect(train_node(training(steps=5_000))) == Estimate(2 + 2_500, "5,000 steps at the pace of 16")
    past.train(training(steps=160), 2 + 64)  # the longer run tells more
    assert past.expect(train_node(training(steps=5_000))) == Estimate(2 + 2_000, "5,000 steps at the pace of 160")
    assert past.expect(train_node(training(steps=16))) == Estimate(10)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens_per_step": 2 * 786_432},
        {"sequence_length": 1024},
        {"muon_newton_schulz_steps": 6},
        {"muon_layout": "banks"},
        {"average": "swa", "swa_every_steps": 1},
        {"compile": False},
        {"priming_steps": 5},
        {"model": ModelConfig(width=1024)},
        {"model": ModelConfig(layers=12)},
        {"model": ModelConfig(vocab_size=8192)},
    ],
)
def test_another_network_batch_or_step_is_not_compared_and_the_difference_is_named(past, change):
    past.train(training(steps=100), 50)
    found = past.expect(train_node(training(**{"steps": 100, **change})))
    assert found.seconds is None
    field = next(iter(change)) if "model" not in change else "model."
    assert found.note.startswith("earlier runs here were of other work: ")
    assert field in found.note


@pytest.mark.parametrize("change", [{"muon_lr": 0.01}, {"ema_decay": 0.9}, {"clip_norm": 1.0}, {"warmdown_steps": 5}])
def test_other_rates_take_as_long(past, change):
    past.train(training(steps=100), 50)
    assert past.expect(train_node(training(steps=100, **change))) == Estimate(50)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"late_qat_below_scale": 0.2}, "train.late_qat_below_scale none → 0.2"),
        ({"crownq_weight": 0.01}, "train.crownq_weight 0.0 → 0.01"),
    ],
)
@pytest.mark.parametrize("clock", [None, 60.0])
def test_only_what_differs_is_named_as_the_difference(past, change, says, clock):
    past.train(training(steps=100), 50)
    found = past.expect(train_node(training(steps=100, clock_limit_s=clock, **change)))
    assert found.note.partition("; ")[0] == f"earlier runs here were of other work: {says}"


@pytest.mark.parametrize("uneven", [{"late_qat_below_scale": 0.2}, {"crownq_weight": 0.01}])
def test_where_the_last_steps_cost_more_no_other_number_of_steps_tells(past, uneven):
    past.train(training(steps=100, **uneven), 50)
    assert past.expect(train_node(training(steps=100, **uneven))) == Estimate(50)
    assert past.expect(train_node(training(steps=200, **uneven))).seconds is None
    assert past.expect(train_node(training(steps=100, warmdown_steps=9, **uneven))).seconds is None
    assert past.expect(train_node(training(steps=100, clock_limit_s=60, **uneven))).seconds is None


def test_a_training_by_the_clock_takes_its_limit_and_a_start_up_where_its_steps_take_longer(past):
    past.train(training(steps=100), 2 + 50)
    assert past.expect(train_node(training(steps=100_000, clock_limit_s=600))) == Estimate(
        602, "its clock limit and 2.0 s of start-up; 100,000 steps take longer"
    )
    # As many steps as were shown, and fewer than the clock leaves time for.
    assert past.expect(train_node(training(steps=100, clock_limit_s=600))).seconds == 52
    assert past.expect(train_node(training(steps=100, clock_limit_s=30))).seconds == 32
    assert past.expect(train_node(training(steps=100, clock_limit_s=30, clock_reserve_s=10))).seconds == 22


def test_a_training_that_the_clock_ended_tells_the_pace_of_the_steps_it_did(past):
    clocked = training(steps=20_000, clock_limit_s=600)
    past.train(clocked, 2 + 600, facts={"steps": 6_000})
    assert past.expect(train_node(clocked)).seconds == 602
    assert past.expect(train_node(training(steps=20_000))).seconds == 2 + 2_000
    assert past.expect(train_node(training(steps=20_000, clock_limit_s=60))).seconds == 62


def test_without_a_run_like_it_the_clock_is_a_limit_and_no_estimate(past):
    found = past.expect(train_node(training(steps=10, clock_limit_s=600)))
    assert found == Estimate(None, "never ran; its clock stops it after 600 s of training")


# What follows: the network behind the weights and the data are part of the work, whatever the stage's own config says.


def test_the_same_network_on_as_much_data_takes_as_long(past):
    past.run(recipe(), 1_000, {"compress": 3, "score": 5, "count": 7, "mix": 9})
    for stage, seconds in ((COMPRESS, 3), (SCORE, 5), (COUNT, 7), (MIX, 9)):
        assert expected(past, recipe(), stage, 1_000) == Estimate(seconds)


@pytest.mark.parametrize("stage", [COMPRESS, SCORE])
@pytest.mark.parametrize("change", ["model.width=64", "model.layers=2", "model.mlp_width=512"])
def test_seconds_of_another_network_are_not_those_of_this_one(past, stage, change):
    past.run(recipe(), 1_000, {})
    assert expected(past, recipe(change), stage, 1_000).seconds is None


@pytest.mark.parametrize("stage", [COUNT, MIX])
def test_seconds_of_counts_do_not_depend_on_the_network(past, stage):
    past.run(recipe(), 1_000, {"count": 7, "mix": 7})
    assert expected(past, recipe("model.width=64"), stage, 1_000) == Estimate(7)


def test_a_mix_of_other_counts_is_other_work_though_its_own_config_is_the_same(past):
    past.run(recipe("mix.orders=null"), 1_000, {})
    found = expected(past, recipe("mix.orders=null", "count.orders=2,3,4,5"), MIX, 1_000)
    assert found.seconds is None
    assert "reads.counts." in found.note


@pytest.mark.parametrize("stage", [SCORE, COUNT, MIX])
def test_other_data_is_scaled_only_where_two_runs_show_that_seconds_grow_with_it(past, stage):
    past.run(recipe(), 1_000, {stage.name: 10})
    assert expected(past, recipe(), stage, 3_000).seconds is None
    past.run(recipe(), 2_000, {stage.name: 21})
    assert expected(past, recipe(), stage, 3_000).seconds == pytest.approx(31.5)
    past.run(recipe(), 1_500, {stage.name: 30})  # which shows the opposite
    assert expected(past, recipe(), stage, 3_000).seconds is None


def test_points_are_scaled_where_two_grids_show_it_and_the_mixers_have_the_same_shares(past):
    two, four, eight = ("mix.alphas=0.1,0.4", "mix.alphas=0.1:0.4:0.1", "mix.alphas=0.1:0.8:0.1")
    past.run(recipe(two), 1_000, {"mix": 2})
    assert expected(past, recipe(eight), MIX, 1_000).seconds is None
    past.run(recipe(four), 1_000, {"mix": 4})
    assert expected(past, recipe(eight), MIX, 1_000).seconds == pytest.approx(8)
    more = 'mix.mixers=["fixed", "backoff", "adaptive"]'
    assert expected(past, recipe(eight, more), MIX, 1_000).seconds is None
    past.run(recipe(two, more), 1_000, {"mix": 2})
    past.run(recipe(four, more), 1_000, {"mix": 3})
    # The adaptive mixer has one point however many alphas there are: another mixture of points.
    assert expected(past, recipe(eight, more), MIX, 1_000).seconds is None


def test_parameters_are_scaled_where_two_networks_show_it(past):
    def took(*overrides):
        return parameter_count(recipe(*overrides).model) / 1e4

    sizes = ["model.width=64"], ["model.width=128"], ["model.width=192"]
    past.run(recipe(*sizes[0]), 1_000, {"compress": took(*sizes[0])})
    assert expected(past, recipe(*sizes[2]), COMPRESS, 1_000).seconds is None
    past.run(recipe(*sizes[1]), 1_000, {"compress": took(*sizes[1])})
    assert expected(past, recipe(*sizes[2]), COMPRESS, 1_000).seconds == pytest.approx(took(*sizes[2]), abs=1e-3)
    assert expected(past, recipe(*sizes[2], "compress.matrix_bits=7"), COMPRESS, 1_000).seconds is None


@pytest.mark.parametrize(
    ("stage", "config", "change"),
    [
        (SCORE, ScoreConfig, "score.stride=16"),
        (COUNT, CountConfig, "count.ranks=4"),
        (COMPRESS, CompressConfig, "compress.zstd_levels=[19]"),
        (MIX, MixConfig, 'mix.mixers=["fixed"]'),
    ],
)
def test_any_other_field_makes_other_work(past, stage, config, change):
    past.run(recipe(), 1_000, {})
    both = [change, *(["count.stride=16"] if stage is SCORE else [])]
    assert expected(past, recipe(*both), stage, 1_000).seconds is None


def test_before_the_data_is_there_what_counts_its_targets_is_open(past):
    past.run(recipe(), 1_000, {})
    found = expected(past, recipe(), COUNT, None)
    assert found == Estimate(None, "how much there is to do shows when its inputs are there")


def test_a_run_whose_own_inputs_are_gone_tells_nothing(past):
    past.run(recipe(), 1_000, {})
    for folder in [folder for folder, record in past.records.items() if record.stage == "tokenize"]:
        del past.records[folder]
    assert expected(past, recipe(), COUNT, 1_000) == Estimate(
        None, "what earlier runs here had to do is not known any more"
    )


def test_of_equal_work_the_same_inputs_come_first_then_the_latest(past):
    config = TokenizeConfig()
    node = next(node for node in pipeline(recipe(), run=CPU) if node.stage is TOKENIZE)
    node = type(node)(name="data", stage=TOKENIZE, config=config, inputs={})
    past.add(TOKENIZE, config, 7)
    past.add(TOKENIZE, config, 9)
    past.add(TOKENIZE, config, 11, inputs={"documents": "others"})
    assert past.expect(node) == Estimate(9)
