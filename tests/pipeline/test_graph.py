"""Every stage on a tiny recipe for real, and what each change of the recipe makes run again."""

import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

import pgolf.pipeline.graph as pipeline_module
import pgolf.pipeline.outcome as outcome_module
from pgolf.errors import ConfigError, StoreError
from pgolf.identity.closure import StageCode
from pgolf.machine.hardware import core_count, cpu_name
from pgolf.pipeline.build import build_all, build_node
from pgolf.pipeline.declared import declare, headline_text
from pgolf.pipeline.estimate import Estimate
from pgolf.pipeline.graph import Link, Node, Sources, data_node, pipeline
from pgolf.pipeline.listen import Silence
from pgolf.pipeline.outcome import outcome_of, text_columns
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.status import statuses
from pgolf.pipeline.upkeep import adopt, garbage
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo
from pgolf.tables.gates import AUDITED, GATES, RULESET
from pgolf.tables.parquet import append, read
from pgolf.tables.ranked import found_by_looking, ranking
from pgolf.tables.schema import ATTEMPTS, DECLARATIONS, SCORES, STAGES
from pgolf.tables.texts import TEXT_COLUMNS
from pgolf.train.config import TrainConfig
from tests.tiny import SEEDS, tiny_recipe, write_documents


class Builds(Silence):
    """Remembers what was built."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def done(self, node, artifact, *, built):
        if built:
            self.names.append(node.name)


@dataclass
class Ran:
    """A store in which the tiny recipe has run."""

    root: Path
    sources: Sources
    artifacts: dict[str, Artifact]
    built: list[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    folder = tmp_path_factory.mktemp("tiny")
    sources = write_documents(folder)
    builds = Builds()
    nodes = pipeline(tiny_recipe(), sources)
    artifacts = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(), builds)
    return Ran(folder, sources, artifacts, builds.names)


def rerun(ran: Ran, tmp_path: Path, *overrides: str) -> tuple[set[str], dict[str, Artifact]]:
    """What runs again after a change, on a copy of the store."""
    shutil.copytree(ran.root / "store", tmp_path / "store")
    builds = Builds()
    nodes = pipeline(tiny_recipe(*overrides), ran.sources)
    artifacts = build_all(nodes, Store(tmp_path / "store"), Memo(tmp_path / "memo"), RunOptions(), builds)
    return {name.split("[")[0] for name in builds.names}, artifacts


def test_the_first_run_builds_every_stage_once_per_seed(ran):
    per_seed = {f"{stage}[{seed}]" for seed in SEEDS for stage in ("train", "calibrate", "compress", "score", "mix")}
    assert set(ran.built) == {"data", "count[hashed]", "count[exact]", f"audit[{SEEDS[0]}]"} | per_seed
    assert len(ran.built) == len(set(ran.built))


def test_the_second_run_reuses_everything(ran, tmp_path):
    assert rerun(ran, tmp_path)[0] == set()


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        (["mix.alphas=0.1,0.3,0.5"], {"mix"}),
        (["count.orders=2,3,4"], {"count", "mix", "audit"}),
        (["compress.zstd_levels=5"], {"compress"}),
        (["compress.matrix_bits=4", "compress.downgrade_bits=3"], {"compress", "score", "mix", "audit"}),
        (["score.batch_windows=8"], {"score", "audit"}),
        (["headline.alpha=0.2"], {"audit"}),
    ],
)
def test_a_change_reruns_what_depends_on_it_and_nothing_else(ran, tmp_path, overrides, stages):
    if overrides == ["score.batch_windows=8"]:
        # Another batch size may move the last bit of a loss, and then the mixture's input has changed too.
        assert rerun(ran, tmp_path, *overrides)[0] - {"mix"} == stages
    else:
        assert rerun(ran, tmp_path, *overrides)[0] == stages


HINT = 'hint={"window": 64, "stride": 32, "orders": [3, 5], "delay_targets": 40}'


def test_hints_are_a_stage_of_their_own_that_score_and_mix_read_and_only_where_a_recipe_has_them(ran):
    """On the graph alone: whether score looks at the hints it is given is score's own matter."""
    without = pipeline(tiny_recipe(), ran.sources)
    assert not any(node.stage.name == "hint" or "hints" in node.inputs for node in without)
    nodes = {node.name: node for node in pipeline(tiny_recipe(HINT), ran.sources)}
    assert nodes.keys() - {node.name for node in without} == {"hint"}
    assert nodes["hint"].inputs.keys() == {"data"}
    reading = {name for name, node in nodes.items() if "hints" in node.inputs}
    assert reading == {f"{stage}[{seed}]" for stage in ("score", "mix") for seed in SEEDS}
    assert {nodes[name].inputs["hints"] for name in reading} == {Link("hint", ("hints",))}


