"""`pgolf audit RUN`: the scorers of a finished run on trial."""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.commands.arguments import results_there
from flows.commands.document_losses import workshop
from pgolf.audit import byte_count_check, clocks_check, seeds_check
from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.ruleset import Ruleset
from pgolf.audit.verdict import Cost, Outcome, Verdict
from pgolf.compare.arms import Arm, arm_of, scorer_asked, scorer_text
from pgolf.errors import ConfigError
from pgolf.pipeline.audited import Tried, tried
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, ScorerResult
from pgolf.tables.schema import SCORER, SCORES

_OF_THE_RUN: tuple[DossierCheck, ...] = (byte_count_check.CHECK, clocks_check.CHECK, seeds_check.CHECK)
_CELL = SCORER.index("cell")


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
    """What came out of a run's trial. id: of the audit's output in the store."""

    run: str
    id: str
    seed: int
    targets: int
    vocab_size: int
    scorers: Sequence[TriedScorer]

    @property
    def outcome(self) -> Outcome:
        """fail if a scorer fails, else inconclusive if one is, else pass."""
        found = {one.outcome for one in self.scorers}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


def tried_run(arguments: argparse.Namespace, rules: Ruleset) -> TriedRun:
    """Try the scorers of `arguments.run`: one of each kind, all of them, or the one that `--scorer` names.

    Raises ConfigError for a run or a scorer that is not there, and for outputs that are no longer in the store.
    """
    results = results_there(arguments)
    scores, runs = read(results, SCORES, columns=_columns()), runs_in(results)
    scorer = scorer_asked(arguments.scorer or "headline")
    arm = arm_of(
        arguments.run, runs, scores, scorer=scorer, declared=declared_seeds(results, scores), only_honest=False
    )
    seed = arm.seeds[0] if arguments.of_seed is None else arguments.of_seed
    if seed not in arm.seeds:
        raise ConfigError(f"--of-seed {seed}: {arm.name} has seeds {', '.join(map(str, arm.seeds))}")
    results_of = {str(one.scorer[_CELL]): one for one in arm.grid if seed in one.by_seed}
    cells: tuple[str, ...] = ()
    if arguments.scorer is not None:
        cells = (str(arm.result.scorer[_CELL]),)
    elif arguments.all:
        cells = tuple(results_of)
    with ExitStack() as stack:
        shop = workshop(arguments, stack)
        if isinstance(shop, str):
            raise ConfigError(f"the scorers are tried with the run's own outputs, and {shop}")
        found = tried(
            arm.run_of(seed).key,
            seed,
            shop,
            cells=cells,
            targets=arguments.targets or 0,
            trial_seed=arguments.seed,
            effort="thorough" if arguments.thorough else "default",
        )
    return TriedRun(
        run=arm.name,
        id=found.id,
        seed=seed,
        targets=found.document["targets"],
        vocab_size=found.document["vocab_size"],
        scorers=[_scorer(entry, found, results_of.get(entry["cell"]), arm, scores, rules) for entry in found.scorers],
    )


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
) -> TriedScorer:
    verdicts = [Verdict.from_json(one) for one in entry["verdicts"]]
    if result is not None:
        dossier = Dossier(rows=_rows(result, scores), missing_seeds=[one.seed for one in arm.missing])
        verdicts += [_of_dossier(check, dossier) for check in _OF_THE_RUN]
    row = found.rows[entry["cell"]]
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


def _of_dossier(check: DossierCheck, dossier: Dossier) -> Verdict:
    cost = Cost(calls=0, targets=0, wall_s=0.0)
    return Verdict(number=check.number, name=check.name, rule=check.rule, finding=check.find(dossier), cost=cost)


def page_path(arguments: argparse.Namespace, found: TriedRun) -> Path:
    """Where the page of an audit is written unless it is said."""
    folder: Path = arguments.results
    return folder / "reports" / f"{found.id}.html"
