"""The expected run time of a stage, from earlier runs of the same stage on the same hardware.

Seconds of other hardware say nothing here, so they are named and never used. Imports neither torch nor Prefect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgolf.identity.fingerprint import canonical
from pgolf.pipeline.graph import Node
from pgolf.pipeline.placement import Hardware
from pgolf.recipes.recipe import FETCH
from pgolf.run import RunOptions
from pgolf.store.differences import nearest
from pgolf.store.output_record import Record
from pgolf.train.config import TrainStageConfig

_SHOWN_CHANGES = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected seconds and where they come from; None and why there are none.

    note: empty where the seconds are those of the same configuration on the same hardware.
    """

    seconds: float | None
    note: str = ""


def estimate(node: Node, run: RunOptions, records: Sequence[Record], known_inputs: Mapping[str, str]) -> Estimate:
    """Expected seconds of a node here. records: of its stage. known_inputs: as in its key, so far as known."""
    here = Hardware.here(node.stage, node.config, run)
    comparable = [record for record in records if node.stage is FETCH or _made_on(record, here)]
    wanted = canonical(node.config)
    same = [record for record in comparable if record.key.get("config") == wanted]
    if same:
        record = max(same, key=lambda record: _nearness(record, node, known_inputs))
        return Estimate(record.wall_s, _other_inputs(record, known_inputs))
    limit_s = node.config.train.clock_limit_s if isinstance(node.config, TrainStageConfig) else None
    found = nearest(
        comparable, {"config": wanted}, lambda record: _nearness(record, node, known_inputs), sections=("config",)
    )
    if found is None:
        if limit_s is not None:
            return Estimate(limit_s, "its clock limit; start-up not known here")
        return Estimate(None, _why_none(records))
    record, changed = found
    note = f"nearest config: {_shown(changed)}"
    if limit_s is not None:
        start_s = max(0.0, record.wall_s - record.phases_s.get("train", record.wall_s))
        return Estimate(round(limit_s + start_s, 3), f"its clock limit and {start_s:.1f} s of start-up; {note}")
    return Estimate(record.wall_s, "; ".join(filter(None, (note, _other_inputs(record, known_inputs)))))


def _made_on(record: Record, here: Hardware) -> bool:
    if "resumed_at_step" in record.facts or "resumed_at_record" in record.facts:
        return False  # its seconds are those of the last part alone
    there = Hardware.of(record)
    return there is not None and there.is_like(here)


def _nearness(record: Record, node: Node, known_inputs: Mapping[str, str]) -> tuple[int, bool, str]:
    """Rank among equals: the same inputs first, then the same node, then the latest."""
    return -len(_unlike_inputs(record, known_inputs)), record.node == node.name, record.started_utc


def _unlike_inputs(record: Record, known_inputs: Mapping[str, str]) -> list[str]:
    read: Mapping[str, Any] = record.key.get("inputs", {})
    # Another network or trace of the same shape takes as long; other data is longer or shorter.
    return [name for name, digest in known_inputs.items() if name.startswith("data.") and read.get(name) != digest]


def _other_inputs(record: Record, known_inputs: Mapping[str, str]) -> str:
    unlike = _unlike_inputs(record, known_inputs)
    return f"of other input {', '.join(unlike)}" if unlike else ""


def _why_none(records: Sequence[Record]) -> str:
    last = max(records, key=lambda record: record.started_utc, default=None)
    if last is None:
        return "never ran"
    hardware = Hardware.of(last) or f"{last.gpu or last.host}, whose hardware was not recorded"
    return f"last ran on {hardware}: {last.wall_s:,.0f} s"


def _shown(changed: Sequence[str]) -> str:
    more = len(changed) - _SHOWN_CHANGES
    shown = ", ".join(changed[:_SHOWN_CHANGES])
    return f"{shown} and {more} more" if more > 0 else shown