def test_hints_are_taken_once_for_all_seeds_and_their_seconds_belong_to_tilted_mixtures(ran, tmp_path):
    stages, artifacts = rerun(ran, tmp_path, HINT)
    # Hints are a switch: the script has code for them, whose bytes packing counts.
    assert {"hint", "score"} <= stages <= {"hint", "score", "mix", "compress"}
    recipe = tiny_recipe(HINT)
    nodes = pipeline(recipe, ran.sources)
    counting_s = outcome_module._counting_s(nodes, artifacts)
    seconds = {name: artifacts[f"count[{name}]"].record.wall_s for name in ("hashed", "exact")}
    seconds["hint"] = artifacts["hint"].record.wall_s
    assert counting_s == seconds | {"bayes": sum(seconds.values())}
    here, there = (outcome_of(*run, tmp_path).scores for run in ((recipe, nodes, artifacts), untouched(ran)))
    assert here["recipe_key"][0] == there["recipe_key"][0], "the same network, so one mean may go over both"


def untouched(ran: Ran) -> tuple[Recipe, tuple[Node, ...], dict[str, Artifact]]:
    return tiny_recipe(), pipeline(tiny_recipe(), ran.sources), ran.artifacts


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ['hint={"window": 64, "stride": 64}'],
            "hint.window/stride 64/64 differ from .* 64/32: .* --set hint.stride=32$",
        ),
        (["score.stride=16"], "count.window/stride 64/32 differ .*; --set count.window=64 --set count.stride=16$"),
        (['hint={"window": 64, "stride": 32, "tail": "repeat"}'], "hint.tail 'repeat' differs from score.tail 'once'"),
        (["count.scope=document"], "take the exact estimator alone"),
        (["count.delay_targets=5"], "take the exact estimator alone"),
    ],
)
def test_hints_and_counts_that_do_not_fit_the_recipe_are_refused(overrides, says):
    with pytest.raises(ConfigError, match=says):
        tiny_recipe(*overrides)


def test_windows_of_counts_that_nobody_takes_bind_nothing():
    assert recipe_named("pr1493-tiny").estimators == ()
    assert apply_overrides(recipe_named("pr1493-tiny"), ["score.stride=16"]).score.stride == 16


def test_calibration_reads_the_rows_of_the_first_data_rank_that_trains():
    with pytest.raises(ConfigError, match=r"train.data_ranks=4 .* calibrate.spans=8 .*; --set calibrate.spans=4$"):
        apply_overrides(recipe_named("pr1493"), ["train.data_ranks=4"])
    apply_overrides(recipe_named("pr1493"), ["train.data_ranks=4", "calibrate.spans=4"])


def test_exact_counts_alone_may_be_of_documents():
    assert tiny_recipe("count.scope=document", "estimators=exact").count.scope == "document"


def test_a_new_seed_trains_that_seed_alone(ran, tmp_path):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    steps = make_plan(
        pipeline(tiny_recipe("seeds=2,3"), ran.sources), Store(tmp_path / "store"), Memo(tmp_path / "memo")
    )
    assert [step.node.name for step in steps if step.action == "run"] == ["train[3]", "audit[2]"]
    assert {step.node.name for step in steps if step.action == "depends"} == {
        f"{stage}[3]" for stage in ("calibrate", "compress", "score", "mix")
    }


