"""Tables of scores for people: seeds side by side, means with n and std, the ranking, and the legacy scores.

A *scorer* is one cell of a recipe's grid. The seeds of one mean share recipe, recipe_key and scorer. A scorer is ranked
only when every one of its seeds passes every gate (`pgolf.tables.gates`): leaving out just the seeds that fail would be
choosing seeds. Where a seed was run again, its newest row counts.

Every function here takes the scores of one validation text in one tokenization (`pgolf.tables.texts.by_text`) and
raises ResultsError for more; `same_text` alone compares tokenizers, in bits per byte of the same bytes. declared: the
seeds that were declared, so that a mean over fewer says so.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.stats.compare import RECORD_RULE, GainRule, compare_paired, compare_welch
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.tables.columns import moments_of
from pgolf.tables.declared_seeds import NOTHING_DECLARED, DeclaredSeeds, missing_notes
from pgolf.tables.fitting import NOT_LOOKED_FOR
from pgolf.tables.gates import AUDITED, DECLARED, GATES, OF_ANY_SCORER, RULESET, with_gates
from pgolf.tables.grouped import Groups, configurations, filing, grouped, mask
from pgolf.tables.schema import SCORER, SCORES
from pgolf.tables.sheet import Sheet, SheetColumn, Value
from pgolf.tables.texts import TEXT_COLUMNS, Text, across_tokenizers, text_of

_MAIN_SETTINGS = ("estimator", "mixer", "order", "alpha")
NEURAL: Mapping[str, Any] = {"estimator": "neural"}

# Less is not worth a note: 0.1 % of the text.
LEAST_SHARE_SHOWN = 0.0005

_GROUPED_BY = ("recipe", "recipe_key", *SCORER)
NEEDED = (
    *("recipe", "recipe_key", "seed", *SCORER, "loss_nats", "bpb", "mass_mean"),
    *(*(gate.column for gate in GATES.values()), "total_bytes", "started_utc", "run_key"),
    "dropped_share",
    *(*TEXT_COLUMNS, "bytes", "ruleset", "declared", "declared_utc", "config_key"),
)
_AUDIT_WAY = "not audited: a run of the recipe tries what it declares, and reuses all that is finished"
# So many lines about joined runs are shown; --json has all.
_JOINS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class ScorerResult:
    """One scorer of one recipe: its row for every seed, by seed.

    replaced: seed -> runs with another score of it, older than the one that counts.
    """

    recipe: str
    recipe_key: str | None
    scorer: tuple[Value, ...]
    by_seed: Mapping[int, Mapping[str, Any]]
    replaced: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def values(self, column: str) -> list[Any]:
        """The column's values that are there, in the order of seeds."""
        return [row[column] for _, row in sorted(self.by_seed.items()) if row[column] is not None]

    def summary(self, column: str) -> SeedSummary | None:
        """Mean, std and n; None where a seed has no value, since a mean over the others would say something else."""
        values = self.values(column)
        return summarize(values) if len(values) == len(self.by_seed) else None

    def gate(self, name: str) -> bool | None:
        """False if any seed fails it, else null if any seed is unjudged, else True; also of a column of flags."""
        found = {row[name] for row in self.by_seed.values()}
        return False if False in found else None if None in found else True

    @property
    def runs(self) -> dict[str, str]:
        """Seed -> the run that its row is from."""
        return {str(seed): row["run_key"] for seed, row in sorted(self.by_seed.items())}

    @property
    def config_keys(self) -> set[str]:
        """The configurations that its rows say they are of."""
        return {row["config_key"] for row in self.by_seed.values() if row["config_key"] is not None}

    @property
    def raw_sha256(self) -> str | None:
        """Digest of the raw text; None unless every seed's row says it."""
        found = {row["text_sha256"] for row in self.by_seed.values()}
        return found.pop() if len(found) == 1 else None

    @property
    def standing(self) -> str | None:
        """Whether it was declared, and when, at every seed; None where that was not recorded."""
        if self.scorer[SCORER.index("estimator")] == NEURAL["estimator"]:
            return "no choice"
        if self.gate(DECLARED):
            return "before scoring"
        declared = self.gate("declared")
        if declared:
            late = any(row[DECLARED] is False for row in self.by_seed.values())
            return "after scoring" if late else None
        return None if declared is None else "no"

    @property
    def declared_utc(self) -> datetime | None:
        """When it was declared; of several, the last."""
        moments = self.values("declared_utc")
        return max(moments, default=None)

    @property
    def rulesets(self) -> str | None:
        """The rule sets that its seeds were judged by."""
        return ", ".join(sorted(set(self.values("ruleset")))) or None

    def matches(self, selector: Mapping[str, Any]) -> bool:
        """Whether the scorer has exactly these settings, as far as they are given."""
        settings = dict(zip(SCORER, self.scorer), recipe=self.recipe, recipe_key=self.recipe_key)
        return all(settings[name] == value for name, value in selector.items())


