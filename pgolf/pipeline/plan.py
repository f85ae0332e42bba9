"""The plan of a run: which stages are cache hits, which have to run and why, and how long that takes.

Imports neither torch nor Prefect, and changes nothing in the store.
"""

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pgolf.corpus.fetch_config import FetchConfig
from pgolf.errors import ConfigError
from pgolf.identity.fingerprint import canonical
from pgolf.identity.stage import StageKey
from pgolf.pipeline.estimate import Estimate, estimate
from pgolf.pipeline.graph import Link, Node, key_of, unread
from pgolf.pipeline.makespan import makespan_s, pools_here, work_of
from pgolf.pipeline.work import Work, work_of_node, work_of_record
from pgolf.recipes.recipe import TRAIN
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Damaged, Store
from pgolf.store.content import Memo
from pgolf.store.differences import nearest
from pgolf.store.output_record import Record

Action = Literal["reuse", "run", "depends"]
MOST_REASONS = 6
# About half a second. What `make_plan` may read for people who only ask.
GLANCE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a plan. `depends`: runs if the stages or files before it hold other bytes than last time.

    reasons: one text per changed field, empty for a reuse. estimate: how long it takes here, as
    `pgolf.pipeline.estimate` says; of a reuse, how long it took. artifact: what is reused.
    """

    node: Node
    action: Action
    reasons: tuple[str, ...]
    estimate: Estimate
    artifact: Artifact | None = None

    @property
    def expected_s(self) -> float | None:
        """Seconds it takes to make this output here, or that it took; None when nothing comparable is known."""
        return self.estimate.seconds


def make_plan(
    nodes: Sequence[Node],
    store: Store,
    memo: Memo,
    run: RunOptions | None = None,
    *,
    most_read_bytes: float = math.inf,
) -> tuple[Step, ...]:
    """One step per node, in order. run: how the stages would be run here, for the seconds to expect; None: not asked.

    A file from outside is known by its content, and read where it was not read before. most_read_bytes: stages with
    more of that than this are left open, and what rests on them; of outputs with more, the content is not verified.
    Raises DataError when an input file cannot be read.
    """
    past = _Past(store)
    before: dict[str, Node] = {}
    artifacts: dict[str, Artifact] = {}
    steps: list[Step] = []
    with _no_collection():
        for node in nodes:
            step = _step(node, before, artifacts, store, memo, past, run, most_read_bytes)
            before[node.name] = node
            if step.artifact is not None:
                artifacts[node.name] = step.artifact
            steps.append(step)
    return tuple(steps)


def reasons_of(steps: Sequence[Step]) -> dict[str, str]:
    """Node -> why it runs or may run, of the nodes that are not reused for sure."""
    return {step.node.name: "; ".join(step.reasons) for step in steps if step.action != "reuse"}


def refuse_all_but_evaluation(steps: Sequence[Step]) -> None:
    """Raise ConfigError, naming nodes and reasons, when a stage that does not evaluate would have to run."""
    wrong = [step for step in steps if step.action == "run" and not step.node.stage.evaluates]
    if wrong:
        raise ConfigError(
            f"a sweep evaluates finished artifacts, but {len(wrong)} of their stages would have to run:",
            *(f"  {step.node.name}: {'; '.join(step.reasons)}" for step in wrong),
            "take these overrides back, or use `pgolf run`",
        )


def expected_wall_s(steps: Sequence[Step], run: RunOptions) -> float:
    """Seconds until all of these are made, side by side as far as devices allow; what is unknown counts as nothing."""
    pools = pools_here()
    return makespan_s([work_of(step.node, step.expected_s or 0.0, run, pools) for step in steps], pools)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cycle collector, which walks all records again and again while they are read: a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Past:
    """The records of a store, each stage's read once, when it is asked for: a store of many runs holds many."""

    def __init__(self, store: Store) -> None:
        self.of_stage = cache(lambda stage: list(store.records(stage)))
        self._by_folder = cache(lambda stage: {record.folder: record for record in self.of_stage(stage)})
        self._work: dict[str, Work | None] = {}
        self.targets: int | None = None  # of the plan's own data

    def at(self, folder: str) -> Record | None:
        """The record of an output's folder."""
        found: Record | None = self._by_folder(folder.rpartition("-")[0]).get(folder)
        return found

    def work_of(self, record: Record) -> Work | None:
        """What was done for an output."""
        if record.folder not in self._work:
            self._work[record.folder] = work_of_record(record, self.at)
        return self._work[record.folder]

    def note_targets(self, node: Node, known_inputs: Mapping[str, str], artifact: Artifact | None) -> None:
        """How many tokens the plan's data has to score: as it is, or as the same data was when it was last made."""
        config = canonical(node.config)
        same = [
            record
            for record in self.of_stage(node.stage.name)
            if record.key.get("config") == config and record.key.get("inputs") == dict(known_inputs)
        ]
        last = artifact.record if artifact else max(same, key=lambda record: record.started_utc, default=None)
        tokens = last.facts.get("tokens_val") if last else None
        self.targets = tokens if isinstance(tokens, int) else None