@pytest.mark.parametrize(
    ("override", "node", "reason"),
    [
        ("compress.zstd_levels=5", "compress[1]", "zstd_levels [16, 1, 17, 2] → [5]"),
        ("count.orders=2..5", "count[exact]", "orders [2, 3] → [2, 3, 4, 5]"),
        ("train.steps=5", "train[2]", "train.steps 4 → 5"),
        ('mix.also=[{"mixers":["dirichlet"]}]', "mix[1]", "also [] → [{mixers: [dirichlet], …}]"),
    ],
)
def test_the_plan_names_the_field_that_changed(ran, tmp_path, override, node, reason):
    nodes = pipeline(tiny_recipe(override), ran.sources)
    steps = make_plan(nodes, Store(ran.root / "store"), Memo(tmp_path / "memo"), RunOptions())
    step = next(step for step in steps if step.node.name == node)
    assert (step.action, step.reasons) == ("run", (reason,))
    # Of these the number of steps alone is known to change the seconds in proportion.
    assert (step.expected_s is not None) == (node == "train[2]")


class Watching(Silence):
    """Remembers what the store says of a stage at each of its reports, and fails at the last if told to."""

    def __init__(self, root: Path, fails: bool) -> None:
        self.root, self.fails = root, fails
        self.seen: list[tuple[str, str]] = []

    def progress(self, node, progress):
        self.seen += [(node.name, f"{status.state} {status.node}") for status in statuses(self.root)]
        if self.fails:
            raise ValueError("told to fail")


@pytest.mark.parametrize("fails", [False, True])
def test_a_stage_is_said_to_run_until_it_is_done_or_has_failed(ran, tmp_path, fails):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    store, watching = Store(tmp_path / "store"), Watching(tmp_path / "store", fails)
    nodes = pipeline(tiny_recipe("mix.alphas=0.1"), ran.sources)
    failure = pytest.raises(ValueError, match="told to fail") if fails else nullcontext()
    with failure:
        build_all(nodes, store, Memo(tmp_path / "memo"), RunOptions(), watching)
    assert watching.seen[0] == ("mix[1]", "building mix[1]")
    assert statuses(store.root) == []


def test_seconds_are_expected_of_the_machine_that_took_them(ran, tmp_path):
    store = Store(ran.root / "store")
    (record,) = [record for record in store.records() if record.node == "train[1]"]
    assert (record.cpu, record.cores, record.ranks, record.gpu) == (cpu_name(), core_count(), 1, None)
    nodes = pipeline(tiny_recipe("seeds=1,3"), ran.sources)
    here = {step.node.name: step for step in make_plan(nodes, store, Memo(tmp_path / "memo"), RunOptions())}
    assert here["train[3]"].estimate in [Estimate(known.wall_s) for known in store.records() if known.stage == "train"]
    two = RunOptions(device="cpu", processes=2)
    elsewhere = {step.node.name: step for step in make_plan(nodes, store, Memo(tmp_path / "memo"), two)}
    assert elsewhere["train[3]"].expected_s is None
    assert elsewhere["train[3]"].estimate.note.startswith(f"last ran on {cpu_name()}, {core_count()} cores: ")


def test_a_plan_that_nobody_asks_for_seconds_reads_no_records_of_what_depends_on_others(ran, tmp_path, monkeypatch):
    store, asked = Store(ran.root / "store"), []
    records = store.records
    monkeypatch.setattr(store, "records", lambda stage: asked.append(stage) or records(stage))
    steps = make_plan(pipeline(tiny_recipe("seeds=1,3"), ran.sources), store, Memo(tmp_path / "memo"))
    assert [step.node.name for step in steps if step.action == "run"] == ["train[3]"]
    assert asked == ["train"]
    assert [step.expected_s for step in steps if step.action != "reuse"] == [None] * 5


def test_changed_documents_run_everything_that_reads_them(ran, tmp_path):
    sources = write_documents(tmp_path, count=61)
    steps = make_plan(pipeline(tiny_recipe(), sources), Store(ran.root / "store"), Memo(tmp_path / "memo"))
    assert steps[0].reasons == ("input documents changed",)
    assert {step.action for step in steps[1:]} == {"depends"}


