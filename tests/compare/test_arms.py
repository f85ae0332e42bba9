"""Arms: the runs that were asked for and no others, and a scorer that is a code length."""

import json
from dataclasses import replace

import pytest

from pgolf.compare.arms import arm_of
from pgolf.errors import ConfigError, ResultsError
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
