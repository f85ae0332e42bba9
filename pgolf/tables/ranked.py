"""Tables of scores for people: seeds side by side, means with n and std, the ranking, and the legacy scores.

A *scorer* is one cell of a recipe's grid. The seeds of one mean share recipe, recipe_key and scorer. A scorer is ranked
only when every one of its seeds passes every gate (`pgolf.tables.gates`): leaving out just the seeds that fail would be
choosing seeds. Where a seed was run again, its newest row counts.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.stats.compare import RECORD_RULE, GainRule, compare_paired, compare_welch
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.tables.gates import GATES, with_gates
from pgolf.tables.grouped import Groups, configurations, grouped, mask
from pgolf.tables.schema import SCORER, SCORES
from pgolf.tables.sheet import Sheet, SheetColumn, Value

_MAIN_SETTINGS = ("estimator", "mixer", "order", "alpha")
NEURAL: Mapping[str, Any] = {"estimator": "neural"}

# Less is not worth a note: 0.1 % of the text.
LEAST_SHARE_SHOWN = 0.0005

_GROUPED_BY = ("recipe", "recipe_key", *SCORER)
NEEDED = (
    *("recipe", "recipe_key", "seed", *SCORER, "loss_nats", "bpb", "mass_mean"),
    *(*(gate.column for gate in GATES.values()), "total_bytes", "started_utc", "run_key"),
    "dropped_share",
)


@dataclass(frozen=True, slots=True)
class ScorerResult:
    """One scorer of one recipe: its row for every seed, by seed."""

    recipe: str
    recipe_key: str | None
    scorer: tuple[Value, ...]
    by_seed: Mapping[int, Mapping[str, Any]]

    def values(self, column: str) -> list[Any]:
        """The column's values that are there, in the order of seeds."""
        return [row[column] for _, row in sorted(self.by_seed.items()) if row[column] is not None]

    def summary(self, column: str) -> SeedSummary | None:
        """Mean, std and n; None where a seed has no value, since a mean over the others would say something else."""
        values = self.values(column)
        return summarize(values) if len(values) == len(self.by_seed) else None

    def gate(self, name: str) -> bool | None:
        """False if any seed fails it, else null if any seed is unjudged, else True."""
        found = {row[name] for row in self.by_seed.values()}
        return False if False in found else None if None in found else True

    def matches(self, selector: Mapping[str, Any]) -> bool:
        """Whether the scorer has exactly these settings, as far as they are given."""
        settings = dict(zip(SCORER, self.scorer), recipe=self.recipe, recipe_key=self.recipe_key)
        return all(settings[name] == value for name, value in selector.items())