def test_a_plan_that_may_read_little_leaves_open_what_is_new_and_large(ran, tmp_path, monkeypatch):
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(2):
        with (documents / f"{number}.jsonl").open("wb") as file:
            file.truncate(50 * 10**9)  # without a block on the disk
    monkeypatch.setattr("pgolf.store.content.sha256_file", lambda path: pytest.fail(f"{path} was read"))
    nodes = pipeline(tiny_recipe(), replace(ran.sources, documents=documents))
    steps = make_plan(nodes, Store(ran.root / "store"), Memo(tmp_path / "memo"), most_read_bytes=10**6)
    assert {step.action for step in steps} == {"depends"}
    (reason,) = steps[0].reasons
    assert reason.startswith(f"{documents}: 2 files of 100.0 GB not read yet; ")
    assert steps[1].reasons == ("depends on data",)


def test_the_same_documents_elsewhere_are_the_same_input(ran, tmp_path):
    sources = write_documents(tmp_path)
    steps = make_plan(pipeline(tiny_recipe(), sources), Store(ran.root / "store"), Memo(tmp_path / "memo"))
    assert {step.action for step in steps} == {"reuse"}


def test_a_flipped_byte_anywhere_is_named_by_the_plan_and_rebuilt_to_the_same_output(ran, tmp_path):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    store = Store(tmp_path / "store")
    model = tmp_path / "store" / ran.artifacts["compress[1]"].path.name / "model.pgolf"
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    nodes = pipeline(tiny_recipe(), ran.sources)
    steps = {step.node.name: step for step in make_plan(nodes, store, Memo(tmp_path / "memo"))}
    assert steps["compress[1]"].reasons == ("file model.pgolf altered",)
    builds = Builds()
    artifacts = build_all(nodes, store, Memo(tmp_path / "memo"), RunOptions(), builds)
    assert builds.names == ["compress[1]"], "rebuilt to the same bytes, so nothing after it runs"
    assert artifacts["compress[1]"].outputs == ran.artifacts["compress[1]"].outputs


def test_rows_of_a_run_are_filed_once_and_carry_both_scores(ran, tmp_path):
    recipe = tiny_recipe()
    nodes = pipeline(recipe, ran.sources)
    built = dict.fromkeys(ran.built, 1.0)
    first = outcome_of(recipe, nodes, ran.artifacts, tmp_path, built=built)
    first.file(tmp_path)
    outcome_of(recipe, nodes, ran.artifacts, tmp_path).file(tmp_path)
    scores = read(tmp_path, SCORES).to_pylist()
    assert len(scores) == first.scores.num_rows
    assert {row["seed"] for row in scores} == set(SEEDS)
    judged = [gate for name, gate in GATES.items() if not gate.inverted and name != AUDITED]
    assert not [gate.column for gate in judged for row in scores if row[gate.column] is None]
    assert {row["audited"] for row in scores if row["normalized"] and row["declared"] is not False} == {True}
    assert {row["audited"] for row in scores if not row["normalized"]} == {None}
    by_estimator = {row["estimator"]: row for row in scores}
    assert by_estimator["exact"]["normalized"] is True
    assert by_estimator["hashed"]["normalized"] is False
    assert by_estimator["neural"]["fits_budget"] is True
    assert {row["dropped_share"] for row in scores} == {0.0}
    assert read(tmp_path, ATTEMPTS).num_rows == len(SEEDS)
    assert {row["node"] for row in read(tmp_path, STAGES).to_pylist()} == set(ran.artifacts)
    shown = first.text()
    assert "legacy" in shown
    assert "honest" in shown


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"bytes_verified": False, "bytes_unverified": "piece 4 is odd"}, "bytes not verified: piece 4 is odd; all"),
        ({}, "bytes not verified: the program that made the data did not look; make them again; all"),
    ],
)
def test_rows_on_data_whose_bytes_nobody_verified_say_so(ran, tmp_path, facts, says):
    recipe, data = tiny_recipe(), ran.artifacts["data"]
    artifacts = ran.artifacts | {"data": replace(data, record=data.record.model_copy(update={"facts": facts}))}
    found = outcome_of(recipe, pipeline(recipe, ran.sources), artifacts, tmp_path)
    assert not any(found.scores.column("bytes_verified").to_pylist())
    assert says in found.text()
    assert [note for note in found.sheets()[0].notes if "not ranked, nobody has verified" in note]
    assert says.removeprefix("bytes not verified: ").removesuffix("; all") == found.data()["bytes_unverified"]


