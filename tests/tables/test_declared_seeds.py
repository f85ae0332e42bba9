"""Declared seeds: once, in order, and whoever has no result is missing wherever numbers are shown."""

from datetime import UTC, datetime, timedelta

import pytest

from pgolf.compare.arms import arm_of
from pgolf.compare.compared import Compared
from pgolf.compare.comparison import compare_arms
from pgolf.compare.sentence import sentence
from pgolf.compare.sheets import seeds_sheet
from pgolf.errors import ResultsError
from pgolf.identity.fingerprint import digest
from pgolf.stats.compare import RECORD_RULE
from pgolf.tables import declared_when as clock
from pgolf.tables.declared_seeds import (
    NOTHING_DECLARED,
    declare_seeds,
    declared_seeds,
    missing_notes,
    missing_seeds,
)
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import append, read
from pgolf.tables.ranked import NEURAL, lists, means, ranking, scorer_means, seeds_side_by_side
from pgolf.tables.removed import remove_run, take_back
from pgolf.tables.schema import SCORES, SEEDS
from pgolf.tables.text import to_json, to_markdown, to_text
from tests.score_rows import score_row

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
ONE, OTHER = {"train": {"steps": 4}}, {"train": {"steps": 5}}
KEY = digest(ONE)
FIRST, SECOND = "demo-111111111111", "demo-222222222222"


def declare(results, *seeds, recipe="demo", config=ONE, **how):
    declare_seeds(results, recipe, dict.fromkeys(seeds, config), **({"base": "demo"} | how))


def score(results, run_key, *seeds, config=ONE, **columns):
    key = None if config is None else digest(config)
    rows = [score_row(seed=seed, bpb=1.2 + seed / 1000, config_key=key, **columns) for seed in seeds]
    append(results, SCORES, run_key, rows)


def rows(results):
    return sorted(read(results, SEEDS).to_pylist(), key=lambda row: (row["declared_utc"], row["seed"]))


def missing(results, **of):
    return [(one.recipe, one.seed) for one in missing_seeds(results, **of)]


def test_only_what_is_new_adds_a_row(tmp_path):
    declare(tmp_path, 1, 2)
    for again in ((1, 2), (2,), (2, 1)):
        declare(tmp_path, *again)
    declare(tmp_path, 1, 2, recipe="mine")  # the same experiment under another name
    declare(tmp_path, 1, 3)
    declare(tmp_path, 1, config=OTHER)
    found = [(row["recipe"], row["seed"], row["config_key"]) for row in rows(tmp_path)]
    assert found == [("demo", 1, KEY), ("demo", 2, KEY), ("demo", 3, KEY), ("demo", 1, digest(OTHER))]
    assert rows(tmp_path)[0]["configuration"] == '{"train":{"steps":4}}'


def test_of_two_machines_that_declare_at_once_the_first_counts(tmp_path):
    for host, second in (("b", 5), ("a", 2), ("c", 9)):
        when = NOON + timedelta(seconds=second)
        row = {"recipe": f"of-{host}", "seed": 1, "config_key": KEY, "declared_utc": when}
        append(tmp_path, SEEDS, f"demo-{host}", [row])
    [one] = missing_seeds(tmp_path)
    assert (one.recipe, one.declared_utc) == ("of-a", NOON + timedelta(seconds=2))


def test_what_is_declared_later_is_later_whatever_the_clock_says(tmp_path, monkeypatch):
    class SetBack(datetime):
        @classmethod
        def now(cls, tz=None):
            return NOON - timedelta(days=1)

    append(tmp_path, SEEDS, "demo-a", [{"recipe": "demo", "seed": 1, "config_key": KEY, "declared_utc": NOON}])
    monkeypatch.setattr(clock, "datetime", SetBack)
    declare(tmp_path, 2)
    assert rows(tmp_path)[-1]["declared_utc"] == NOON + timedelta(microseconds=1)
    score(tmp_path, FIRST, 1, started_utc=(NOON + timedelta(seconds=30)).isoformat())
    declare(tmp_path, 3)
    assert rows(tmp_path)[-1]["declared_utc"] == NOON + timedelta(seconds=31)
    declare(tmp_path, 4, scored_utc=[(NOON + timedelta(seconds=60)).isoformat()])
    assert rows(tmp_path)[-1]["declared_utc"] == NOON + timedelta(seconds=61)