def scorer_results(scores: pa.Table) -> list[ScorerResult]:
    """Score rows by recipe and scorer, in the order of first appearance; each seed by its newest score.

    Raises ResultsError for scores of several texts.
    """
    text_of(scores)
    return _results(scores)


def _results(scores: pa.Table) -> list[ScorerResult]:
    """`scorer_results` of some rows of one text, which may no longer say that it is one."""
    chosen = with_gates(scores.select(list(NEEDED)))
    # As a number: it only orders rows.
    started = chosen.column("started_utc").cast(pa.int64())
    chosen = chosen.set_column(chosen.column_names.index("started_utc"), "started_utc", started)
    declared = moments_of(chosen.column("declared_utc"))
    columns = (chosen.drop_columns("declared_utc").to_pylist(), declared, filing(scores).tolist())
    groups: dict[tuple[Any, ...], dict[int, list[Mapping[str, Any]]]] = {}
    for row, when, filed in zip(*columns):
        scorer = tuple(row[name] for name in SCORER)
        of_seed = groups.setdefault((row["recipe"], row["recipe_key"], scorer), {}).setdefault(row["seed"], [])
        of_seed.append({**row, "declared_utc": when, "filed": filed})
    results = []
    for (recipe, key, scorer), by_seed in groups.items():
        newest = {seed: _newest(of_seed) for seed, of_seed in by_seed.items()}
        other = {seed: _other_scores(of_seed, newest[seed]) for seed, of_seed in by_seed.items()}
        replaced = {seed: runs for seed, runs in other.items() if runs}
        results.append(ScorerResult(recipe, key, scorer, newest, replaced))
    return results


