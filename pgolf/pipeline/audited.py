"""Scorers of a finished run on trial: what each check found, made once per seed and set of scorers, and kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgolf.audit.audit_config import AuditConfig
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.files import COUNTS_ROLE, HINTS_ROLE
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Link, Node
from pgolf.pipeline.own_verdicts import verdicts_of
from pgolf.pipeline.run_outputs import Mixed, Workshop, mixed_of, parent_of
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import AUDIT, Effort
from pgolf.store.artifact import Artifact

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A seed's scorers after their trial. id: names the audit. rows: of the mix, by `cell`. document: verdicts.json."""

    id: str
    seed: int
    rows: Mapping[str, Row]
    document: Mapping[str, Any]

    @property
    def scorers(self) -> Sequence[Mapping[str, Any]]:
        """One entry per scorer: cell, outcome, verdicts."""
        found: Sequence[Mapping[str, Any]] = self.document["scorers"]
        return found


def tried(
    run_key: str,
    seed: int,
    shop: Workshop,
    *,
    cells: Sequence[str] = (),
    targets: int = 0,
    trial_seed: int = 0,
    effort: Effort = "default",
    longest_row: int | None = None,
) -> Tried:
    """Try scorers of a run's seed, or open what an earlier trial of the same found.

    cells: which, by their `cell` in the tables; none: `one_of_each_kind`. The others: see AuditConfig. Raises Gone for
    outputs that are no longer in the store, and what the stage raises.
    """
    mixed = mixed_of(run_key, seed, shop)
    rows = {row["cell"]: row for row in mixed.cells()}
    chosen = tuple(cells) or one_of_each_kind(list(rows.values()))
    asked = {"scorers": chosen, "targets": targets, "seed": trial_seed, "effort": effort, "longest_row": longest_row}
    config, inputs = _config(mixed, asked, shop)
    links = {role: Link(role, AUDIT.reads[role].outputs) for role in inputs}
    node = Node(name=f"{AUDIT.name}[{seed}]", stage=AUDIT, config=config, seed=seed, inputs=links)
    artifact, _ = build_node(node, inputs, shop.store, shop.memo, shop.run, shop.listener)
    return Tried(id=artifact.path.name, seed=seed, rows=rows, document=verdicts_of(artifact))


def one_of_each_kind(rows: Sequence[Row]) -> tuple[str, ...]:
    """Of every estimator and mixer the scorer with the lowest loss, by its `cell`, in the order of the rows."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        kind = (row["estimator"], row["mixer"])
        if kind not in best or row["loss_nats"] < best[kind]["loss_nats"]:
            best[kind] = row
    return tuple(row["cell"] for row in best.values())


def _config(mixed: Mixed, asked: Mapping[str, Any], shop: Workshop) -> tuple[AuditConfig, dict[str, Artifact]]:
    trace = mixed.inputs["trace"]
    inputs = {role: parent_of(trace.record.parents[role], shop.store) for role in ("model", "data")}
    counts = [artifact for role, artifact in mixed.inputs.items() if role.startswith(COUNTS_ROLE)]
    hints = mixed.inputs.get(HINTS_ROLE)
    values = {
        "score": _as(ScoreConfig, trace),
        "mix": _as(MixConfig, mixed.mix),
        "counts": tuple(_as(CountConfig, one) for one in counts),
        "hint": None if hints is None else _as(HintConfig, hints),
    }
    return validated(AuditConfig, {**values, **asked}), inputs


def _as(kind: Any, made: Artifact) -> Any:
    """What an output was made with. As JSON: lists are tuples there."""
    return kind.model_validate_json(json.dumps(made.record.key["config"]))