def scorer_results(scores: pa.Table) -> list[ScorerResult]:
    """Score rows by recipe and scorer, in the order of first appearance; each seed by its newest row."""
    chosen = with_gates(scores.select(list(NEEDED)))
    # As a number: it only orders rows, and a datetime would ask for a time zone file.
    started = chosen.column("started_utc").cast(pa.int64())
    rows = chosen.set_column(chosen.column_names.index("started_utc"), "started_utc", started).to_pylist()
    rows.sort(key=_age)
    groups: dict[tuple[Any, ...], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        scorer = tuple(row[name] for name in SCORER)
        groups.setdefault((row["recipe"], row["recipe_key"], scorer), {})[row["seed"]] = row
    return [ScorerResult(recipe, key, scorer, by_seed) for (recipe, key, scorer), by_seed in groups.items()]


def _age(row: Mapping[str, Any]) -> tuple[bool, int, str]:
    """Sorts rows from old to new; a row without a time is the oldest."""
    return row["started_utc"] is not None, row["started_utc"] or 0, row["run_key"]


def seeds_side_by_side(scores: pa.Table, scorers: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """One row per recipe and seed with the bits per byte of several scorers next to each other.

    scorers: heading -> settings that single out one scorer per recipe, e.g. {"neural": NEURAL,
    "exact": {"estimator": "exact", "mixer": "backoff", "order": 5, "alpha": 0.2}}.
    Raises ResultsError where settings fit several scorers, or name a column that is none of a scorer's.
    """
    results = scorer_results(scores)
    label = _labels(_configurations(results))
    recipes = list(dict.fromkeys((result.recipe, result.recipe_key) for result in results))
    rows = []
    for recipe in recipes:
        own = [result for result in results if (result.recipe, result.recipe_key) == recipe]
        chosen = {heading: _single(own, heading, selector) for heading, selector in scorers.items()}
        found = [result for result in chosen.values() if result is not None]
        for seed in sorted({seed for result in found for seed in result.by_seed}):
            rows_of_seed = [result.by_seed.get(seed) if result else None for result in chosen.values()]
            first: Mapping[str, Any] = next(row for row in rows_of_seed if row is not None)
            rows.append(
                (
                    label(own[0]),
                    seed,
                    *(row["bpb"] if row else None for row in rows_of_seed),
                    first["total_bytes"],
                    first["fits_budget"],
                )
            )
    columns = (
        SheetColumn("recipe", "recipe"),
        SheetColumn("seed", "seed"),
        *(SheetColumn(f"{heading}_bpb", f"{heading} (bpb)", ".4f") for heading in scorers),
        SheetColumn("total_bytes", "total (B)", ",d"),
        SheetColumn("fits_budget", "fits budget"),
    )
    notes = (*_cautions(results, scorers), *_dropped(results, label))
    return Sheet("validation bits per byte by seed", columns, tuple(rows), notes)


def means(scores: pa.Table, scorers: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """The same scorers over their seeds: n, mean and sample std of bits per byte and of nats per token.

    Arguments and errors as for `seeds_side_by_side`.
    """
    results = scorer_results(scores)
    label = _labels(_configurations(results))
    rows = []
    for recipe in dict.fromkeys((result.recipe, result.recipe_key) for result in results):
        own = [result for result in results if (result.recipe, result.recipe_key) == recipe]
        for heading, selector in scorers.items():
            if (result := _single(own, heading, selector)) is not None:
                rows.append((label(result), heading, *_mean_cells(result), result.gate("normalized"), _mass(result)))
    columns = (
        SheetColumn("recipe", "recipe"),
        SheetColumn("scorer", "scorer"),
        *_MEAN_COLUMNS,
        SheetColumn("normalized", "normalized"),
        SheetColumn("mass_mean", "mean mass", ".4g"),
    )
    notes = (*_cautions(results, scorers), *_dropped(results, label))
    return Sheet("mean over seeds", columns, tuple(rows), notes)


def scorer_means(scores: pa.Table, *, top: int | None = None) -> Sheet:
    """Every scorer over its seeds, whatever its gates say, lowest mean bits per byte first; not a ranking.

    top: only so many.
    """
    results = scorer_results(scores)
    label = _labels(_configurations(results))
    shown = sorted(results, key=_mean_bpb)[:top]
    columns, settings = _scorer_columns(shown)
    rows = tuple(
        (label(result), *settings(result), *_mean_cells(result), *(result.gate(gate) for gate in GATES), _mass(result))
        for result in shown
    )
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
        *_MEAN_COLUMNS,
        *(SheetColumn(gate, gate.replace("_", " ")) for gate in GATES),
        SheetColumn("mass_mean", "mean mass", ".4g"),
    )
    cut = (f"the first {len(shown)} of {len(results)} scorers",) if len(shown) < len(results) else ()
    return Sheet("mean over seeds, every scorer", headings, rows, (*cut, *_dropped(shown, label)))


def ranking(scores: pa.Table, *, top: int | None = None) -> Sheet:
    """Scorers that pass every gate (`GATES`) at every seed, lowest mean bits per byte first.

    The notes say how many were left out, and at which gate. top: only so many.
    """
    groups = grouped(with_gates(scores), _GROUPED_BY, list(GATES))
    passing = ~np.isnan(groups.mean_bpb)
    for gate in GATES:
        passing &= groups.gates[gate] == 1
    shown = _lowest(scores, groups, passing, top)
    columns, settings = _scorer_columns(shown)
    label = _labels(configurations(scores))
    rows = tuple(
        (place, label(result), *settings(result), *_mean_cells(result), max(result.values("total_bytes"), default=None))
        for place, result in enumerate(shown, 1)
    )
    headings = (
        SheetColumn("rank", "rank"),
        SheetColumn("recipe", "recipe"),
        *columns,
        *_MEAN_COLUMNS,
        SheetColumn("largest_total_bytes", "largest total (B)", ",d"),
    )
    notes = [*_left_out(groups, passing), *_dropped(shown, label)]
    if len(shown) < passing.sum():
        notes.insert(0, f"the first {len(shown)} of {passing.sum()} ranked scorers")
    title = f"ranking: {', '.join(gate.passed for gate in GATES.values())}"
    return Sheet(title, headings, rows, tuple(notes))


def legacy_scores(scores: pa.Table, *, top: int | None = None) -> Sheet:
    """Scorers that are no distribution over the vocabulary, each with the total mass it gives; not a ranking.

    Lowest mean bits per byte first. top: only so many.
    """
    groups = grouped(with_gates(scores), _GROUPED_BY, list(GATES))
    legacy = groups.gates["normalized"] == 0
    shown = _lowest(scores, groups, legacy, top)
    columns, settings = _scorer_columns(shown)
    label = _labels(configurations(scores.filter(mask(legacy[groups.of_row]))))
    rows = tuple((label(result), *settings(result), *_mean_cells(result), _mass(result)) for result in shown)
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
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
    return Sheet("legacy scores", headings, rows, tuple(notes) if rows else ())


def gains(
    scores: pa.Table,
    base: Mapping[str, Any] = NEURAL,
    *,
    test: Literal["welch", "paired"] = "welch",
    rule: GainRule = RECORD_RULE,
    top: int | None = None,
) -> Sheet:
    """How far each rankable scorer is below a base in nats per token, with the one-sided p that it exceeds the margin.

    base: settings of one scorer; without a "recipe", each recipe's own. test: "paired" where both ran the same seeds.
    Raises ResultsError where the settings fit no scorer or several.
    """
    results = scorer_results(scores)
    label = _labels(_configurations(results))
    passing = [result for result in results if all(result.gate(gate) for gate in GATES) and result.summary("bpb")]
    passing.sort(key=_mean_bpb)
    bases = {
        name: _base(results, base if "recipe" in base else {"recipe": name[0], "recipe_key": name[1], **base})
        for name in dict.fromkeys((result.recipe, result.recipe_key) for result in passing)
    }
    candidates = [result for result in passing if result is not bases[result.recipe, result.recipe_key]]
    compared = []
    for result in candidates[:top]:
        candidate, against = _losses(result), _losses(bases[result.recipe, result.recipe_key])
        if test == "paired":
            compared.append((result, compare_paired(candidate, against, rule=rule)))
        else:
            compared.append((result, compare_welch(candidate.values(), against.values(), rule=rule)))
    columns, settings = _scorer_columns([result for result, _ in compared])
    rows = tuple(
        (label(result), *settings(result), found.candidate.n, found.base.n, found.gain_nats, found.t, found.df, found.p)
        for result, found in compared
    )
    headings = (
        SheetColumn("recipe", "recipe"),
        *columns,
        SheetColumn("n", "n", "d"),
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
    dropped = _dropped([result for result, _ in compared], label)
    return Sheet("gain over the base", headings, rows, (*notes, *dropped) if rows else ())


_MEAN_COLUMNS = (
    SheetColumn("n", "n", "d"),
    SheetColumn("mean_bpb", "mean (bpb)", ".4f"),
    SheetColumn("std_bpb", "std (bpb)", ".4f"),
    SheetColumn("mean_loss_nats", "mean (nats/token)", ".5f"),
    SheetColumn("std_loss_nats", "std (nats/token)", ".5f"),
)


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


def _losses(result: ScorerResult) -> dict[int, float]:
    return {seed: row["loss_nats"] for seed, row in result.by_seed.items()}


def _lowest(scores: pa.Table, groups: Groups, chosen: npt.NDArray[np.bool_], top: int | None) -> list[ScorerResult]:
    """The `top` of the chosen scorers with the lowest mean bits per byte."""
    return sorted(scorer_results(scores.filter(mask(groups.lowest(chosen, top)))), key=_mean_bpb)[:top]


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
        why.append((int((going_on & (judged == -1)).sum()), f"not judged whether {gate.passed}"))
        going_on &= judged == 1
    why.append((int((going_on & np.isnan(groups.mean_bpb)).sum()), "without bits per byte"))
    if not (~passing).any():
        return []
    return [f"left out: {(~passing).sum()} scorers ({', '.join(f'{n} {text}' for n, text in why if n)})"]


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