def _newest(of_seed: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of the newest score the filing that says most; a score without a time is the oldest.

    A score is the same where its loss is: another grid, or another headline, files it again.
    """
    latest: dict[float, float] = {}
    for row in of_seed:
        latest[row["loss_nats"]] = max(latest.get(row["loss_nats"], -math.inf), _moment(row))
    return max(of_seed, key=lambda row: (latest[row["loss_nats"]], row["filed"], _moment(row), row["run_key"]))


def _moment(row: Mapping[str, Any]) -> float:
    return -math.inf if row["started_utc"] is None else row["started_utc"]


def _other_scores(of_seed: Sequence[Mapping[str, Any]], newest: Mapping[str, Any]) -> list[str]:
    """The runs with another score than the one that counts."""
    return sorted({row["run_key"] for row in of_seed if row["loss_nats"] != newest["loss_nats"]})


def seeds_side_by_side(
    scores: pa.Table, scorers: Mapping[str, Mapping[str, Any]], *, declared: DeclaredSeeds = NOTHING_DECLARED
) -> Sheet:
    """One row per recipe and seed with the bits per byte of several scorers next to each other.

    scorers: heading -> settings that single out one scorer per recipe, e.g. {"neural": NEURAL,
    "exact": {"estimator": "exact", "mixer": "backoff", "order": 5, "alpha": 0.2}}. A declared seed without any result
    has a row without numbers.
    Raises ResultsError where settings fit several scorers, or name a column that is none of a scorer's.
    """
    results = scorer_results(scores)
    text = text_of(scores)
    label = _labels(_configurations(results))
    recipes = list(dict.fromkeys((result.recipe, result.recipe_key) for result in results))
    rows: list[tuple[Value, ...]] = []
    for recipe in recipes:
        own = [result for result in results if (result.recipe, result.recipe_key) == recipe]
        chosen = {heading: _single(own, heading, selector) for heading, selector in scorers.items()}
        found = [result for result in chosen.values() if result is not None]
        missing = {one.seed for one in declared.missing_of({key for result in found for key in result.config_keys})}
        empty: tuple[Value, ...] = (None,) * (3 + len(TEXT_COLUMNS) + len(scorers))
        for seed in sorted({seed for result in found for seed in result.by_seed} | missing):
            if not any(seed in result.by_seed for result in found):
                rows.append((label(own[0]), seed, *empty))
                continue
            rows_of_seed = [result.by_seed.get(seed) if result else None for result in chosen.values()]
            first: Mapping[str, Any] = next(row for row in rows_of_seed if row is not None)
            rows.append(
                (
                    label(own[0]),
                    seed,
                    ", ".join(dict.fromkeys(row["run_key"] for row in rows_of_seed if row is not None)),
                    *_text_cells(text, first["text_sha256"]),
                    *(row["bpb"] if row else None for row in rows_of_seed),
                    first["total_bytes"],
                    first["fits_budget"],
                )
            )
    columns = (
        SheetColumn("recipe", "recipe"),
        SheetColumn("seed", "seed"),
        SheetColumn("run_key", "run", shown=False),
        *_TEXT_COLUMNS,
        *(SheetColumn(f"{_word(heading)}_bpb", f"{heading} (bpb)", ".4f") for heading in scorers),
        SheetColumn("total_bytes", "total (B)", ",d"),
        SheetColumn("fits_budget", "fits budget"),
    )
    title = f"validation bits per byte by seed{f' on {text}' if text else ''}"
    chosen_ones = _chosen(results, scorers)
    lacking = _lacking(chosen_ones, label, declared)
    notes = (*lacking, *_cautions(results, scorers), *_joins(chosen_ones, label), *_dropped(results, label))
    return Sheet(title, columns, tuple(rows), notes)


def means(
    scores: pa.Table, scorers: Mapping[str, Mapping[str, Any]], *, declared: DeclaredSeeds = NOTHING_DECLARED
) -> Sheet:
    """The same scorers over their seeds: n, mean and sample std of bits per byte and of nats per token.

    Arguments and errors as for `seeds_side_by_side`.
    """
    results = scorer_results(scores)
    text = text_of(scores)
    label = _labels(_configurations(results))
    rows = []
    for recipe in dict.fromkeys((result.recipe, result.recipe_key) for result in results):
        own = [result for result in results if (result.recipe, result.recipe_key) == recipe]
        for heading, selector in scorers.items():
            if (result := _single(own, heading, selector)) is not None:
                about = _about(result, text, declared)
                gates = (result.gate("normalized"), _mass(result))
                rows.append((label(result), heading, *about, *_mean_cells(result), *gates))
    columns = (
        SheetColumn("recipe", "recipe"),
        SheetColumn("scorer", "scorer"),
        *_ABOUT,
        *_MEAN_COLUMNS,
        SheetColumn("normalized", "normalized"),
        SheetColumn("mass_mean", "mean mass", ".4g"),
    )
    chosen_ones = _chosen(results, scorers)
    lacking = _lacking(chosen_ones, label, declared)
    notes = (*lacking, *_cautions(results, scorers), *_joins(chosen_ones, label), *_dropped(results, label))
    return Sheet("mean over seeds", columns, tuple(rows), notes)


def scorer_means(scores: pa.Table, *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED) -> Sheet:
    """Every scorer over its seeds, whatever its gates say, lowest mean bits per byte first; not a ranking.

    top: only so many.
    """
    results = scorer_results(scores)
    text = text_of(scores)
    label = _labels(_configurations(results))
    shown = sorted(results, key=_mean_bpb)[:top]
    columns, settings = _scorer_columns(shown)
    rows = tuple(
        (
            label(result),
            *settings(result),
            *_about(result, text, declared),
            *_mean_cells(result),
            *(result.gate(gate) for gate in GATES),
            _mass(result),
        )
        for result in shown
    )
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
        *_ABOUT,
        *_MEAN_COLUMNS,
        *(SheetColumn(gate, gate.replace("_", " ")) for gate in GATES),
        SheetColumn("mass_mean", "mean mass", ".4g"),
    )
    cut = (f"the first {len(shown)} of {len(results)} scorers",) if len(shown) < len(results) else ()
    notes = (*cut, *_lacking(shown, label, declared), *_joins(shown, label), *_dropped(shown, label))
    return Sheet("mean over seeds, every scorer", headings, rows, notes)


def lists(scores: pa.Table, *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED) -> dict[str, Sheet]:
    """The sheets of `ranking`, `found_by_looking` and `legacy_scores` under their names, of one pass."""
    judged = _judged(scores, declared)
    return {
        "ranking": _ranking(judged, top),
        "found_by_looking": _found_by_looking(judged, top),
        "legacy": _legacy_scores(judged, top),
    }


@dataclass(frozen=True, slots=True)
class _Judged:
    """Scores of one text, grouped by scorer."""

    scores: pa.Table
    text: Text | None
    groups: Groups
    declared: DeclaredSeeds


def _judged(scores: pa.Table, declared: DeclaredSeeds = NOTHING_DECLARED) -> _Judged:
    groups = grouped(with_gates(scores), _GROUPED_BY, [*GATES, "declared"])
    return _Judged(scores, text_of(scores), groups, declared)


def ranking(scores: pa.Table, *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED) -> Sheet:
    """Scorers that pass every gate (`GATES`) at every seed, lowest mean bits per byte first.

    The notes say how many were left out, and at which gate. top: only so many.
    """
    return _ranking(_judged(scores, declared), top)


def _ranking(judged: "_Judged", top: int | None) -> Sheet:
    scores, text, groups = judged.scores, judged.text, judged.groups
    passing = _passing(groups, list(GATES))
    shown = _lowest(scores, groups, passing, top)
    columns, settings = _scorer_columns(shown)
    label = _labels(configurations(scores))
    rows = tuple(
        (
            place,
            label(result),
            *settings(result),
            *_about(result, text, judged.declared),
            *_mean_cells(result),
            max(result.values("total_bytes"), default=None),
        )
        for place, result in enumerate(shown, 1)
    )
    headings = (
        SheetColumn("rank", "rank"),
        SheetColumn("recipe", "recipe"),
        *columns,
        *_ABOUT,
        *_MEAN_COLUMNS,
        SheetColumn("largest_total_bytes", "largest total (B)", ",d", spare=NOT_LOOKED_FOR),
    )
    notes = [
        *_lacking(shown, label, judged.declared),
        *_left_out(groups, passing),
        *_not_audited(groups),
        *_joins(shown, label),
        *_older_rules(shown, label),
        *_dropped(shown, label),
    ]
    if len(shown) < passing.sum():
        notes.insert(0, f"the first {len(shown)} of {passing.sum()} ranked scorers")
    title = f"ranking: {', '.join(gate.passed for gate in GATES.values())}"
    return Sheet(title, headings, rows, tuple(notes))


def found_by_looking(scores: pa.Table, *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED) -> Sheet:
    """Scorers that pass every gate but were not declared before scoring; not a ranking.

    Headlines declared later come first, then cells of grids, each by mean bits per byte. top: only so many.
    """
    return _found_by_looking(_judged(scores, declared), top)


def _found_by_looking(judged: "_Judged", top: int | None) -> Sheet:
    scores, text, groups = judged.scores, judged.text, judged.groups
    chosen = _passing(groups, OF_ANY_SCORER) & (groups.gates[DECLARED] != 1) & (groups.gates[AUDITED] != 0)
    shown = _declared_first(scores, groups, chosen, top)
    columns, settings = _scorer_columns(shown)
    label = _labels(configurations(scores))
    rows = tuple(
        (
            label(result),
            *settings(result),
            *_about(result, text, judged.declared),
            result.standing,
            *_mean_cells(result),
        )
        for result in shown
    )
    headings = (SheetColumn("recipe", "recipe"), *columns, *_ABOUT, _STANDING, *_MEAN_COLUMNS)
    notes = ["not ranked: the best of many cells on a text is chosen by the scores it would be judged by"]
    if len(shown) < chosen.sum():
        notes.insert(0, f"the first {len(shown)} of {chosen.sum()} scorers that were not declared before scoring")
    notes += _lacking(shown, label, judged.declared)
    notes += [*_late(shown, label, settings), *_joins(shown, label), *_older_rules(shown, label)]
    notes += _dropped(shown, label)
    return Sheet("found by looking at the scores", headings, rows, tuple(notes) if rows else ())


def legacy_scores(scores: pa.Table, *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED) -> Sheet:
    """Scorers that are no distribution over the vocabulary, each with the total mass it gives; not a ranking.

    Declared headlines first, then by mean bits per byte. top: only so many.
    """
    return _legacy_scores(_judged(scores, declared), top)


def _legacy_scores(judged: "_Judged", top: int | None) -> Sheet:
    scores, text, groups = judged.scores, judged.text, judged.groups
    legacy = groups.gates["normalized"] == 0
    shown = _declared_first(scores, groups, legacy, top)
    columns, settings = _scorer_columns(shown)
    label = _labels(configurations(scores.filter(mask(legacy[groups.of_row]))))
    rows = tuple(
        (
            label(result),
            *settings(result),
            *_about(result, text, judged.declared),
            result.standing,
            *_mean_cells(result),
            _mass(result),
        )
        for result in shown
    )
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
        *_ABOUT,
        _STANDING,
        *_MEAN_COLUMNS,
        SheetColumn("mass_mean", "mean mass", ".4g"),
    )
    notes = ["legacy: the probabilities sum to the mean mass, not to 1, so these are not code lengths"]
    for gate in ("causal", "bytes_verified"):
        if failing := sorted({label(result) for result in shown if result.gate(gate) is False}):
            notes.append(f"{', '.join(failing)}: {GATES[gate].caution}")
    notes += _dropped(shown, label)
    if len(shown) < legacy.sum():
        notes.insert(0, f"the first {len(shown)} of {legacy.sum()} legacy scorers")
    notes[-1:-1] = [
        *_lacking(shown, label, judged.declared),
        *_late(shown, label, settings),
        *_joins(shown, label),
        *_older_rules(shown, label),
    ]
    return Sheet("legacy scores", headings, rows, tuple(notes) if rows else ())


def same_text(
    tables: Iterable[tuple[Text, pa.Table]], *, top: int | None = None, declared: DeclaredSeeds = NOTHING_DECLARED
) -> list[Sheet]:
    """Ranked scorers of one raw text under several tokenizers, by mean bits per byte; a sheet per such text.

    tables: as from `by_text`. Only scorers whose targets stand for equally many bytes share a sheet; where tokenizers
    agree on no such number there are no rows, and the note says so. top: only so many rows per sheet.
    """
    of_text = list(tables)
    sheets = []
    for raw, texts in across_tokenizers([text for text, _ in of_text]).items():
        # Rows that do not say which text they are of may share a list with some that do.
        found = [
            (text, result)
            for text, table in of_text
            if text in texts
            for result in _ranked(table)
            if result.raw_sha256 == raw
        ]
        if len({text.tokenization for text, _ in found}) < 2:
            continue
        by_bytes: dict[int, list[tuple[Text, ScorerResult]]] = {}
        for text, result in found:
            counted = set(result.values("bytes"))
            if len(counted) == 1:
                by_bytes.setdefault(counted.pop(), []).append((text, result))
        comparable = {n: these for n, these in by_bytes.items() if len({text for text, _ in these}) > 1}
        title = f"one text (raw {raw[:12]}) under {len({text.tokenization for text in texts})} tokenizers"
        if not comparable:
            listed = " and ".join(f"{n:,}" for n in sorted(by_bytes)) or "unknown numbers of"
            note = f"not compared: their scored targets stand for {listed} bytes, which must be the same"
            sheets.append(Sheet(title, (), (), (note,)))
        sheets += [_across(title, n, these, top, declared) for n, these in sorted(comparable.items())]
    return sheets


def _across(
    title: str,
    text_bytes: int,
    found: Sequence[tuple[Text, ScorerResult]],
    top: int | None,
    declared: DeclaredSeeds,
) -> Sheet:
    ordered = sorted(found, key=lambda each: _mean_bpb(each[1]))[:top]
    results = [result for _, result in ordered]
    columns, settings = _scorer_columns(results)
    label = _labels(_configurations(result for _, result in found))
    rows = tuple(
        (
            place,
            label(result),
            text.name,
            text.tokenizer_sha256,
            *settings(result),
            *_about(result, text, declared)[len(TEXT_COLUMNS) :],
            text.val_sha256,
            text.raw_sha256,
            text_bytes,
            *_mean_cells(result)[:3],
        )
        for place, (text, result) in enumerate(ordered, 1)
    )
    headings = (
        SheetColumn("rank", "rank"),
        SheetColumn("recipe", "recipe"),
        SheetColumn("data_name", "data"),
        SheetColumn("tokenizer_sha256", "tokenizer"),
        *columns,
        *_ABOUT[len(TEXT_COLUMNS) :],
        SheetColumn("val_sha256", "tokens", shown=False),
        SheetColumn("text_sha256", "text", shown=False),
        SheetColumn("bytes", "bytes", ",d", shown=False),
        *_MEAN_COLUMNS[:3],
    )
    notes = [
        f"bits per byte of the same {text_bytes:,} raw bytes may be compared across tokenizers; nats per token may not"
    ]
    if len(ordered) < len(found):
        notes.insert(0, f"the first {len(ordered)} of {len(found)} ranked scorers")
    return Sheet(title, headings, rows, (*notes, *_lacking(results, label, declared), *_joins(results, label)))


def gains(
    scores: pa.Table,
    base: Mapping[str, Any] = NEURAL,
    *,
    test: Literal["welch", "paired"] = "welch",
    rule: GainRule = RECORD_RULE,
    top: int | None = None,
    declared: DeclaredSeeds = NOTHING_DECLARED,
) -> Sheet:
    """How far each rankable scorer is below a base in nats per token, with the one-sided p that it exceeds the margin.

    base: settings of one scorer; without a "recipe", each recipe's own. test: "paired" where both ran the same seeds.
    Cells of a grid are tested too, and the column `declared` tells which were not declared before scoring.
    Raises ResultsError where the settings fit no scorer or several.
    """
    results = scorer_results(scores)
    text = text_of(scores)
    label = _labels(_configurations(results))
    passing = [
        result
        for result in results
        if all(map(result.gate, OF_ANY_SCORER)) and result.gate(AUDITED) is not False and result.summary("bpb")
    ]
    passing.sort(key=_mean_bpb)
    bases = {
        name: _base(results, base if "recipe" in base else {"recipe": name[0], "recipe_key": name[1], **base})
        for name in dict.fromkeys((result.recipe, result.recipe_key) for result in passing)
    }
    candidates = [result for result in passing if result is not bases[result.recipe, result.recipe_key]]
    compared = []
    for result in candidates[:top]:
        candidate, against = _losses(result, rule), _losses(bases[result.recipe, result.recipe_key], rule)
        if test == "paired":
            compared.append((result, compare_paired(candidate, against, rule=rule)))
        else:
            compared.append((result, compare_welch(candidate.values(), against.values(), rule=rule)))
    columns, settings = _scorer_columns([result for result, _ in compared])
    rows = tuple(
        (
            label(result),
            *settings(result),
            *_about(result, text, declared),
            result.standing,
            *(found.candidate.n, found.base.n, found.gain_nats, found.t, found.df, found.p),
        )
        for result, found in compared
    )
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
        *_ABOUT,
        _STANDING,
        SheetColumn("n", "n", "d", of="n_declared"),
        SheetColumn("base_n", "base n", "d"),
        SheetColumn("gain_nats", f"gain (nats/{rule.per})", ".5f"),
        SheetColumn("t", "t", ".3f"),
        SheetColumn("df", "df", ".2f"),
        SheetColumn("p", f"p(gain > {rule.margin_nats:g})", ".3g"),
    )
    notes = (
        f"gain: mean loss of {_settings_text(base)} minus this scorer's; "
        f"{test} t test, one-sided, margin {rule.margin_nats:g} {rule.unit}",
        f"rule: {rule.source}",
        "p holds for a scorer named before its scores were seen; the best of a grid is chosen by them",
    )
    involved = [*(result for result, _ in compared), *bases.values()]
    joins = [*_lacking(involved, label, declared), *_joins(involved, label)]
    dropped = _dropped([result for result, _ in compared], label)
    return Sheet("gain over the base", headings, rows, (*notes, *joins, *dropped) if rows else ())


_TEXT_COLUMNS = tuple(SheetColumn(name, name, shown=False) for name in TEXT_COLUMNS)
_STANDING = SheetColumn("declared", "declared")
# What titles and notes tell a reader, and machines find in every row.
_ABOUT = (
    *_TEXT_COLUMNS,
    SheetColumn("runs", "runs", shown=False),
    SheetColumn("ruleset", "ruleset", shown=False),
    SheetColumn("declared_utc", "declared (UTC)", shown=False),
    SheetColumn("declared_before_scoring", "declared before scoring", shown=False),
    SheetColumn("n_declared", "seeds declared", shown=False),
)
_MEAN_COLUMNS = (
    SheetColumn("n", "n", "d", spare=-1, of="n_declared"),
    SheetColumn("mean_bpb", "mean (bpb)", ".4f", spare=-2),
    SheetColumn("std_bpb", "std (bpb)", ".4f", spare=-1),
    SheetColumn("mean_loss_nats", "mean (nats/token)", ".5f", spare=NOT_LOOKED_FOR),
    SheetColumn("std_loss_nats", "std (nats/token)", ".5f", spare=NOT_LOOKED_FOR),
)


def _text_cells(text: Text | None, raw_sha256: str | None) -> tuple[Value, ...]:
    """The cells of `_TEXT_COLUMNS`. raw_sha256: by the rows, not all of which need say it."""
    return tuple((text.facts | {"text_sha256": raw_sha256}).values()) if text else (None,) * len(TEXT_COLUMNS)


def _about(result: ScorerResult, text: Text | None, declared: DeclaredSeeds) -> tuple[Value, ...]:
    """The cells of `_ABOUT`."""
    before = {row["declared_before_scoring"] for row in result.by_seed.values()}
    verdict = False if False in before else None if None in before else True
    declaration = result.declared_utc, verdict, declared.count(result.config_keys, result.by_seed)
    return *_text_cells(text, result.raw_sha256), result.runs, result.rulesets, *declaration


def _mean_cells(result: ScorerResult) -> tuple[Value, ...]:
    bpb, loss = result.summary("bpb"), result.summary("loss_nats")
    return (
        len(result.by_seed),
        bpb.mean if bpb else None,
        bpb.std if bpb else None,
        loss.mean if loss else None,
        loss.std if loss else None,
    )


def _mass(result: ScorerResult) -> float | None:
    summary = result.summary("mass_mean")
    return summary.mean if summary else None


def _mean_bpb(result: ScorerResult) -> float:
    """Sorts scorers; those without bits per byte come last."""
    summary = result.summary("bpb")
    return summary.mean if summary else math.inf


def _losses(result: ScorerResult, rule: GainRule) -> dict[int, float]:
    """Seed -> loss in the rule's unit."""
    if rule.per == "byte":
        return {seed: row["bpb"] * math.log(2) for seed, row in result.by_seed.items()}
    return {seed: row["loss_nats"] for seed, row in result.by_seed.items()}


def _passing(groups: Groups, gates: Sequence[str]) -> npt.NDArray[np.bool_]:
    """The scorers that have a mean and pass these gates at every seed."""
    passing = ~np.isnan(groups.mean_bpb)
    for gate in gates:
        passing &= groups.gates[gate] == 1
    return passing


def _ranked(scores: pa.Table) -> list[ScorerResult]:
    """All ranked scorers of one text."""
    groups = _judged(scores).groups
    return _lowest(scores, groups, _passing(groups, list(GATES)), None)


def _declared_first(
    scores: pa.Table, groups: Groups, chosen: npt.NDArray[np.bool_], top: int | None
) -> list[ScorerResult]:
    """The chosen scorers that are declared, whenever that was, then the others, each by mean; `top` of them in all."""
    is_declared = groups.gates["declared"] == 1
    first = _lowest(scores, groups, chosen & is_declared, top)
    return first + _lowest(scores, groups, chosen & ~is_declared, None if top is None else top - len(first))


def _lowest(scores: pa.Table, groups: Groups, chosen: npt.NDArray[np.bool_], top: int | None) -> list[ScorerResult]:
    """The `top` of the chosen scorers with the lowest mean bits per byte."""
    return sorted(_results(scores.filter(mask(groups.lowest(chosen, top)))), key=_mean_bpb)[:top]


def _configurations(results: Iterable[ScorerResult]) -> Mapping[str, int]:
    """Recipe -> how many configurations stand behind the name."""
    return Counter(recipe for recipe, _ in {(result.recipe, result.recipe_key) for result in results})


def _labels(keys: Mapping[str, int]) -> Callable[[ScorerResult], str]:
    """A recipe's name, with the start of its key where one name stands for several configurations."""

    def label(result: ScorerResult) -> str:
        return result.recipe if keys[result.recipe] < 2 else f"{result.recipe}@{(result.recipe_key or '?')[:8]}"

    return label


def _scorer_columns(
    results: Sequence[ScorerResult],
) -> tuple[tuple[SheetColumn, ...], Callable[[ScorerResult], tuple[Value, ...]]]:
    """The settings worth a column: the main four where any scorer has them, others where they tell scorers apart."""

    def place(name: str) -> int:
        return SCORER.index(name)

    names = [name for name in _MAIN_SETTINGS if any(r.scorer[place(name)] is not None for r in results)]
    for name in SCORER:
        if name in _MAIN_SETTINGS:
            continue
        told_apart = {(r.recipe, r.recipe_key, *(r.scorer[place(n)] for n in names)) for r in results}
        with_it = {(r.recipe, r.recipe_key, *(r.scorer[place(n)] for n in (*names, name))) for r in results}
        if len(with_it) > len(told_apart):
            names.append(name)
    places = [place(name) for name in names]
    columns = tuple(SheetColumn(name, name.replace("_nats", " (nats)").replace("_", " ")) for name in names)
    return columns, lambda result: tuple(result.scorer[place] for place in places)


def _word(heading: str) -> str:
    """A heading as part of a column's name, which programs use as a key: honest_exact_backoff."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", heading).strip("_")


def _single(results: Iterable[ScorerResult], heading: str, selector: Mapping[str, Any]) -> ScorerResult | None:
    for name in selector:
        if name not in (*SCORER, "recipe", "recipe_key"):
            SCORES.column(name)
            raise ResultsError(
                f"{heading}: {name} is a result, not a setting of a scorer; those are {', '.join(SCORER)}"
            )
    found = [result for result in results if result.matches(selector)]
    if len(found) > 1:
        alike = "; ".join(_settings_text(dict(zip(SCORER, result.scorer))) for result in found[:3])
        raise ResultsError(
            f"{heading}: {len(found)} scorers are {_settings_text(selector)}, e.g. {alike}; name one by more settings"
        )
    return found[0] if found else None


def _base(results: Iterable[ScorerResult], selector: Mapping[str, Any]) -> ScorerResult:
    found = _single(results, "the base", selector)
    if found is None:
        raise ResultsError(f"no scorer is {_settings_text(selector)}, so there is nothing to compare with")
    return found


def _settings_text(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items() if value is not None)


def _left_out(groups: Groups, passing: npt.NDArray[np.bool_]) -> list[str]:
    """How many scorers are not ranked, by the first gate that stopped them."""
    why: list[tuple[int, str]] = []
    going_on = np.ones(passing.size, bool)
    for name, gate in GATES.items():
        judged = groups.gates[name]
        why.append((int((going_on & (judged == 0)).sum()), gate.failed))
        why.append((int((going_on & (judged == -1)).sum()), gate.unjudged or f"not judged whether {gate.passed}"))
        going_on &= judged == 1
    why.append((int((going_on & np.isnan(groups.mean_bpb)).sum()), "without bits per byte"))
    if not (~passing).any():
        return []
    return [f"left out: {(~passing).sum()} scorers ({', '.join(f'{n} {text}' for n, text in why if n)})"]


def _not_audited(groups: Groups) -> list[str]:
    """What to do where only the trial is missing."""
    others = _passing(groups, [*OF_ANY_SCORER, DECLARED])
    return [_AUDIT_WAY] if (others & (groups.gates[AUDITED] == -1)).any() else []


def _dropped(results: Iterable[ScorerResult], label: Callable[[ScorerResult], str]) -> tuple[str, ...]:
    """Of which recipes' texts normalization drops a part that is worth a note."""
    largest: dict[str, float] = {}
    for result in results:
        share = max(result.values("dropped_share"), default=0.0)
        largest[label(result)] = max(share, largest.get(label(result), 0.0))
    return tuple(
        f"{recipe}: normalization drops {share:.1%} of the text's bytes, which no token holds; they count in bits/byte"
        for recipe, share in largest.items()
        if share >= LEAST_SHARE_SHOWN
    )


def _chosen(results: Sequence[ScorerResult], scorers: Mapping[str, Mapping[str, Any]]) -> list[ScorerResult]:
    return [result for result in results if any(result.matches(selector) for selector in scorers.values())]


def _joins(results: Iterable[ScorerResult], label: Callable[[ScorerResult], str]) -> list[str]:
    """Which run each seed came from where a mean joins several, and where a seed was scored again differently."""
    found: Counter[str] = Counter()
    for result in results:
        by_run: dict[str, list[str]] = {}
        for seed, run in result.runs.items():
            by_run.setdefault(run, []).append(seed)
        if len(by_run) > 1:
            seeds = "; ".join(
                f"seed{'s' if len(of) > 1 else ''} {', '.join(of)} from {run}" for run, of in by_run.items()
            )
            found[f"{label(result)} joins {len(by_run)} runs: {seeds}"] += 1
        for again, other in sorted(result.replaced.items()):
            counts = result.by_seed[again]["run_key"]
            found[f"{label(result)} seed {again}: the newest score counts, from {counts}, not {', '.join(other)}"] += 1
    lines = [f"{line} ({count} scorers)" if count > 1 else line for line, count in found.items()]
    hidden = len(lines) - _JOINS_SHOWN
    return [
        *lines[:_JOINS_SHOWN],
        *([f"{hidden} more such notes; --json has the run of every seed"] if hidden > 0 else []),
    ]


def _lacking(
    results: Iterable[ScorerResult], label: Callable[[ScorerResult], str], declared: DeclaredSeeds
) -> list[str]:
    """Which declared seeds have no result, and which have one that a mean here does not hold."""
    keys: dict[str, set[str]] = {}
    elsewhere: dict[str, set[int]] = {}
    for result in results:
        of_result, name = result.config_keys, label(result)
        keys.setdefault(name, set()).update(of_result)
        missing = {one.seed for one in declared.missing_of(of_result)}
        elsewhere.setdefault(name, set()).update(declared.seeds_of(of_result) - missing - set(result.by_seed))
    lines = [note for name, found in keys.items() for note in missing_notes(declared.missing_of(found), name)]
    lines += [
        f"{name}: declared, too: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}, with scores "
        "of another run, code or grid, or left out by a filter, that are not in every mean here"
        for name, seeds in elsewhere.items()
        if seeds
    ]
    hidden = len(lines) - _JOINS_SHOWN
    more = [f"{hidden} more such notes; `pgolf results --table seeds` has every declared seed"] if hidden > 0 else []
    return [*lines[:_JOINS_SHOWN], *more]


def _late(
    results: Iterable[ScorerResult],
    label: Callable[[ScorerResult], str],
    settings: Callable[[ScorerResult], tuple[Value, ...]],
) -> list[str]:
    """When headlines were declared that were declared after scoring, and what a dash stands for."""
    notes, unknown = [], 0
    for result in results:
        unknown += result.standing is None
        if result.standing == "after scoring":
            named = " ".join(str(value) for value in settings(result) if value is not None)
            when = f"{result.declared_utc:%Y-%m-%d %H:%M:%S} UTC" if result.declared_utc else "at an unknown time"
            notes.append(f"{label(result)} {named}: declared {when}, after scores of this text were there")
    if unknown:
        notes.append("declared –: not recorded; a run of the recipe records it")
    return notes


def _older_rules(results: Iterable[ScorerResult], label: Callable[[ScorerResult], str]) -> list[str]:
    """Which scorers were judged by other rules than today's, and when those are of."""
    found: dict[str, Counter[str]] = {}
    for result in results:
        if result.rulesets != RULESET:
            found.setdefault(result.rulesets or "rules that were not recorded", Counter())[label(result)] += 1
    return [
        f"judged by {rules}, not by {RULESET}: {', '.join(f'{name} ({n})' for name, n in by_label.items())}; "
        "a run of the recipe judges them again"
        for rules, by_label in found.items()
    ]


def _cautions(results: Sequence[ScorerResult], scorers: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Which of the headings are no code lengths of unseen text, or are not ranked, and why."""

    def failing(gate: str) -> str:
        return ", ".join(
            heading
            for heading, selector in scorers.items()
            if any(result.gate(gate) is False for result in results if result.matches(selector))
        )

    return tuple(
        f"{headings}: {gate.caution}" for name, gate in GATES.items() if gate.caution and (headings := failing(name))
    )
