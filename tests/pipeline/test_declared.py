"""Whether a headline was declared before scoring, and what counts as another headline."""

from datetime import UTC, datetime, timedelta

import pytest

from pgolf.pipeline.declared import Declared, declare, declared_of, headline_text
from pgolf.tables import declared_when as clock
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import DECLARATIONS, SCORES
from tests.score_rows import score_row
from tests.tiny import tiny_recipe

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALPHAS = "mix.alphas=0.2,0.3,0.4"
RECIPES = {
    letter: tiny_recipe(f"headline.alpha={alpha}", ALPHAS) for letter, alpha in (("A", 0.4), ("B", 0.3), ("C", 0.2))
}


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def history(results, *declared: tuple[str, float], recipe="demo"):
    """Declarations of the lettered headlines at seconds after noon."""
    for letter, second in declared:
        row = {"recipe": recipe, "headline": headline_text(RECIPES[letter]), "declared_utc": at(second)}
        append(results, DECLARATIONS, f"{recipe}-{second}", [row])


# Declarations, when scoring began, what is asked for -> when that was declared, and whether before scoring.
CASES = {
    "declared and scored": ([("A", 0)], 10, "A", 0, True),
    "in the second that scoring began, which is all that is known": ([("A", 10.9)], 10, "A", 10.9, True),
    "just after scoring began": ([("A", 10.9)], 10.8, "A", 10.9, False),
    "just before scoring began": ([("A", 10.7)], 10.8, "A", 10.7, True),
    "after scores were there": ([("A", 20)], 10, "A", 20, False),
    "never": ([], 10, "A", None, False),
    "another one was": ([("B", 0)], 10, "A", None, False),
    "changed before anything was scored": ([("A", 0), ("B", 5)], 10, "B", 5, True),
    "given up before anything was scored": ([("A", 0), ("B", 5)], 10, "A", 0, False),
    "given up, and taken up again after scoring": ([("A", 0), ("B", 5), ("A", 20)], 10, "A", 20, False),
    "changed after scoring": ([("A", 0), ("B", 20)], 10, "B", 20, False),
    "the first one, after a change": ([("A", 0), ("B", 20)], 10, "A", 0, True),
    "back to the first one": ([("A", 0), ("B", 20), ("A", 30)], 10, "A", 0, True),
    "many declared in advance": ([("A", 0), ("B", 1), ("C", 2), ("B", 20)], 10, "B", 20, False),
    "declared twice in a row": ([("A", 0), ("A", 5)], 10, "A", 0, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_headline_in_force_when_scoring_began_was_declared_before_it(tmp_path, case):
    declared, scored, asked, since, before = CASES[case]
    history(tmp_path, *declared)
    history(tmp_path, ("C", 1), recipe="other")  # another recipe's are no matter
    found = declared_of(RECIPES[asked], tmp_path, at(scored))
    assert found == dict.fromkeys(("exact", "hashed"), Declared(None if since is None else at(since), before))


def test_what_is_added_to_the_headline_later_leaves_the_rest_of_it_as_it_was(tmp_path):
    history(tmp_path, ("A", 0))
    more = tiny_recipe("headline.alpha=0.4", ALPHAS, "estimators=exact", 'mix.bayes=[{"share_rate":0.01}]')
    declare(more, tmp_path)
    found = declared_of(more, tmp_path, at(10))
    assert found["exact"] == Declared(at(0), True)
    assert found["bayes fixed-share"].before_scoring is False
    assert found["bayes fixed-share"].declared_utc > at(10)


def test_a_run_declares_its_headline_once_and_a_change_adds_a_row(tmp_path):
    for letter in ("A", "A", "B", "B", "A"):
        declare(RECIPES[letter], tmp_path)
    rows = sorted(read(tmp_path, DECLARATIONS).to_pylist(), key=lambda row: row["declared_utc"])
    assert [row["headline"] for row in rows] == [headline_text(RECIPES[letter]) for letter in "ABA"]


def test_a_clock_that_was_set_back_makes_no_later_headline_an_earlier_one(tmp_path, monkeypatch):
    def moments() -> list[datetime]:
        return sorted(read(tmp_path, DECLARATIONS).column("declared_utc").to_pylist())

    class SetBack(datetime):
        @classmethod
        def now(cls, tz=None):
            return at(-5000)

    history(tmp_path, ("A", 0))
    monkeypatch.setattr(clock, "datetime", SetBack)
    declare(RECIPES["B"], tmp_path)
    assert moments() == [at(0), at(0) + timedelta(microseconds=1)]
    found = declared_of(RECIPES["B"], tmp_path, at(-1))
    assert found == dict.fromkeys(("exact", "hashed"), Declared(at(0) + timedelta(microseconds=1), False))
    row = score_row(started_utc=at(100).isoformat())
    append(tmp_path, SCORES, "demo-a", [row])
    declare(RECIPES["C"], tmp_path)
    assert moments()[-1] == at(101)
    declare(RECIPES["A"], tmp_path, scored_utc=[at(200).isoformat()])
    assert moments()[-1] == at(201)
    assert declared_of(RECIPES["A"], tmp_path, at(200))["exact"] == Declared(at(201), False)


def test_a_grid_without_the_headline_declares_nothing(tmp_path):
    declare(tiny_recipe("mix.alphas=0.1"), tmp_path)
    assert read(tmp_path, DECLARATIONS).num_rows == 0


BAYES = 'mix.bayes=[{"members":[{"mixers":["backoff"],"alphas":[0.1,0.2]}]}]'


@pytest.mark.parametrize(
    "change",
    [
        ["headline.alpha=0.3"],
        ["headline.order=2", "mix.orders=[2,3]"],
        ["headline.mixer=fixed", "mix.mixers=fixed,backoff"],
        ["estimators=exact"],
        ["mix.min_counts=1,2"],  # the first of the grid's values is the headline's
        ["count.granularity=8"],
        ["count.buckets=8192"],
        ["count.orders=3"],  # a backoff falls back on the shorter ones
        [BAYES],
    ],
)
def test_whatever_makes_the_declared_scorers_others_is_another_headline(change):
    assert headline_text(tiny_recipe(*change)) != headline_text(tiny_recipe())


@pytest.mark.parametrize(
    "change",
    [
        ["seeds=3,4"],
        ["mix.alphas=0.4,0.1"],
        ["mix.min_counts=2,1"],
        ["mix.orders=[2,3]"],
        ["mix.mixers=adaptive,backoff"],
        ["score.stride=16", "count.stride=16"],
        ["train.steps=5"],
    ],
)
def test_another_grid_seed_or_network_leaves_the_headline_as_it_is(change):
    assert headline_text(tiny_recipe(*change)) == headline_text(tiny_recipe())


def test_the_members_of_a_mixture_are_part_of_the_headline():
    one, other = tiny_recipe(BAYES), tiny_recipe(BAYES.replace("0.2", "0.3"))
    assert headline_text(one) != headline_text(other)
    of_grid = [tiny_recipe('mix.bayes=[{"share_rate":0.01}]', f"mix.alphas={alphas}") for alphas in ("0.4", "0.4,0.1")]
    assert headline_text(of_grid[0]) != headline_text(of_grid[1])
