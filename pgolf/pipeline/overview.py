"""A finished run in one small table: the network alone, what was declared, and the best honest cell that was found."""

from collections.abc import Iterator
from dataclasses import dataclass

from pgolf.pipeline.outcome import Outcome, headline_scorers
from pgolf.stats.seeds import SeedSummary
from pgolf.tables.ranked import NEURAL, ScorerResult, scorer_results
from pgolf.tables.schema import SCORER

_NO_SETTING = ("estimator", "mixer", "counts", "granularity", "cell")


@dataclass(frozen=True, slots=True)
class Overview:
    """rows: texts by column, alike in every row. sentences: what has to be said of them."""

    rows: tuple[dict[str, str], ...]
    sentences: tuple[str, ...]

    def markdown(self) -> str:
        """The table and the sentences."""
        names = list(self.rows[0]) if self.rows else []
        lines = [f"| {' | '.join(names)} |", f"|{'|'.join('---' for _ in names)}|"]
        lines += [f"| {' | '.join(row.values())} |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {sentence}" for sentence in self.sentences)])


def overview_of(outcome: Outcome) -> Overview:
    """The run's scorers in bits per byte: each seed, mean ± sample std, n; and whether it is a result."""
    results = scorer_results(outcome.scores)
    found = list(_declared(outcome, results))
    sentences = list(filter(None, [outcome.headline_missing()]))
    best = _best_honest(results)
    if best is None:
        sentences.append("no cell of this grid is honest: none is both normalized and causal at every seed")
    else:
        declared = any(result is best for _, result, _ in found)
        found.append(("best honest cell", best, "declared, too" if declared else "found by looking: not a result"))
        if not declared:
            sentences.append(
                f"best honest cell: {_settings(best)}; it was found by looking at this text, so a gain over the "
                "declared one is no result"
            )
    sentences += outcome.sheets()[0].notes
    missing = {one.seed for one in outcome.missing_seeds}
    seeds = sorted({seed for result in results for seed in result.by_seed} | missing)
    rows = []
    for label, result, standing in found:
        summary = result.summary("bpb")
        of_seed = {seed: row["bpb"] for seed, row in result.by_seed.items()}
        rows.append(
            {
                "scorer": label,
                "mean ± std (bpb)": "" if summary is None else _spread(summary),
                "n": _count(result, outcome),
                "standing": standing,
                "settings": _settings(result),  # from here on a page may have to be scrolled
                **{f"seed {s} (bpb)": "missing" if s in missing else _number(of_seed.get(s)) for s in seeds},
            }
        )
    return Overview(tuple(rows), tuple(sentences))


def _declared(outcome: Outcome, results: list[ScorerResult]) -> Iterator[tuple[str, ScorerResult, str]]:
    """Label, scorer and standing of the network alone and of what the recipe declares, as far as the grid has it."""
    for label, settings in headline_scorers(outcome.recipe).items():
        for result in results:
            if all(dict(zip(SCORER, result.scorer)).get(name) == value for name, value in settings.items()):
                network = result.scorer[SCORER.index("estimator")] == NEURAL["estimator"]
                yield label, result, "no choice" if network else "declared" if _is_honest(result) else "no code length"
                break


def _best_honest(results: list[ScorerResult]) -> ScorerResult | None:
    """The mixture with the lowest mean among those that are normalized and causal at every seed."""
    means = {
        i: summary.mean
        for i, result in enumerate(results)
        if result.scorer[SCORER.index("estimator")] != NEURAL["estimator"]
        and _is_honest(result)
        and (summary := result.summary("bpb")) is not None
    }
    return results[min(means, key=means.__getitem__)] if means else None


def _is_honest(result: ScorerResult) -> bool:
    return result.gate("normalized") is True and result.gate("causal") is True


def _settings(result: ScorerResult) -> str:
    settings = dict(zip(SCORER, result.scorer))
    named = " ".join(str(settings[name]) for name in ("estimator", "mixer") if settings[name] is not None)
    rest = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in settings.items() if name not in _NO_SETTING and value is not None]  # fmt: skip
    return ", ".join([named, *rest])


def _count(result: ScorerResult, outcome: Outcome) -> str:
    n, declared = len(result.by_seed), outcome.declared_seeds.count(result.config_keys, result.by_seed)
    return str(n) if declared in (None, n) else f"{n} of {declared}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _spread(summary: SeedSummary) -> str:
    return f"{summary.mean:.4f}" if summary.std is None else f"{summary.mean:.4f} ± {summary.std:.4f}"