def test_a_seed_is_missing_until_any_run_of_its_configuration_has_a_result(tmp_path):
    assert missing(tmp_path) == []
    declare(tmp_path, 1, 2, 3)
    score(tmp_path, FIRST, 1)
    score(tmp_path, "demo-333333333333", 3, config=OTHER)
    score(tmp_path, "demo-444444444444", 3, config=None)  # of an earlier version: of which configuration nobody knows
    assert missing(tmp_path) == missing(tmp_path, config_key=KEY) == [("demo", 2), ("demo", 3)]
    assert missing(tmp_path, run_key=FIRST) == [("demo", 2), ("demo", 3)]
    assert missing(tmp_path, run_key="demo-333333333333") == missing(tmp_path, run_key="demo-444444444444") == []
    score(tmp_path, SECOND, 2, 3)
    assert missing(tmp_path) == []
    with pytest.raises(ResultsError, match="there are no scores of demo-555555555555"):
        missing_seeds(tmp_path, run_key="demo-555555555555")


def test_a_removed_result_is_none_and_says_how_to_take_it_back(tmp_path):
    declare(tmp_path, 1, 2)
    score(tmp_path, FIRST, 1)
    score(tmp_path, SECOND, 2)
    remove_run(tmp_path, runs_in(tmp_path)[1])
    [note] = missing_notes(missing_seeds(tmp_path))
    assert note.endswith(f" and its result was removed; take it back: pgolf rm {SECOND} --restore")
    take_back(tmp_path, SECOND)
    assert missing(tmp_path) == []


def test_a_configuration_of_which_nothing_was_scored_is_told_apart(tmp_path):
    declare(tmp_path, 1, 2)
    declare(tmp_path, 1, 2, config=OTHER, recipe="mine")
    score(tmp_path, FIRST, 1)
    found = declared_seeds(tmp_path)
    assert [(one.recipe, one.seed) for one in found.without_any()] == [("mine", 1), ("mine", 2)]
    assert found.without_any("demo") == ()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "run it: pgolf run demo --seeds 2"),
        (
            {"changed": {"train.steps": 5, "score.ttt": {"kind": "lora"}, "compress.codec": "xz"}},
            'run it: pgolf run demo --set compress.codec=xz --set \'score.ttt={"kind":"lora"}\' --set train.steps=5 '
            "--seeds 2",
        ),
        ({"changed": dict.fromkeys("abcd", 1)}, "run it: pgolf run demo --seeds 2 with the 4 settings that were decl"),
        ({"recipe": "mine", "changed": {"a": 1}}, "run it: recipe mine with --seeds 2"),
        ({"base": ""}, "run it: recipe demo with --seeds 2"),
    ],
)
def test_a_missing_seed_says_when_it_was_declared_and_what_to_type(tmp_path, how, says):
    declare(tmp_path, 2, **how)
    [one] = missing_seeds(tmp_path)
    [note] = missing_notes([one])
    name = how.get("recipe", "demo")
    assert note.startswith(
        f"{name}: seed 2 was declared {one.declared_utc:%Y-%m-%d %H:%M} UTC and has no result; {says}"
    )
    declare(tmp_path, 7, 9, **how)
    assert "seeds 7, 9 were declared" in missing_notes([one for one in missing_seeds(tmp_path) if one.seed != 2])[0]


@pytest.mark.parametrize("content", [b"", b"PAR1" + b"x" * 400 + b"PAR1", "half"])
def test_a_damaged_declaration_is_an_error_that_names_its_file(tmp_path, content):
    declare(tmp_path, 1)
    [path] = (tmp_path / SEEDS.name).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for attempt in (lambda: declare(tmp_path, 2), lambda: declared_seeds(tmp_path)):
        with pytest.raises(ResultsError, match=path.name):
            attempt()
    path.unlink()
    row = {"recipe": "demo", "seed": 1, "config_key": KEY, "declared_utc": NOON, "changed": "[1"}
    append(tmp_path, SEEDS, "demo-x", [row])
    with pytest.raises(ResultsError, match="what the declaration of seed 1 of demo changes is no JSON object"):
        declared_seeds(tmp_path)


@pytest.fixture
def two_of_three(tmp_path):
    declare(tmp_path, 1, 2, 3)
    score(tmp_path, FIRST, 1, 2)
    return tmp_path