def declared_at(results: Path, moment: str, *overrides: str) -> None:
    """The recipe's headline declared at that moment."""
    headline = headline_text(tiny_recipe(*overrides))
    append(
        results, DECLARATIONS, f"demo-{moment[:4]}", [{"recipe": "demo", "headline": headline, "declared_utc": moment}]
    )


OTHER_HEADLINE = ("headline.alpha=0.3", "mix.alphas=0.3,0.4")


def test_rows_say_which_text_in_which_tokenization_they_are_of(ran, tmp_path):
    recipe = tiny_recipe()
    data = ran.artifacts["data"]
    (row,) = {
        tuple(row[name] for name in TEXT_COLUMNS)
        for row in outcome_of(recipe, pipeline(recipe, ran.sources), ran.artifacts, tmp_path).scores.to_pylist()
    }
    (model,) = data.path.glob("tokenizers/*.model")
    assert row[0] == recipe.tokenize.name
    assert row[2] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert row[3] == data.record.facts["val_text_sha256"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"config": {"name": "other"}}, (False, True, True, True)),
        ({"val_one_in": 5}, (True, False, False, False)),
        ({"vocab_size": 280}, (True, False, False, True)),
    ],
)
def test_tokens_tokenizer_and_text_are_told_apart_by_content_whatever_they_are_called(ran, tmp_path, change, same):
    settings = change.get("config") or change
    config = tiny_recipe().tokenize.model_copy(update=settings)
    node = data_node(config, ran.sources)
    store = Store(tmp_path / "store")
    other, _ = build_node(node, {}, store, Memo(tmp_path / "memo"), RunOptions(), Silence())
    rows = text_columns(other.record), text_columns(ran.artifacts["data"].record)
    assert tuple(rows[0][name] == rows[1][name] for name in TEXT_COLUMNS) == same


@pytest.mark.parametrize(
    ("moment", "before"), [("2001-01-01T00:00:00+00:00", True), ("2999-01-01T00:00:00+00:00", False)]
)
def test_the_declared_cells_are_marked_with_when_and_whether_before_scoring(ran, tmp_path, moment, before):
    recipe = tiny_recipe()
    declared_at(tmp_path, moment)
    outcome = outcome_of(recipe, pipeline(recipe, ran.sources), ran.artifacts, tmp_path)
    for row in outcome.scores.to_pylist():
        is_neural = row["estimator"] == "neural"
        assert row["declared"] is (None if is_neural else True)
        assert row["declared_before_scoring"] is (True if is_neural else before)
        assert row["declared_utc"] == (None if is_neural else datetime.fromisoformat(moment))
    assert ("declared late" in outcome.text()) is not before
    ranked = [row[2] for row in ranking(outcome.scores).rows]
    assert ranked == (["exact", "neural"] if before else ["neural"])


def test_a_headline_that_is_changed_after_scoring_leaves_a_trace_in_the_tables(ran, tmp_path):
    """Filed under the first headline, then the grid is widened and the best of it declared: all but mix is reused."""
    results = tmp_path / "results"
    declared_at(results, "2001-01-01T00:00:00+00:00")
    recipe = tiny_recipe()
    outcome_of(recipe, pipeline(recipe, ran.sources), ran.artifacts, results).file(results)
    changed = tiny_recipe(*OTHER_HEADLINE)
    declare(changed, results)
    _, artifacts = rerun(ran, tmp_path, *OTHER_HEADLINE)
    outcome_of(changed, pipeline(changed, ran.sources), artifacts, results).file(results)
    scores = read(results, SCORES)
    assert len(set(scores.column("run_key").to_pylist())) == 2
    names = [column.name for column in ranking(scores).columns]
    assert [dict(zip(names, row))["alpha"] for row in ranking(scores).rows] == [0.4, None]
    looked = found_by_looking(scores)
    assert [dict(zip([column.name for column in looked.columns], row))["declared"] for row in looked.rows] == [
        "after scoring"
    ]


