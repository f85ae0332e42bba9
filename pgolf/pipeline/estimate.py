"""The expected run time of a stage, from earlier runs of the same work on the same hardware.

Seconds of other hardware or of other work say nothing here: they are named and never used. Along the units of its work
(`pgolf.pipeline.work`) seconds are scaled where that was shown to be right, and nowhere else. Imports neither torch nor
Prefect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pgolf.identity.fingerprint import canonical
from pgolf.pipeline.graph import Node
from pgolf.pipeline.placement import Hardware
from pgolf.pipeline.work import Work
from pgolf.recipes.recipe import TRAIN
from pgolf.run_options import RunOptions
from pgolf.store.differences import changed_fields
from pgolf.store.output_record import Record

_SHOWN_CHANGES = 2
# Of a store of thousands of runs the latest are enough to name a difference.
_COMPARED = 64
# Two runs show that seconds grow with the units if a unit took as long in both, within this factor.
_SAME_PACE = 1.25


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected seconds and where they come from; None and why there are none.

    note: empty where the seconds are those of the same work on the same hardware.
    """

    seconds: float | None
    note: str = ""


def estimate(
    node: Node,
    run: RunOptions,
    work: Work | None,
    records: Sequence[Record],
    work_of: Callable[[Record], Work | None],
    known_inputs: Mapping[str, str],
) -> Estimate:
    """Expected seconds of a node here.

    work: what it has to do, None where that is not known yet. records: of its stage. work_of: what was done for one of
    them. known_inputs: as in its key, so far as known.
    """
    here = Hardware.here(node.stage, node.config, run)
    made_here = [record for record in records if _made_on(record, here)]
    if not made_here:
        return Estimate(None, _with_limit(work, _why_none(records, here)))
    if work is None:
        return Estimate(None, "how much there is to do shows when its inputs are there")
    done = [(record, made) for record in made_here if (made := work_of(record)) is not None]
    alike = [(record, made) for record, made in done if made.shape == work.shape]
    if not alike:
        latest = sorted(done, key=lambda pair: pair[0].started_utc)[-_COMPARED:]
        return Estimate(None, _with_limit(work, _unlike(work, [made for _, made in latest])))

    def nearness(record: Record) -> tuple[bool, int, bool, str]:
        # The same inputs first, then the same node, then the latest.
        read: Mapping[str, str] = record.key.get("inputs", {})
        unlike = sum(read.get(name) != digest for name, digest in known_inputs.items())
        return record.key.get("config") == config, -unlike, record.node == node.name, record.started_utc

    config = canonical(node.config)
    same = [record for record, made in alike if made.units == work.units]
    # A limit may stop as many units earlier than it stopped them, or would have, there.
    if same and (work.most_s is None or work.units is None):
        return Estimate(max(same, key=nearness).wall_s)
    return _scaled(work, alike)


def _scaled(work: Work, alike: Sequence[tuple[Record, Work]]) -> Estimate:
    """Seconds in proportion to the units, beside a start-up that is as long for any number."""
    latest: dict[int, Record] = {}
    for record, made in sorted(alike, key=lambda pair: pair[0].started_utc):
        if made.units:
            latest[made.units] = record
    if work.units is None or not latest:
        return Estimate(None, _with_limit(work, "no earlier run here was one like it to its end"))
    pace_s = {units: _growing_s(record) / units for units, record in latest.items()}
    said = f"{work.units:,} {work.unit}"
    if not work.known_linear:
        if len(pace_s) < 2:
            (units,) = pace_s
            return Estimate(None, f"{said}, and one earlier run here of {units:,} does not show how seconds grow")
        if max(pace_s.values()) > _SAME_PACE * min(pace_s.values()):
            least, most = 1e6 * min(pace_s.values()), 1e6 * max(pace_s.values())
            return Estimate(None, f"{said}, and each took from {least:.3g} to {most:.3g} µs in earlier runs here")
    most = max(latest)
    record, growing_s = latest[most], pace_s[most] * work.units
    start_s = max(0.0, record.wall_s - _growing_s(record))
    note = f"{said} at the pace of {most:,}"
    if work.most_s is not None and growing_s >= work.most_s:
        growing_s = work.most_s
        note = f"its clock limit and {start_s:.1f} s of start-up; {work.units:,} {work.unit} take longer"
    return Estimate(round(start_s + growing_s, 3), note)


def _growing_s(record: Record) -> float:
    """The seconds that grow with the units: of a training those of its steps, else all."""
    return record.phases_s.get("train", record.wall_s) if record.stage == TRAIN.name else record.wall_s


def _made_on(record: Record, here: Hardware) -> bool:
    if "resumed_at_step" in record.facts or "resumed_at_record" in record.facts:
        return False  # its seconds are those of the last part alone
    there = Hardware.of(record)
    return there is not None and there.is_like(here)


def _with_limit(work: Work | None, why: str) -> str:
    limit = "" if work is None or work.most_s is None else f"; its clock stops it after {work.most_s:,g} s of training"
    return why + limit


def _why_none(records: Sequence[Record], here: Hardware) -> str:
    last = max(records, key=lambda record: record.started_utc, default=None)
    if last is None:
        return "never ran"
    there = Hardware.of(last)
    if there is not None and there.is_like(here):
        return "ran here, but went on after a kill: its seconds are those of a part"
    hardware = there or f"{last.gpu or last.host}, whose hardware was not recorded"
    return f"last ran on {hardware}: {last.wall_s:,.0f} s"


def _unlike(work: Work, done: Sequence[Work]) -> str:
    """What no earlier run here had as it is now, by the one with the fewest differences."""
    changes = min((changed_fields(made.shape, work.shape) for made in done), key=len, default=[])
    if not changes:
        return "what earlier runs here had to do is not known any more"
    more = len(changes) - _SHOWN_CHANGES
    shown = ", ".join(changes[:_SHOWN_CHANGES]) + (f" and {more} more" if more > 0 else "")
    return f"earlier runs here were of other work: {shown}"
