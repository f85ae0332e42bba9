"""A finished run on trial: its scorers' verdicts, and what its tables and its training shards say besides."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pgolf.audit import byte_count_check, clocks_check, overlap_check, seeds_check, shipped_bytes_check
from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.ruleset import Ruleset
from pgolf.audit.verdict import Cost, Outcome, Verdict, by_number
from pgolf.compare.arms import Arm, arm_of, scorer_asked, scorer_text
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.errors import ConfigError
from pgolf.pipeline.audited import Tried, tried
from pgolf.pipeline.run_outputs import Workshop, mixed_of, parent_of
from pgolf.pipeline.run_report import write_page
from pgolf.recipes.recipe import Effort
from pgolf.report.audit_page import audit_page
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, ScorerResult
from pgolf.tables.schema import SCORER, SCORES

_OF_THE_RUN: tuple[DossierCheck, ...] = (
    byte_count_check.CHECK,
    shipped_bytes_check.CHECK,
    clocks_check.CHECK,
    seeds_check.CHECK,
)
_CELL = SCORER.index("cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which scorers of which run are tried, and how hard.

    run: a name or key. scorer: as `pgolf compare` takes it; None for one of each kind, or for every one. of_seed: whose
    outputs, None: the recipe's first seed's. targets: of the text, 0: a few windows and chunks. longest_row: with rows
    of so many tokens at most, as in a run's own trial. seed: of what is drawn. trained_on: shards in place of those of
    the run's data.
    """

    run: str
    scorer: str | None = None
    every: bool = False
    of_seed: int | None = None
    targets: int = 0
    longest_row: int | None = None
    seed: int = 0
    effort: Effort = "default"
    trained_on: Sequence[Path] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedScorer:
    """A scorer of a run and the verdicts about it. said: the seed's score, in words."""

    name: str
    cell: str
    said: str
    outcome: Outcome
    verdicts: Sequence[Verdict]

    def data(self) -> dict[str, Any]:
        """As plain data, as a page of it takes them."""
        return {
            "name": self.name,
            "cell": json.loads(self.cell),
            "score": self.said,
            "outcome": self.outcome,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRun:
    """What came out of a run's trial. id: of the audit's output in the store. rules: by which the outcomes are."""

    run: str
    id: str
    rules: Ruleset
    seed: int
    targets: int
    vocab_size: int
    scorers: Sequence[TriedScorer]

    @property
    def outcome(self) -> Outcome:
        """fail if a scorer fails, else inconclusive if one is, else pass."""
        found = {one.outcome for one in self.scorers}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"

    @property
    def text(self) -> str:
        """What they were tried on, in words."""
        return f"{self.targets:,} targets of {self.vocab_size:,} tokens"

    def write(self, results: Path, page: Path | None = None) -> Path:
        """Write a page of the verdicts, RESULTS/reports/<id>.html unless it is said where, and return its path."""
        page = page or results / "reports" / f"{self.id}.html"
        facts = {
            "run": f"{self.run}, seed {self.seed}",
            "text": self.text,
            "rules": self.rules.label,
            "audit": self.id,
        }
        write_page(page, audit_page([one.data() for one in self.scorers], facts=facts), option="--page")
        return page


def tried_run(
    asked: Asked, rules: Ruleset, shop: Workshop, *, say: Callable[[str], None] = lambda _text: None
) -> TriedRun:
    """Try the scorers that are asked for: one of each kind, all of them, or the one that is named.

    say: is told what begins and may take minutes. Raises ConfigError for a run or a scorer that is not there, Gone for
    outputs that are no longer in the store.
    """
    scores, runs = read(shop.results, SCORES, columns=_columns()), runs_in(shop.results)
    arm = arm_of(
        asked.run,
        runs,
        scores,
        scorer=scorer_asked(asked.scorer or "headline"),
        declared=declared_seeds(shop.results, scores),
        only_honest=False,
    )
    seed = arm.first_seed if asked.of_seed is None else asked.of_seed
    if seed not in arm.seeds:
        raise ConfigError(f"--of-seed {seed}: {arm.name} has seeds {', '.join(map(str, arm.seeds))}")
    results_of = {str(one.scorer[_CELL]): one for one in arm.grid if seed in one.by_seed}
    cells: tuple[str, ...] = ()
    if asked.scorer is not None:
        cells = (str(arm.result.scorer[_CELL]),)
    elif asked.every:
        cells = tuple(results_of)
    key = arm.run_of(seed).key
    found = tried(
        key,
        seed,
        shop,
        cells=cells,
        targets=asked.targets,
        trial_seed=asked.seed,
        effort=asked.effort,
        longest_row=asked.longest_row,
    )
    split = _split(key, seed, asked.trained_on, shop, say)
    return TriedRun(
        run=arm.name,
        id=found.id,
        rules=rules,
        seed=seed,
        targets=found.document["targets"],
        vocab_size=found.document["vocab_size"],
        scorers=[
            _scorer(entry, found, results_of.get(entry["cell"]), arm, scores, rules, split) for entry in found.scorers
        ],
    )


def _split(run_key: str, seed: int, trained_on: Sequence[Path], shop: Workshop, say: Callable[[str], None]) -> Verdict:
    """B17 about the run's whole validation text and all of its training shards, or those that are given."""
    began_s, check = perf_counter(), overlap_check.CHECK
    trace = mixed_of(run_key, seed, shop).inputs["trace"]
    dataset = open_dataset(parent_of(trace.record.parents["data"], shop.store).path)
    shards, validation = trained_on or dataset.train_shards, validation_tokens(dataset, window=1)
    if shards:
        say(f"{check.number} {check.name}: {len(validation):,} validation tokens against {len(shards)} training shards")
    finding = overlap_check.split(np.asarray(validation), shards, bos_id=dataset.bos_id)
    cost = Cost(calls=0, targets=0, wall_s=perf_counter() - began_s)
    return Verdict(number=check.number, name=check.name, rule=check.rule, finding=finding, cost=cost)


def _columns() -> list[str]:
    more = ("checkpoint_sha256", "trace_key", "budget_bytes", "train_clock_s", "eval_clock_s")
    return list(dict.fromkeys((*NEEDED, *more)))


def _scorer(
    entry: Mapping[str, Any],
    found: Tried,
    result: ScorerResult | None,
    arm: Arm,
    scores: pa.Table,
    rules: Ruleset,
    split: Verdict,
) -> TriedScorer:
    verdicts = [Verdict.from_json(one) for one in entry["verdicts"]]
    verdicts = [one for one in verdicts if one.number != split.number] + [split]
    if result is not None:
        dossier = Dossier(rows=_rows(result, scores), missing_seeds=[one.seed for one in arm.missing])
        verdicts += [check.verdict(dossier) for check in _OF_THE_RUN]
    row = found.rows[entry["cell"]]
    verdicts = by_number(verdicts)
    return TriedScorer(
        name=_name(row) if result is None else scorer_text(result),
        cell=entry["cell"],
        said=f"{row['bpb']:.4f} bpb" if row["bpb"] is not None else f"{row['loss_nats']:.5f} nats per token",
        outcome=rules.outcome(verdicts),
        verdicts=verdicts,
    )


def _rows(result: ScorerResult, scores: pa.Table) -> list[dict[str, Any]]:
    """The scorer's rows with all columns, by seed."""
    of_cell = scores.filter(pc.equal(scores.column("cell"), result.scorer[_CELL]))
    runs = result.runs
    return [row for row in of_cell.to_pylist() if runs.get(str(row["seed"])) == row["run_key"]]


def _name(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in ("estimator", "mixer") if row[name] is not None)