def test_a_run_under_another_rule_set_files_its_rows_again(ran, tmp_path, monkeypatch):
    recipe = tiny_recipe()
    nodes = pipeline(recipe, ran.sources)
    outcome_of(recipe, nodes, ran.artifacts, tmp_path).file(tmp_path)
    monkeypatch.setattr(outcome_module, "RULESET", "parameter-golf 2027-01-01")
    outcome_of(recipe, nodes, ran.artifacts, tmp_path).file(tmp_path)
    found = read(tmp_path, SCORES).column("ruleset").to_pylist()
    assert set(found) == {RULESET, "parameter-golf 2027-01-01"}


def test_the_neural_row_is_the_traces_own_mean(ran, tmp_path):
    from pgolf.eval.trace import read_trace

    recipe = tiny_recipe()
    rows = outcome_of(recipe, pipeline(recipe, ran.sources), ran.artifacts, tmp_path).scores.to_pylist()
    trace = read_trace(ran.artifacts["score[1]"].path / "trace.arrow")
    neural = next(row for row in rows if row["estimator"] == "neural" and row["seed"] == 1)
    total = float(trace.loss_nats.astype("float64").sum())
    # float64 sums of the same float32 losses in two orders: rounding alone
    assert neural["loss_nats"] == pytest.approx(total / neural["targets"], rel=1e-12)


def test_a_mix_that_went_on_after_a_kill_has_the_killed_runs_seconds_on_its_clock(ran, tmp_path):
    def clocks(before_s: float) -> dict[str, tuple[float, bool]]:
        mix = ran.artifacts["mix[1]"]
        phases_s = {**mix.record.phases_s, "before": before_s}
        resumed = replace(mix, record=mix.record.model_copy(update={"phases_s": phases_s}))
        recipe, nodes, artifacts = untouched(ran)
        scores = outcome_of(recipe, nodes, artifacts | {"mix[1]": resumed}, tmp_path).scores.to_pylist()
        rows = [row for row in scores if row["seed"] == 1]
        return {row["cell"]: (row["eval_clock_s"], row["within_eval_clock"]) for row in rows}

    at_once, resumed = clocks(0.0), clocks(600.0)
    assert all(within for _, within in at_once.values())
    for cell, (clock_s, within) in resumed.items():
        alone = cell == '{"estimator": "neural"}'  # which needs no mix
        assert within == alone
        assert clock_s == pytest.approx(at_once[cell][0] + (0.0 if alone else 600.0), abs=1e-6)


def test_a_training_longer_than_the_clock_is_named_at_the_end_and_how_it_could_have_been_within(ran, tmp_path):
    def said(train_clock_s: float, **train) -> list[str]:
        trained = ran.artifacts["train[1]"]
        facts = {**trained.record.facts, "train_clock_s": train_clock_s}
        longer = replace(trained, record=trained.record.model_copy(update={"facts": facts}))
        recipe, nodes, artifacts = untouched(ran)
        recipe = recipe.model_copy(update={"train": TrainConfig(**train)})
        text = outcome_of(recipe, nodes, artifacts | {"train[1]": longer, "calibrate[1]": launched}, tmp_path).text()
        return [line for line in text.splitlines() if "clock" in line]

    # Its calibration counts, too, but not the start of a process of its own.
    calibrated = ran.artifacts["calibrate[1]"]
    calibration_s = calibrated.record.wall_s
    seconds = {"wall_s": calibration_s + 7.0, "phases_s": {**calibrated.record.phases_s, "launch": 7.0}}
    launched = replace(calibrated, record=calibrated.record.model_copy(update=seconds))
    assert said(600.0 - calibration_s - 0.5) == []
    over = f"over the clock: training and calibration of seed 1 took {600.1 + calibration_s:,.1f} s of 600"
    assert said(600.1, clock_reserve_s=9) == [over]
    first, why = said(600.1)
    assert first == over
    assert why.startswith("training cannot be within 600 s")


