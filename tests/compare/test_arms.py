"""Arms: the runs that were asked for and no others, and a scorer that is a code length."""

import json
from dataclasses import replace

import pytest

from pgolf.compare.arms import arm_of
from pgolf.compare.sentence import sentence
from pgolf.errors import ConfigError, ResultsError
from pgolf.pipeline.by_document import compare_runs
from pgolf.stats.compare import RECORD_RULE
from pgolf.tables.filters import parse_conditions
from pgolf.tables.named_runs import Run, runs_in
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row

KEY = "a" * 64
EXACT = {"estimator": "exact", "counts": "exact", "mixer": "dirichlet", "order": 5, "concentration": 4.0}
LEGACY = {"estimator": "hashed", "counts": "hashed", "mixer": "backoff", "order": 5, "alpha": 0.4, "normalized": False}
LEGACY |= {"mass_mean": 1.7}


class Tables:
    """Result tables in a folder, to which runs are added."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, key, rows):
        append(self.folder, SCORES, key, [score_row(**row) for row in rows])

    def arm(self, asked, **how):
        scores = read(self.folder, SCORES)
        return arm_of(asked, runs_in(self.folder), scores, **how)


@pytest.fixture
def tables(tmp_path):
    return Tables(tmp_path)


def test_only_the_runs_that_are_named_have_a_say(tables):
    tables.add("demo-111111111111", [{"seed": 1, "loss_nats": 2.0}, {"seed": 2, "loss_nats": 2.2}])
    # Of the same configuration, and newer.
    tables.add("demo-222222222222", [{"seed": 2, "loss_nats": 9.0}, {"seed": 3, "loss_nats": 9.0}])
    arm = tables.arm("demo-1")
    assert {seed: score.loss_nats for seed, score in arm.by_seed.items()} == {1: 2.0, 2: 2.2}
    assert arm.seeds == (1, 2)


def test_runs_named_together_are_one_arm_and_a_seed_counts_once(tables):
    tables.add("demo-111111111111", [{"seed": 1}, {"seed": 2}])
    tables.add("demo-222222222222", [{"seed": 3}])
    tables.add("demo-333333333333", [{"seed": 2}])
    arm = tables.arm("demo-1,demo-2")
    assert arm.seeds == (1, 2, 3)
    assert arm.run_of(3).key == "demo-222222222222"
    with pytest.raises(ConfigError, match=r"seed 2 is in 2 of its 2 runs .*; a seed counts once"):
        tables.arm("demo-1,demo-3")
    with pytest.raises(ConfigError, match="names a run twice"):
        tables.arm("demo-1,demo-111111111111")


def test_runs_of_two_configurations_are_no_arm(tables):
    tables.add("demo-111111111111", [{"seed": 1}])
    tables.add("demo-222222222222", [{"seed": 2, "recipe_key": "b" * 64}])
    with pytest.raises(ConfigError, match="of 2 configurations"):
        tables.arm("demo-1,demo-2")


def test_the_declared_scorer_is_compared_and_not_the_best(tables):
    rows = [{"declared": None}, EXACT, EXACT | {"concentration": 1.0, "declared": False, "loss_nats": 1.0}]
    tables.add("demo-111111111111", rows)
    arm = tables.arm("demo-1")
    assert arm.scorer == "exact dirichlet order 5 concentration 4"
    assert arm.by_seed[1].loss_nats == 2.0
    assert arm.notes == ()


def test_a_headline_that_came_after_the_scores_is_said_to_have(tables):
    tables.add("demo-111111111111", [{"declared": None}, EXACT | {"declared_before_scoring": False}])
    assert "was not declared before scores of this text were there" in tables.arm("demo-1").notes[0]


@pytest.mark.parametrize(
    ("when", "said"), [(False, "was not declared before scores"), (None, "was not known to be declared before scores")]
)
def test_the_answer_itself_says_that_the_side_in_front_was_named_late(tables, when, said):
    late = EXACT | {"declared_before_scoring": when}
    for key, row, shift in (("late-111111111111", late, 0.0), ("base-222222222222", EXACT, 0.1)):
        tables.add(key, [one | {"loss_nats": 2.0 + shift + 0.001 * seed, "seed": seed}
                         for one in ({}, row) for seed in (1, 2, 3)])  # fmt: skip
    late, base = tables.arm("late"), tables.arm("base")
    assert late.notes[0].startswith(f"exact dirichlet order 5 concentration 4 {said}")
    [ahead] = compare_runs([late, base], RECORD_RULE, "not asked for").gains
    assert ahead.p_value < RECORD_RULE.p_below
    assert ahead.passes is None
    assert sentence(ahead).startswith("late-111111111111 is ahead of base-222222222222 by 0.1000 nats per token")
    assert f"; but exact dirichlet order 5 concentration 4 of late-111111111111 {said}" in sentence(ahead)
    [behind] = compare_runs([base, late], RECORD_RULE, "not asked for").gains
    assert f"; but exact dirichlet order 5 concentration 4 of late-111111111111 {said}" in sentence(behind)
    # Where the late one is behind, another choice would leave it there.
    for seed in late.by_seed:
        late.by_seed[seed] = replace(late.by_seed[seed], loss_nats=2.2 + 0.001 * seed)
    [ahead] = compare_runs([base, late], RECORD_RULE, "not asked for").gains
    assert ahead.passes is True
    assert "is better than" in sentence(ahead)
    assert "but" not in sentence(ahead)


def test_a_headline_that_is_no_code_length_leaves_the_network_and_says_so(tables):
    tables.add("demo-111111111111", [{"declared": None, "loss_nats": 2.5}, LEGACY])
    arm = tables.arm("demo-1")
    assert arm.scorer == "network"
    assert "its headline (hashed backoff order 5 alpha 0.4) is no code length" in arm.notes[0]


@pytest.mark.parametrize(
    ("wrong", "said"), [({"normalized": False}, "not normalized"), ({"causal": False}, "not causal")]
)
def test_a_scorer_that_is_no_code_length_is_refused(tables, wrong, said):
    tables.add("demo-111111111111", [{"declared": None, **wrong}, EXACT | wrong])
    for scorer in ("headline", "network", parse_conditions(["estimator=exact"])):
        with pytest.raises(ResultsError, match=f"{said}, so its score is no code length"):
            tables.arm("demo-1", scorer=scorer)


BASE = "demo-111111111111"
# Runs whose headline cannot stand beside a mixture, and why.
WITHOUT_HEADLINE = {
    "a grid without the headline": ([{}, EXACT | {"declared": False}], "has no declared mixture"),
    "rows of an older version": ([{"declared": None}, EXACT | {"declared": None}], "has no declared mixture"),
    "no mixture at all": ([{}], "has no declared mixture"),
    "no code length": ([{}, LEGACY], "has declared hashed backoff order 5 alpha 0.4, which is no code length"),
}


@pytest.mark.parametrize(("rows", "why"), WITHOUT_HEADLINE.values(), ids=WITHOUT_HEADLINE)
@pytest.mark.parametrize("asked", [(BASE, "other"), ("other", BASE), (BASE, "third", "other")])
def test_a_mixture_is_never_compared_with_a_network_alone(tables, rows, why, asked):
    for key, of_run in ((BASE, [{}, EXACT]), ("third-333333333333", [{}, EXACT]), ("other-222222222222", rows)):
        tables.add(key, [row | {"loss_nats": 2.5 if row.get("estimator", "neural") == "neural" else 2.0, "seed": seed}
                         for row in of_run for seed in (1, 2)])  # fmt: skip
    found = compare_runs([tables.arm(one) for one in asked], RECORD_RULE, "not asked for")
    assert {arm.scorer for arm in found.arms} == {"network"}
    assert all(gain.over_seeds.gain_nats == 0.0 for gain in found.gains)
    said = f"; compared by the network alone: other-222222222222 {why}"
    assert all(sentence.endswith(said) for sentence in found.sentences)
    [base] = [arm for arm in found.arms if arm.name == BASE]
    assert any(note.startswith("its headline (exact dirichlet order 5 concentration 4) is not") for note in base.notes)


def test_headlines_of_several_estimators_are_compared_as_they_are(tables):
    bayes = {"estimator": "bayes", "mixer": "bayes"}
    tables.add(BASE, [{}, EXACT])
    tables.add("other-222222222222", [{}, bayes])
    found = compare_runs([tables.arm("other"), tables.arm(BASE)], RECORD_RULE, "not asked for")
    assert [arm.scorer for arm in found.arms] == ["bayes bayes", "exact dirichlet order 5 concentration 4"]
    assert "network" not in found.sentences[0]


def test_scorers_that_are_named_are_of_one_kind_or_refused(tables):
    tables.add(BASE, [{"normalized": None}, EXACT])
    tables.add("other-222222222222", [{"order": 5}])
    named = parse_conditions(["order=5"])
    with pytest.raises(ConfigError, match=r"--scorer names the network alone of other-2.* and exact dirichlet"):
        compare_runs([tables.arm(one, scorer=named) for one in (BASE, "other")], RECORD_RULE, "not asked for")
    alone = compare_runs([tables.arm(one, scorer="network") for one in (BASE, "other")], RECORD_RULE, "not asked for")
    assert "compared by the network alone" not in alone.sentences[0]


def test_a_mixture_is_compared_with_a_network_whose_scorer_is_named_for_itself(tables):
    tables.add(BASE, [{"loss_nats": 2.5, "seed": seed} for seed in (1, 2)])
    tables.add("other-222222222222", [row | {"loss_nats": 2.5 - len(row) / 100, "seed": 1} for row in ({}, EXACT)])
    arms = [tables.arm("other"), tables.arm(BASE, scorer="network")]
    found = compare_runs(arms, RECORD_RULE, "not asked for", one_kind=False)
    assert [arm.scorer for arm in found.arms] == ["exact dirichlet order 5 concentration 4", "network"]
    assert found.gains[0].over_seeds.gain_nats == pytest.approx(len(EXACT) / 100)
    assert "network alone" not in found.sentences[0]


def test_a_named_scorer_is_not_given_up_for_one_that_is_chosen(tables):
    tables.add(BASE, [{}, EXACT])
    tables.add("other-222222222222", [{}, EXACT])
    for named in ("network", parse_conditions(["estimator=exact"])):
        arms = [tables.arm(BASE), tables.arm("other", scorer=named)]
        with pytest.raises(ConfigError, match="--select-on chooses the scorer of each run, and --scorer has named"):
            compare_runs(arms, RECORD_RULE, "not asked for", select_on=0.5)


def test_a_network_that_is_no_code_length_or_not_there_does_not_stand_in(tables):
    tables.add(BASE, [{"normalized": False}, EXACT])
    tables.add("grid-333333333333", [EXACT])
    tables.add("other-222222222222", [{}])
    for asked, said in ((BASE, "network is not normalized"), ("grid", "its rows have no score of the network alone")):
        with pytest.raises((ConfigError, ResultsError), match=said):
            compare_runs([tables.arm(asked), tables.arm("other")], RECORD_RULE, "not asked for")


def test_a_scorer_is_named_by_its_settings(tables):
    late = {"declared": False, "declared_before_scoring": False}
    tables.add("demo-111111111111", [{}, EXACT, EXACT | {"concentration": 1.0} | late, EXACT | {"order": 3} | late])
    found = tables.arm("demo-1", scorer=parse_conditions(["order=5", "concentration<2"]))
    assert found.scorer == "exact dirichlet order 5 concentration 1"
    assert "was not declared before scores of this text were there" in found.notes[0]
    with pytest.raises(ConfigError, match=r"2 scorers are order=5: .*; name one by more settings"):
        tables.arm("demo-1", scorer=parse_conditions(["order=5"]))
    with pytest.raises(ConfigError, match="no scorer is order=4; there are network; exact"):
        tables.arm("demo-1", scorer=parse_conditions(["order=4"]))
    with pytest.raises(ConfigError, match="did you mean concentration"):
        tables.arm("demo-1", scorer=parse_conditions(["concentraton=4"]))


def test_scorers_alike_in_what_a_sentence_tells_are_named_by_what_else_they_are(tables):
    """Settings that only `cell` holds, and columns that are no part of a scorer's short name."""
    bayes = {"estimator": "bayes", "mixer": "bayes", "declared": True, "declared_before_scoring": True}
    rows = [bayes | {"cell": json.dumps({"members_sha256": digest, "note": "a b"})} for digest in ("aa", "bb")]
    rows += [EXACT | {"min_count": count} for count in (1, 2)]
    tables.add("demo-111111111111", [{}, *rows])
    for text, cell in (("members_sha256=aa", rows[0]["cell"]), ("members_sha256=bb", rows[1]["cell"])):
        found = tables.arm("demo-1", scorer=parse_conditions(["estimator=bayes", text]))
        assert found.result.by_seed[1]["cell"] == cell
    with pytest.raises(ConfigError, match="are estimator=bayes: bayes bayes members_sha256=aa; bayes bayes "):
        tables.arm("demo-1", scorer=parse_conditions(["estimator=bayes"]))
    assert tables.arm("demo-1", scorer=parse_conditions(["min_count=1"])).result.by_seed[1]["min_count"] == 1
    with pytest.raises(ConfigError, match=r"order 5 concentration 4 min_count=1; exact .* min_count=2; name one"):
        tables.arm("demo-1", scorer=parse_conditions(["order=5"]))
    [also] = [note for note in tables.arm("demo-1").notes if note.startswith("also declared")]
    assert "min_count=2" in also
    assert "members_sha256=bb" in also
    assert tables.arm("demo-1", scorer=parse_conditions(["order=5", "min_count<2"])).seeds == (1,)


def test_what_keeps_an_arm_from_the_ranking_is_said(tables):
    tables.add("demo-111111111111", [{"fits_budget": False}])
    assert tables.arm("demo-1").notes[-1] == "not ranked: not within budget"


def test_rows_of_other_texts_in_one_run_are_no_arm(tables):
    tables.add("demo-111111111111", [{"seed": 1}, {"seed": 2, "val_sha256": "9" * 64, "text_sha256": "8" * 64}])
    with pytest.raises(ResultsError, match="2 validation texts"):
        tables.arm("demo-1")


def test_a_run_without_scores_is_said():
    run = Run(key="demo-1", recipe="demo", recipe_key=KEY, name="demo-1")
    empty = read_nothing()
    with pytest.raises(ResultsError, match="no scores of demo-1 are in the tables"):
        arm_of("demo-1", [replace(run)], empty)


def read_nothing():
    return SCORES.arrow.empty_table()
