"""Tables of a comparison: the settings that differ, every seed's score, and the tests."""

import json
from collections.abc import Sequence

from pgolf.compare.arms import Arm
from pgolf.compare.comparison import Gain, Per, losses, title_of
from pgolf.stats.seeds import summarize
from pgolf.tables.named_runs import settings_that_differ
from pgolf.tables.sheet import Sheet, SheetColumn, Value

# So many settings tell what an arm is; with more the arms are simply others.
_SETTINGS_SHOWN = 30


def settings_sheet(arms: Sequence[Arm], most: int | None = _SETTINGS_SHOWN) -> Sheet:
    """One row per setting in which the arms' recipes differ, one column per arm. most: rows; None for all."""
    runs = [arm.runs[0] for arm in arms]
    paths = settings_that_differ(runs)
    rows: list[tuple[Value, ...]] = []
    shown = paths[:most]
    for path in shown:
        rows.append((path, *(_setting(arm, path) for arm in arms)))
    scorers = [arm.scorer for arm in arms]
    if len(set(scorers)) > 1 or not paths:
        rows.append(("scorer", *scorers))
    notes = [f"{arm.name}: {note}" for arm in arms for note in arm.notes]
    if unsaid := [arm.name for arm in arms if not arm.runs[0].config]:
        notes.append(f"an earlier version filed {', '.join(unsaid)} and did not say its settings")
    if len(paths) > len(shown):
        notes.append(f"and {len(paths) - len(shown)} settings more; --json has all")
    headings = (SheetColumn("setting", "setting"), *(SheetColumn(f"arm_{k}", arm.name) for k, arm in enumerate(arms)))
    return Sheet("settings that differ", headings, tuple(rows), tuple(notes))


def _setting(arm: Arm, path: str) -> Value:
    try:
        value = arm.runs[0].setting(path)
    except KeyError:
        return None
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def seeds_sheet(arms: Sequence[Arm], per: Per) -> Sheet:
    """One row per seed with every arm's loss, then mean and standard deviation."""
    of_arm = [losses(arm, per) for arm in arms]
    seeds = sorted({seed for found in of_arm for seed in found} | {one.seed for arm in arms for one in arm.missing})
    summaries = [summarize(found.values()) for found in of_arm]
    rows: list[tuple[Value, ...]] = [(str(seed), *(found.get(seed) for found in of_arm)) for seed in seeds]
    rows.append(("mean", *(summary.mean for summary in summaries)))
    rows.append(("std", *(summary.std for summary in summaries)))
    rows.append(("n", *(arm.n for arm in arms)))
    notes = [
        f"{arm.name}: one seed, so no standard deviation"
        for arm, summary in zip(arms, summaries)
        if summary.std is None
    ]
    headings = (
        SheetColumn("seed", "seed"),
        *(SheetColumn(f"arm_{k}", arm.name, ".5f") for k, arm in enumerate(arms)),
    )
    return Sheet(f"loss in nats per {per}", headings, tuple(rows), tuple(notes))


def verdicts_sheet(gains: Sequence[Gain]) -> Sheet:
    """One row per candidate and test: gain, interval, t, degrees of freedom and p."""
    rule = gains[0].rule
    rows: list[tuple[Value, ...]] = []
    notes: list[str] = []
    for gain in gains:
        name = gain.candidate.name
        for test in (gain.welch, *([gain.paired] if gain.paired else [])):
            adjusted = None if gain.arms == 1 or test is not gain.over_seeds else gain.p_value
            interval = _interval(test.low_nats, test.high_nats)
            rows.append((name, title_of(test), test.gain_nats, interval, test.t, test.df, test.p, adjusted))
        if (found := gain.documents) is not None:
            interval = _interval(found.low_nats, found.high_nats)
            rows.append((name, f"{found.documents:,} documents", found.gain_nats, interval, None, None, found.p, None))
        else:
            notes.append(f"no test over documents: {gain.no_documents}")
        if gain.shared_networks:
            notes.append(
                f"{gain.shared_networks} of the trained networks are in {name} and in {gain.base.name}: Welch's test "
                "takes seeds for independent, and these are not"
            )
        if gain.paired is None:
            notes.append(f"no paired test: {name} and {gain.base.name} have other seeds")
        if rule.per == "token" and gain.gain_bpb is not None:
            notes.append(
                f"{name} is {abs(gain.gain_nats_per_byte or 0.0):.5f} nats per byte, {abs(gain.gain_bpb):.5f} bits per "
                f"byte {'below' if gain.gain_bpb >= 0 else 'above'} {gain.base.name}"
            )
    # What was asked for leaves last where a terminal is narrow: p, then the gain and its interval.
    headings = (
        SheetColumn("arm", "arm", shown=len(gains) > 1, spare=-1),
        SheetColumn("test", "test", spare=-1),
        SheetColumn("gain_nats", f"gain (nats/{rule.per})", ".5f", spare=-1),
        SheetColumn("interval_nats", "95% interval", spare=1),
        SheetColumn("t", "t (losses)", ".3f", spare=2),
        SheetColumn("df", "df", ".2f", spare=3),
        SheetColumn("p", f"p(gain > {rule.margin_nats:g})", ".3g", spare=-3),
        SheetColumn("p_holm", "p (Holm)", ".3g", shown=len(gains) > 1, spare=-2),
    )
    last = (
        f"gain: loss of {gains[0].base.name} minus the arm's; one-sided tests, margin {rule.margin_nats:g} "
        f"{rule.unit}; t is of losses, negative where the gain exceeds the margin; documents: resampled for these "
        "trained networks, seeds: for others of the recipe",
        f"rule: {rule.source}",
    )
    return Sheet("tests", headings, tuple(rows), (*notes, *last))


def _interval(low_nats: float | None, high_nats: float | None) -> str | None:
    """Both ends in one column, so that neither leaves without the other."""
    return None if low_nats is None or high_nats is None else f"{low_nats:.5f} … {high_nats:.5f}"