def test_gc_keeps_what_results_refer_to_with_all_it_was_made_from(ran, tmp_path):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    store = Store(tmp_path / "store")
    kept = [ran.artifacts["mix[1]"].path.name]
    gone = {item.path.name.split("-")[0] for item in garbage(store, kept)}
    assert gone == {"train", "calibrate", "compress", "score", "mix", "audit"}, "seed 2's chain, and a trial"
    assert len(garbage(store, kept)) == 6
    assert garbage(store, [artifact.path.name for artifact in ran.artifacts.values()]) == []


@pytest.fixture
def edited(monkeypatch) -> None:
    """As if the ladder of downgrades had been edited."""
    real = pipeline_module.stage_code

    def stage_code(entry: str) -> StageCode:
        code = real(entry)
        edited = {"pgolf.pack.downgrade": "e" * 64}
        return replace(code, modules={name: edited.get(name, digest) for name, digest in code.modules.items()})

    monkeypatch.setattr(pipeline_module, "stage_code", stage_code)


@pytest.mark.usefixtures("edited")
def test_an_edited_function_is_named_by_the_plan_and_an_adoption_takes_its_word_for_the_bytes(ran, tmp_path):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    store, memo = Store(tmp_path / "store"), Memo(tmp_path / "memo")
    nodes = pipeline(tiny_recipe(), ran.sources)
    steps = {step.node.name: step for step in make_plan(nodes, store, memo)}
    assert steps["compress[1]"].reasons == ("code: pgolf/pack/downgrade.py changed",)
    assert steps["train[1]"].action == "reuse", "the ladder is out of training's reach"
    for name in ("compress[1]", "compress[2]"):
        parents = {parent: ran.artifacts[parent] for parent in steps[name].node.parents}
        adopted = adopt(steps[name].node, parents, store, memo, why="renamed a variable")
        assert adopted.outputs == ran.artifacts[name].outputs
        assert adopted.record.adopted is not None
        assert adopted.record.adopted.changed == ("code: pgolf/pack/downgrade.py changed",)
        assert adopted.record.adopted.source == ran.artifacts[name].path.name
    again = {step.node.name: step.action for step in make_plan(nodes, store, memo)}
    assert {again[name] for name in ("compress[1]", "score[1]", "mix[2]")} == {"reuse"}


@pytest.mark.parametrize(
    ("overrides", "why", "says"),
    [
        (["compress.zstd_levels=5"], "same bytes", "differs from compress\\[1\\] in code alone.*zstd_levels"),
        (["mix.alphas=0.4"], " ", "an adoption needs a reason"),
        (["mix.alphas=0.4"], "same bytes", "is up to date"),
    ],
)
def test_an_adoption_that_would_hide_another_output_is_refused(ran, tmp_path, overrides, why, says):
    nodes = {node.name: node for node in pipeline(tiny_recipe(*overrides), ran.sources)}
    node = nodes["compress[1]"]
    parents = {parent: ran.artifacts[parent] for parent in node.parents}
    with pytest.raises(StoreError, match=says):
        adopt(node, parents, Store(ran.root / "store"), Memo(tmp_path / "memo"), why=why)