def _step(
    node: Node,
    before: Mapping[str, Node],
    artifacts: Mapping[str, Artifact],
    store: Store,
    memo: Memo,
    past: _Past,
    run: RunOptions | None,
    most_read_bytes: float,
) -> Step:
    def expected(known_inputs: Mapping[str, str]) -> Estimate:
        if run is None:  # not asked for, it would read the records of every stage that depends on another
            return Estimate(None)
        if node.name == "data":
            past.note_targets(node, known_inputs, None)
        work = work_of_node(node, before, past.targets, known_inputs)
        return estimate(node, run, work, past.of_stage(node.stage.name), past.work_of, known_inputs)

    reasons = tuple(f"depends on {parent}" for parent in node.parents if parent not in artifacts)
    if isinstance(node.config, FetchConfig) and not node.config.is_pinned:
        reasons = (*reasons, f"which commit fetch.revision={node.config.revision} is could not be asked")
    if most_read_bytes < math.inf:
        new = unread(node, memo)
        if sum(part.size_bytes for part in new) > most_read_bytes:
            reasons = (*reasons, *(f"{part}; whether they are known shows when a run reads them" for part in new))
    if reasons:
        return Step(node=node, action="depends", reasons=reasons, estimate=expected(_known_inputs(node, artifacts)))
    key = key_of(node, artifacts, memo)
    found = store.look(key, most_read_bytes=most_read_bytes)
    if isinstance(found, Artifact):
        if node.name == "data" and run is not None:
            past.note_targets(node, key.inputs, found)
        note = f"{found.unverified_bytes / 1e9:,.1f} GB of it not verified yet" if found.unverified_bytes else ""
        return Step(node=node, action="reuse", reasons=(), estimate=Estimate(found.record.wall_s, note), artifact=found)
    reasons = (found.why,) if isinstance(found, Damaged) else _why_new(key, node, past.of_stage(node.stage.name))
    if node.stage == TRAIN:
        from pgolf.train.checkpoint_record import read_record  # builds models that no other plan needs

        if (checkpoint := read_record(store.unfinished(key))) is not None:
            reasons = (*reasons, f"a killed run got to step {checkpoint.steps:,}")
    return Step(node=node, action="run", reasons=reasons, estimate=expected(key.inputs))


def _known_inputs(node: Node, artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """The part of the key's inputs that lies before nothing that has to run."""
    return {
        f"{role}.{output}": artifacts[source.node].outputs[output]
        for role, source in node.inputs.items()
        if isinstance(source, Link) and source.node in artifacts
        for output in source.outputs
    }


def _why_new(key: StageKey, node: Node, records: Sequence[Record]) -> tuple[str, ...]:
    """The fields in which the nearest earlier output differs: in the fewest of them, the latest among equals."""
    wanted = canonical(key.fields())
    assert isinstance(wanted, dict)
    # Another seed's output is no earlier form of this one.
    same_values = [record for record in records if record.key.get("values", {}).get("seed") == node.values.get("seed")]
    found = nearest(same_values, wanted, lambda record: record.started_utc)
    if found is None:
        return (f"never run for seed {node.values.get('seed')}" if records else "never run before",)
    record, changed = found
    if not changed:
        changed = [f"output {record.folder} is gone"]
    if len(changed) > MOST_REASONS:
        changed = [*changed[: MOST_REASONS - 1], f"and {len(changed) - MOST_REASONS + 1} more"]
    return tuple(changed)
