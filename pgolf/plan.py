"""What a recipe would reuse and what it would run, why, and how long that takes.

Imports neither torch nor Prefect, and changes nothing in the store.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pgolf.artifact import Artifact, Damaged, Store
from pgolf.content import Memo
from pgolf.errors import ConfigError
from pgolf.fingerprint import canonical
from pgolf.pipeline import Node, key_of
from pgolf.record import Record
from pgolf.stage import StageKey
from pgolf.stages import COUNT, HINT, MIX, SCORE

Action = Literal["reuse", "run", "depends"]
MOST_REASONS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a plan. `depends`: runs if the stages before it yield other bytes than last time.

    reasons: one text per changed field, empty for a reuse. expected_s: seconds the nearest earlier run took, None when
    there is none. artifact: what is reused.
    """

    node: Node
    action: Action
    reasons: tuple[str, ...]
    expected_s: float | None
    artifact: Artifact | None = None


def make_plan(nodes: Sequence[Node], store: Store, memo: Memo) -> tuple[Step, ...]:
    """One step per node, in order. Raises DataError when an input file cannot be read."""
    # Of the stages that have to run alone: a store of many runs holds many records.
    records_of = cache(lambda stage: list(store.records(stage)))
    artifacts: dict[str, Artifact] = {}
    steps: list[Step] = []
    for node in nodes:
        step = _step(node, artifacts, store, memo, records_of)
        if step.artifact is not None:
            artifacts[node.name] = step.artifact
        steps.append(step)
    return tuple(steps)


def reasons_of(steps: Sequence[Step]) -> dict[str, str]:
    """Node -> why it runs or may run, of the nodes that are not reused for sure."""
    return {step.node.name: "; ".join(step.reasons) for step in steps if step.action != "reuse"}


def refuse_all_but_evaluation(steps: Sequence[Step]) -> None:
    """Raise ConfigError, naming nodes and reasons, when more than score, count and mix would have to run."""
    evaluation = (SCORE.name, COUNT.name, HINT.name, MIX.name)
    wrong = [step for step in steps if step.action == "run" and step.node.stage.name not in evaluation]
    if wrong:
        lines = "\n".join(f"  {step.node.name}: {'; '.join(step.reasons)}" for step in wrong)
        raise ConfigError(
            f"a sweep evaluates finished artifacts, but {len(wrong)} of their stages would have to run:\n{lines}\n"
            "take these overrides back, or use `pgolf run`"
        )


def _step(
    node: Node,
    artifacts: Mapping[str, Artifact],
    store: Store,
    memo: Memo,
    records_of: Callable[[str], list[Record]],
) -> Step:
    waiting = [parent for parent in node.parents if parent not in artifacts]
    if waiting:
        nearest = _latest(records_of(node.stage.name), node)
        expected_s = nearest.wall_s if nearest else None
        reasons = tuple(f"depends on {parent}" for parent in waiting)
        return Step(node=node, action="depends", reasons=reasons, expected_s=expected_s)
    key = key_of(node, artifacts, memo)
    found = store.look(key)
    if isinstance(found, Artifact):
        return Step(node=node, action="reuse", reasons=(), expected_s=found.record.wall_s, artifact=found)
    if isinstance(found, Damaged):
        nearest, reasons = _latest(records_of(node.stage.name), node), (found.why,)
    else:
        nearest, reasons = _why_new(key, node, records_of(node.stage.name))
    return Step(node=node, action="run", reasons=reasons, expected_s=nearest.wall_s if nearest else None)


def _latest(records: Sequence[Record], node: Node) -> Record | None:
    mine = [record for record in records if record.node == node.name] or list(records)
    return max(mine, key=lambda record: record.started_utc, default=None)


def _why_new(key: StageKey, node: Node, records: Sequence[Record]) -> tuple[Record | None, tuple[str, ...]]:
    """The earlier output that differs in the fewest fields, and those fields; the latest among equals."""
    wanted = canonical(key.fields())
    assert isinstance(wanted, dict)
    # Another seed's output is no earlier form of this one.
    same_values = [record for record in records if record.key.get("values", {}).get("seed") == node.values.get("seed")]
    candidates = [(differences(record.key, wanted), record) for record in same_values]
    if not candidates:
        other = _latest(records, node)
        new = "never run before" if other is None else f"never run for seed {node.values.get('seed')}"
        return other, (new,)
    fewest = min(len(changed) for changed, _ in candidates)
    changed, record = max(
        ((changed, record) for changed, record in candidates if len(changed) == fewest),
        key=lambda pair: pair[1].started_utc,
    )
    if not changed:
        changed = [f"output {record.folder} is gone"]
    if len(changed) > MOST_REASONS:
        changed = [*changed[: MOST_REASONS - 1], f"and {len(changed) - MOST_REASONS + 1} more"]
    return record, tuple(changed)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two keys differ, each as a person would say it."""
    texts = []
    for section in ("version", "config", "inputs", "values", "hardware", "tools", "code"):
        if old.get(section) == new.get(section):  # most are, and a store of many runs compares thousands
            continue
        before, after = _flat(old.get(section)), _flat(new.get(section))
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name) or (name in before) != (name in after):
                texts.append(_say(section, name, before.get(name), after.get(name)))
    return texts


def _say(section: str, name: str, before: Any, after: Any) -> str:
    if section == "code":
        what = "new" if before is None else "gone" if after is None else "changed"
        return f"code: {name.replace('.', '/')}.py {what}"
    if section == "inputs":
        return f"input {name} changed"
    label = {"version": "stage version", "tools": f"tool {name}"}.get(section, name)
    return f"{label} {_short(before)} → {_short(after)}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        flat = {}
        for name, item in value.items():
            # Module names hold dots of their own; only the config nests.
            flat.update(_flat(item, f"{prefix}.{name}" if prefix else str(name)))
        return flat
    return {prefix: value}


def _short(value: Any) -> str:
    if isinstance(value, list):
        if len(value) > 8:
            return f"[{_short(value[0])}, {_short(value[1])}, … {_short(value[-1])}] ({len(value)} values)"
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return "none" if value is None else str(value)