def test_editing_a_comment_reruns_nothing_and_editing_a_function_what_reaches_it(ran, tmp_path):
    """On a copy of the sources, in a process of its own: the plan reads code from the disk."""
    here = Path(__file__).parents[2]
    for package in ("pgolf", "tasks", "flows", "tests"):
        shutil.copytree(here / package, tmp_path / package)  # with compiled code, which goes by content

    def plan() -> dict[str, str]:
        code = (
            "import json, sys; from pathlib import Path\n"
            "from pgolf.store.artifact import Store; from pgolf.store.content import Memo\n"
            "from pgolf.pipeline.graph import Sources, pipeline; from pgolf.pipeline.plan import make_plan\n"
            "from tests.tiny import tiny_recipe\n"
            f"nodes = pipeline(tiny_recipe(), Sources(documents=Path({str(ran.sources.documents)!r})))\n"
            f"steps = make_plan(nodes, Store(Path({str(ran.root / 'store')!r})), Memo(Path('memo')))\n"
            "print(json.dumps({s.node.name: [s.action, *s.reasons] for s in steps}))"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    assert {step[0] for step in plan().values()} == {"reuse"}
    windows = tmp_path / "pgolf" / "eval" / "windows.py"
    windows.write_text("# a remark\n" + windows.read_text())
    assert {step[0] for step in plan().values()} == {"reuse"}
    # Not of one word, which might pack into the bytes of padding that are there already.
    text = hashlib.sha256(b"another").hexdigest()
    before = windows.read_text()
    windows.write_text(
        before.replace("    return WindowPlan(", f'    stride += len("{text}") - 64\n    return WindowPlan(')
    )
    assert windows.read_text() != before
    steps = plan()
    changed = "code: pgolf/eval/windows.py changed"
    assert steps["count[exact]"] == ["run", changed]
    assert steps["train[1]"] == ["reuse"]
    # Evaluation code counts against the budget, so packing looks at its bytes again.
    assert steps["compress[1]"][0] == "run"
    assert any(reason.startswith("code_bytes") for reason in steps["compress[1]"][1:])


def test_an_adopted_output_keeps_the_seconds_and_the_place_of_its_source(ran, tmp_path, edited):
    shutil.copytree(ran.root / "store", tmp_path / "store")
    store, memo = Store(tmp_path / "store"), Memo(tmp_path / "memo")
    node = next(node for node in pipeline(tiny_recipe(), ran.sources) if node.name == "compress[1]")
    parents = {parent: ran.artifacts[parent] for parent in node.parents}
    adopted = adopt(node, parents, store, memo, why="same bytes").record
    source = ran.artifacts["compress[1]"].record
    assert (adopted.wall_s, adopted.started_utc, adopted.host) == (source.wall_s, source.started_utc, source.host)


def test_a_grid_with_several_thresholds_shows_its_first_in_the_headline(ran, tmp_path):
    _, artifacts = rerun(ran, tmp_path, "mix.min_counts=2,3")
    recipe = tiny_recipe("mix.min_counts=2,3")
    text = outcome_of(recipe, pipeline(recipe, ran.sources), artifacts, tmp_path / "results").text()
    before = outcome_of(tiny_recipe(), pipeline(tiny_recipe(), ran.sources), ran.artifacts, tmp_path / "results").text()
    headline = [line for line in before.splitlines() if line.startswith("demo") and "honest" in line]
    assert headline
    assert headline == [line for line in text.splitlines() if line.startswith("demo") and "honest" in line]


def test_scores_on_other_documents_are_another_recipe_and_enter_no_common_mean(ran, tmp_path):
    recipe, nodes = tiny_recipe(), pipeline(tiny_recipe(), ran.sources)
    here = outcome_of(recipe, nodes, ran.artifacts, tmp_path)
    data = ran.artifacts["data"]
    other = {"outputs": {**data.record.outputs, "val": "0" * 64}}
    elsewhere = {**ran.artifacts, "data": Artifact(data.path, data.record.model_copy(update=other))}
    there = outcome_of(recipe, nodes, elsewhere, tmp_path)
    keys = {table.scores.column("recipe_key")[0].as_py() for table in (here, there)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (
            Sources(documents=Path("docs.jsonl")),
            "would not be read by this recipe: add --set tokenize.source=documents",
        ),
        (Sources(tokenizer=Path("a.model")), "would not be read by this recipe: add --set tokenize.tokenizer=given"),
    ],
)
def test_files_that_a_recipe_would_not_read_are_refused(sources, says):
    with pytest.raises(ConfigError, match=says):
        pipeline(tiny_recipe("tokenize.source=builtin"), sources)
