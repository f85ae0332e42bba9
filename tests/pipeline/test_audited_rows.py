"""A run tries its own scorers before they may be ranked, and rows, tables, comparisons and exports ask for that."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import pgolf.audit.run_scorers as run_scorers
from pgolf.compare.arms import NOT_AUDITED, Arm, arm_of, scorer_asked
from pgolf.errors import ResultsError
from pgolf.pipeline.arms_on_trial import on_trial
from pgolf.pipeline.build import build_all
from pgolf.pipeline.declared import declare
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.pipeline.listen import Silence
from pgolf.pipeline.outcome import Outcome, outcome_of
from pgolf.pipeline.run_outputs import Workshop
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.ranked import found_by_looking, ranking
from pgolf.tables.schema import SCORES
from tests.tiny import ALL_MIXERS, SEEDS, tiny_recipe, write_documents


@dataclass
class Home:
    """A store and tables."""

    folder: Path
    sources: Sources

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def run(self, *overrides: str) -> tuple[Outcome, list[str]]:
        """A recipe's run, filed; and what was built for it."""
        recipe = tiny_recipe(*ALL_MIXERS, *overrides)
        declare(recipe, self.results)
        nodes = pipeline(recipe, self.sources)
        store = Store(self.folder / "store")
        before = {record.key_digest for record in store.records()}
        artifacts = build_all(nodes, store, Memo(self.folder / "memo"), RunOptions())
        built = [name for name, one in artifacts.items() if one.record.key_digest not in before]
        outcome = outcome_of(recipe, nodes, artifacts, self.results)
        outcome.file(self.results)
        return outcome, built

    def scores(self):
        return read(self.results, SCORES)


@pytest.fixture(scope="module")
def tried(tmp_path_factory) -> Home:
    folder = tmp_path_factory.mktemp("tried")
    home = Home(folder, write_documents(folder))
    home.run()
    return home


@pytest.fixture
def cheating(tmp_path, monkeypatch) -> Home:
    """A home whose mixtures hand out five percent too much."""
    honest = run_scorers.probabilities

    def generous(*args, **options):
        return 1.05 * honest(*args, **options)

    monkeypatch.setattr(run_scorers, "probabilities", generous)
    return Home(tmp_path, write_documents(tmp_path))


def ranked(home: Home) -> list[str]:
    """Estimators of the ranked scorers, the best first."""
    sheet = ranking(home.scores())
    place = [column.name for column in sheet.columns].index("estimator") if sheet.rows else 0
    return [str(row[place]) for row in sheet.rows]


def audited(home: Home) -> dict[tuple[str, str | None, bool], set[bool | None]]:
    """Estimator, mixer and whether it is declared -> what the rows say."""
    found: dict[tuple[str, str | None, bool], set[bool | None]] = {}
    for row in home.scores().to_pylist():
        what = (row["estimator"], row["mixer"], row["declared"] is not False)
        found.setdefault(what, set()).add(row["audited"])
        assert (row["audit_id"] is None) == (row["audited"] is None)
    return found


def test_rows_of_every_seed_say_what_the_trial_of_the_first_found(tried):
    found = audited(tried)
    assert found.pop(("neural", None, True)) == {True}
    assert found.pop(("exact", "backoff", True)) == {True}
    assert set.union(*found.values()) == {None}
    rows = [row for row in tried.scores().to_pylist() if row["audited"]]
    assert {row["seed"] for row in rows} == set(SEEDS)
    (audit_id,) = {row["audit_id"] for row in rows}
    assert (tried.folder / "store" / audit_id / "verdicts.json").is_file()


def test_what_was_tried_and_declared_is_ranked_and_other_cells_are_found_by_looking(tried):
    scores = tried.scores()
    assert ranked(tried) == ["exact", "neural"]
    assert len(found_by_looking(scores).rows) > 5


def test_another_grid_around_the_headline_is_tried_by_nobody_again(tried):
    _, built = tried.run("mix.alphas=0.1,0.2,0.4")
    assert {name.partition("[")[0] for name in built} == {"mix"}


def test_a_mixture_that_hands_out_too_much_is_accused_by_its_own_run_whatever_another_says(cheating, monkeypatch):
    outcome, _ = cheating.run("seeds=1")
    found = audited(cheating)
    assert found["neural", None, True] == {True}
    assert found["exact", "backoff", True] == {False}
    scores = cheating.scores()
    sheet = ranking(scores)
    assert ranked(cheating) == ["neural"]
    assert any("1 not passed by the audit" in note for note in sheet.notes)
    assert "audit: exact backoff fails: B3 normalization" in outcome.text()
    assert "its rows are marked and not ranked" in outcome.text()
    with pytest.raises(ResultsError, match="not passed by the audit"):
        arm_of(outcome.run_key, runs_in(cheating.results), scores)
    assert [one["outcome"] for one in outcome.data()["audit"]["scorers"]] == ["pass", "fail"]
    monkeypatch.undo()
    _, built = cheating.run("seeds=1", "audit.targets=300")
    assert built == ["audit[1]"]
    assert ranked(cheating) == ["neural"]


def test_a_run_without_a_trial_ranks_nothing_until_one_is_made(tmp_path):
    home = Home(tmp_path, write_documents(tmp_path))
    outcome, _ = home.run("seeds=1", "audit=null")
    assert "not audited" in outcome.text()
    sheet = ranking(home.scores())
    assert not sheet.rows
    assert any("2 not audited" in note for note in sheet.notes)
    assert any(note.startswith("not audited: a run of the recipe") for note in sheet.notes)
    arm = arm_of(outcome.run_key, runs_in(home.results), home.scores())
    assert "not ranked: not audited" in arm.notes
    _, built = home.run("seeds=1")
    assert built == ["audit[1]"]
    assert ranked(home) == ["exact", "neural"]


def test_undecided_is_no_pass(tmp_path, monkeypatch):
    home = Home(tmp_path, write_documents(tmp_path))
    draw = np.random.default_rng(3)
    honest = run_scorers.RunScorers.losses

    def noisy(self, tokens, evaluation=0):
        return np.maximum(honest(self, tokens, evaluation) + draw.normal(0, 0.5, (len(tokens) - 1, 1)), 0)

    monkeypatch.setattr(run_scorers.RunScorers, "losses", noisy)
    outcome, _ = home.run("seeds=1", "estimators=exact")
    assert {one["outcome"] for one in outcome.data()["audit"]["scorers"]} & {"pass"} == set()
    assert not ranking(home.scores()).rows


def test_what_is_compared_and_was_not_tried_is_tried_then(tried, monkeypatch):
    def arm(scorer: str) -> Arm:
        runs = runs_in(tried.results)
        return arm_of(runs[0].key, runs, tried.scores(), scorer=scorer_asked(scorer))

    store, memo = Store(tried.folder / "store"), Memo(tried.folder / "memo")
    shop = Workshop(store=store, memo=memo, run=RunOptions(), listener=Silence(), results=tried.results)
    asked = arm("estimator=exact mixer=fixed order=2 alpha=0.2")
    assert NOT_AUDITED in asked.notes
    (found,) = on_trial([asked], shop)
    assert NOT_AUDITED not in found.notes
    assert any(note.startswith("audited now (quick, audit-") for note in found.notes)
    honest = run_scorers.probabilities
    monkeypatch.setattr(run_scorers, "probabilities", lambda *given, **options: 1.05 * honest(*given, **options))
    with pytest.raises(ResultsError, match=r"exact fixed fails: B3 .* is compared with nothing"):
        on_trial([arm("estimator=exact mixer=fixed order=3 alpha=0.2")], shop)
