"""The rows of one run that its page is made of, and what several sections ask of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from pgolf.report.families import Kind
from pgolf.report.gantt import StageTime
from pgolf.report.parts_charts import PartResult
from pgolf.report.run_facts import RunFacts, facts_of
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.tables.declared_seeds import NOTHING_DECLARED, DeclaredSeeds
from pgolf.tables.detail_tables import BREAKDOWNS
from pgolf.tables.named_runs import Run
from pgolf.tables.ranked import NEURAL, ScorerResult, scorer_results
from pgolf.tables.schema import SCORER
from pgolf.tables.scorer_names import told_apart
from pgolf.tables.texts import Text, text_of

Row = Mapping[str, Any]
NETWORK = "network alone"
# So many declared mixtures have a column; a recipe declares one per estimator and mixture over all.
MOST_DECLARED = 12
_LN2 = math.log(2.0)
_SETTINGS = ("order", "alpha", "concentration", "tilt_nats", "tilt_confidence", "share_rate", "members")


@dataclass(frozen=True)
class RunTables:
    """scores, attempts, stages: the run's rows. made: stage rows of any run that built an output that this one has.

    details: name -> rows (`pgolf.tables.detail_tables`). missing: which details there are not, and why. declared_seeds:
    of its configuration.
    """

    run: Run
    scores: pa.Table
    attempts: Sequence[Row]
    stages: Sequence[Row]
    made: Sequence[Row]
    details: Mapping[str, pa.Table]
    missing: Sequence[str]
    declared_seeds: DeclaredSeeds = NOTHING_DECLARED

    @cached_property
    def results(self) -> list[ScorerResult]:
        """Every scorer over its seeds."""
        return scorer_results(self.scores)

    @cached_property
    def facts(self) -> RunFacts:
        """Seeds, text, device and dates."""
        return facts_of(self.scores, self.results)

    @cached_property
    def text(self) -> Text | None:
        """The validation text."""
        return text_of(self.scores)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """In the order in which they ran, as far as the rows tell."""
        return tuple(dict.fromkeys(self.scores.column("seed").to_pylist()))

    @cached_property
    def n(self) -> str:
        """How many seeds it has, and where more were declared of how many: `2 of 3`."""
        keys = {key for result in self.results for key in result.config_keys}
        n, declared = len(self.seeds), self.declared_seeds.count(keys, self.seeds)
        return f"{n}" if declared in (None, n) else f"{n} of {declared}"

    @property
    def one_seed(self) -> str:
        """What is said of a run of one seed."""
        return "one seed" if self.n == "1" else f"one seed of {self.n.rpartition(' ')[2]}"

    @cached_property
    def declared(self) -> list[ScorerResult]:
        """Every declared mixture, in the order of the rows."""
        return [result for result in self.results if result.gate("declared") and not result.matches(NEURAL)]

    @cached_property
    def shown(self) -> dict[str, ScorerResult]:
        """Label -> scorer: the network alone, and the first MOST_DECLARED declared mixtures."""
        network = [result for result in self.results if result.matches(NEURAL)]
        shown = (*network, *self.declared[:MOST_DECLARED])
        return dict(zip(told_apart(shown, scorer_label), shown))

    @cached_property
    def headline(self) -> tuple[str, ScorerResult]:
        """The declared honest mixture that the recipe names, else another honest one, else the network alone."""
        mixer = (self.run.config.get("headline") or {}).get("mixer")
        honest = [(label, result) for label, result in self.shown.items() if kind_of(result) == "honest"]
        mixtures = [(label, result) for label, result in honest if label != NETWORK]
        named = [(label, result) for label, result in mixtures if result.scorer[SCORER.index("mixer")] == mixer]
        return [*named, *mixtures, *honest, *self.shown.items(), *((scorer_label(r), r) for r in self.results)][0]

    @cached_property
    def lowest_honest(self) -> ScorerResult | None:
        """The scorer with the lowest mean among all that are normalized and causal: found by looking."""
        honest = [r for r in self.results if kind_of(r) == "honest" and r.summary("bpb") is not None]
        return min(honest, key=lambda result: _mean(result.summary("bpb")), default=None)

    @cached_property
    def by_seed(self) -> dict[int, Row]:
        """Seed -> sizes, clocks and where it ran; the longest evaluation clock of the scorers that are shown."""
        names = (
            *("seed", "estimator", "declared", "artifact_bytes", "code_bytes", "total_bytes", "budget_bytes"),
            *("fits_budget", "train_clock_s", "within_train_clock", "eval_clock_s", "within_eval_clock", "interrupted"),
            *("checkpoint_sha256", "git_commit", "torch_version", "gpu", "host", "ruleset", "run_key"),
        )
        found: dict[int, dict[str, Any]] = {}
        for row in self.scores.select([n for n in names if n in self.scores.column_names]).to_pylist():
            mine = found.setdefault(row["seed"], dict(row))
            if row["estimator"] == "neural" or row["declared"]:
                for clock, within in (("eval_clock_s", "within_eval_clock"),):
                    if (row[clock] or 0.0) > (mine[clock] or 0.0):
                        mine[clock], mine[within] = row[clock], row[within]
        return {seed: found[seed] for seed in self.seeds}

    def facts_said(self, column: str) -> str:
        """The distinct values of a column over the seeds, joined."""
        return ", ".join(
            dict.fromkeys(str(row[column]) for row in self.by_seed.values() if row.get(column) is not None)
        )

    def network_bpb(self) -> dict[int | None, float]:
        """Seed -> bits per byte of the network alone."""
        network = self.shown.get(NETWORK)
        rows = {} if network is None else network.by_seed
        return {seed: row["bpb"] for seed, row in rows.items() if row["bpb"] is not None}

    def detail(self, name: str) -> list[dict[str, Any]]:
        """Rows of a table of details."""
        table = self.details.get(name)
        return [] if table is None else table.to_pylist()

    def parts(self) -> dict[str, list[PartResult]]:
        """What parts are told apart by -> the parts in order, over the seeds that have them."""
        groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
        rows = self.detail(BREAKDOWNS.name)
        seeds = len({row["run_key"] for row in rows})
        for row in rows:
            groups.setdefault((row["by"], row["part"]), []).append(row)
        totals: dict[str, tuple[int, float]] = {}
        for (by, _), of_part in groups.items():
            targets, nats = totals.get(by, (0, 0.0))
            totals[by] = (
                targets + sum(row["targets"] for row in of_part),
                nats + sum(row["loss_sum_nats"] for row in of_part),
            )
        found: dict[str, list[PartResult]] = {}
        for (by, _), of_part in sorted(groups.items()):
            targets, nats = totals[by]
            has_bytes = all(row["bytes"] > 0 for row in of_part)
            bpb = [row["loss_sum_nats"] / (_LN2 * row["bytes"]) for row in of_part] if has_bytes else []
            found.setdefault(by, []).append(
                PartResult(
                    label=of_part[0]["label"],
                    targets=of_part[0]["targets"],
                    bytes=of_part[0]["bytes"],
                    bpb=summarize(bpb) if bpb and len(of_part) == seeds else None,
                    nats=summarize(row["loss_sum_nats"] / row["targets"] for row in of_part),
                    target_share=sum(row["targets"] for row in of_part) / targets,
                    bits_share=sum(row["loss_sum_nats"] for row in of_part) / nats if nats else 0.0,
                )
            )
        return found

    def stage_times(self) -> list[StageTime]:
        """Every stage of the run, as built by it, or by the run that did."""
        took = {row["key"]: row["wall_s"] for row in self.made if row["wall_s"] is not None}
        mine: dict[str, Row] = {}
        for row in self.stages:
            if row["node"] not in mine or row["built"]:
                mine[row["node"]] = row
        return [
            StageTime(
                node=row["node"],
                stage=row["stage"],
                built=bool(row["built"]),
                started_s=row["started_utc"] / 1e6,
                wall_s=row["wall_s"] if row["wall_s"] is not None else took.get(row["key"]),
            )
            for row in mine.values()
            if row["started_utc"] is not None
        ]


def kind_of(result: ScorerResult) -> Kind:
    """Honest only if normalized and causal at every seed."""
    if not result.gate("normalized"):
        return "legacy"
    return "honest" if result.gate("causal") else "not causal"


def scorer_label(result: ScorerResult) -> str:
    """A scorer in words: legacy: hashed backoff, order 5, alpha 0.4."""
    settings = dict(zip(SCORER, result.scorer))
    if settings["estimator"] == "neural":
        return NETWORK
    said = [f"{name.removesuffix('_nats').replace('_', ' ')} {settings[name]:g}" for name in _SETTINGS
            if isinstance(settings[name], int | float)]  # fmt: skip
    kind = kind_of(result)
    name = f"{settings['estimator']} {settings['mixer'] or ''}".strip()
    return ", ".join([name if kind == "honest" else f"{kind}: {name}", *said])


def _mean(summary: SeedSummary | None) -> float:
    return math.inf if summary is None else summary.mean