def test_every_table_shows_how_many_of_the_declared_seeds_a_mean_is_over(two_of_three):
    scores, declared = read(two_of_three, SCORES), declared_seeds(two_of_three)
    network = {"network": NEURAL}
    sheets = [*lists(scores, declared=declared).values(), means(scores, network, declared=declared)]
    sheets = [sheet for sheet in (*sheets, scorer_means(scores, declared=declared)) if sheet.rows]
    assert len(sheets) == 3
    for sheet in sheets:
        assert "2 of 3" in to_text(sheet)
        assert "| 2 of 3 |" in to_markdown(sheet)
        assert '"n": 2,' in to_json(sheet)
        assert '"n_declared": 3' in to_json(sheet)
        assert sheet.notes[0].startswith("demo: seed 3 was declared ")
        for width in (60, 80, 110):
            text = to_text(sheet, width)
            assert "2 of 3" in text
            assert "pgolf run demo" in " ".join(text.split())
            assert all(len(line) <= width for line in text.splitlines()), text
    seeds = seeds_side_by_side(scores, network, declared=declared)
    assert [row[1] for row in seeds.rows] == [1, 2, 3]
    assert to_text(seeds).splitlines()[4].split() == ["demo", "3", "–", "–", "–"]
    assert seeds.notes == sheets[0].notes[:1]
    score(two_of_three, SECOND, 3)
    scores, declared = read(two_of_three, SCORES), declared_seeds(two_of_three)
    assert " of 3" not in to_text(ranking(scores, declared=declared))


def test_without_a_declaration_tables_say_nothing_of_it(tmp_path):
    score(tmp_path, FIRST, 1, 2)
    scores = read(tmp_path, SCORES)
    assert declared_seeds(tmp_path, scores) is NOTHING_DECLARED
    assert ranking(scores, declared=NOTHING_DECLARED) == ranking(scores)
    assert '"n_declared": null' in to_json(ranking(scores))


def test_a_mean_that_leaves_out_a_seed_with_a_result_says_so_too(two_of_three):
    score(two_of_three, SECOND, 3, recipe_key="b" * 64)  # by other code
    scores, declared = read(two_of_three, SCORES), declared_seeds(two_of_three)
    text = to_text(ranking(scores, declared=declared))
    assert "2 of 3" in text
    assert "1 of 3" in text
    assert "has no result" not in text
    assert "declared, too: seed 3, with scores of another run" in text
    assert "declared, too: seeds 1, 2, with scores of another run" in text


def test_a_comparison_says_of_each_arm_which_seeds_are_missing(two_of_three):
    score(two_of_three, SECOND, 1, 2, config=OTHER, recipe="other", recipe_key="b" * 64)
    declare(two_of_three, 1, 2, 4, config=OTHER, recipe="other")
    score(two_of_three, "other-333333333333", 4, config=OTHER, recipe="other")
    scores, declared = read(two_of_three, SCORES), declared_seeds(two_of_three)
    arms = [arm_of(key, runs_in(two_of_three), scores, declared=declared) for key in (FIRST, SECOND)]
    assert arms[0].notes[-1].startswith("demo: seed 3 was declared ")
    assert arms[1].notes[-1] == "declared seed 4 of this configuration: scored in other runs"
    found = Compared(arms, compare_arms(arms[:1], arms[1], RECORD_RULE, {}), RECORD_RULE)
    assert [(arm["n_declared"], len(arm["missing_seeds"])) for arm in found.data()["arms"]] == [(3, 1), (3, 0)]
    assert found.data()["arms"][0]["missing_seeds"][0]["seed"] == 3
    assert "n = 2 of 3" in sentence(found.gains[0])
    sheet = seeds_sheet(arms, "token")
    assert sheet.rows[2][0] == "3"
    assert sheet.rows[2][1:] == (None, None)
    assert sheet.rows[-1] == ("n", "2 of 3", "2 of 3")
    alone = arm_of(FIRST, runs_in(two_of_three), scores)
    assert not any("seed" in note for note in alone.notes)
    assert alone.n == "2"


def test_a_filing_of_an_earlier_version_gives_way_to_one_that_says_its_configuration(tmp_path):
    declare(tmp_path, 1)
    score(tmp_path, SECOND, 1, config=None)
    assert missing(tmp_path) == [("demo", 1)]
    score(tmp_path, FIRST, 1)
    table = ranking(read(tmp_path, SCORES), declared=declared_seeds(tmp_path))
    assert dict(zip((column.name for column in table.columns), table.rows[0]))["n_declared"] == 1
