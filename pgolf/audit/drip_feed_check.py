"""B6: a scorer that gets piece after piece, each only after it has scored the one before, scores as it did at once."""

from collections.abc import Sequence

import numpy as np

from pgolf.audit.likely_cuts import likely_cuts
from pgolf.audit.noise import TELLING_NATS, difference, reordered_nats
from pgolf.audit.replaced_future import change_before
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Losses
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed

# Each is a further evaluation.
_MOST_REPLACED = 4
# As in B2, of means of runs; and, as in B3, of roundings that go up as often as down.
_DEVIATIONS, _TIMES_THE_ROOT = 7.0, 5.0


def find(trial: Trial) -> Finding:
    """Feed the text in pieces that end where a look ahead is likely, and in uneven ones; compare with the whole."""
    if not trial.takes_pieces:
        return not_applicable("the scorer takes whole texts only; B1 and B2 replace what a feed would hold back")
    pieces = {"pieces that end at likely cuts": ends_at_cuts(trial), "uneven pieces": _uneven(trial)}
    for name, ends in pieces.items():
        if (told := told_by_the_whole(trial, name, ends)) is not None:
            return told
    numbers = " and ".join(f"{len(ends):,} {name}" for name, ends in pieces.items())
    off_nats = trial.division_nats
    how = "" if off_nats == 0 else f", but for rounding of up to {off_nats:.1e} nats that what follows does not change"
    return passed(f"fed in {numbers}, every target costs what it costs in the whole text{how}")


def told_by_the_whole(trial: Trial, name: str, ends: Sequence[int]) -> Finding | None:
    """A finding if a target costs something else when what follows its piece was not there yet; None if none does.

    A difference alone accuses nobody: arrays of other shapes are rounded otherwise. So what follows is replaced in the
    whole text, and a loss that changes then depends on it.
    """
    base, fed = trial.base, trial.fed(ends)
    off = difference(fed, base)
    tolerance = trial.tolerance_nats(base)
    place = int(np.argmax(off - tolerance))
    if off[place] <= tolerance[place]:
        return _told_in_the_mean(trial, name, fed)
    end_N = np.array(ends)[np.searchsorted(ends, np.arange(1, trial.text.targets + 1))]
    for target in _most_different(off - tolerance, end_N):
        scored = int(end_N[target - 1])
        if scored < trial.text.targets and (change := change_before(trial, scored, "random tokens")) is not None:
            return failed(
                f"fed in {name}, target {target:,} cost {fed[target - 1]:.6f} nats; in the whole text "
                f"{base[target - 1]:.6f}: the whole told something that comes later",
                change.evidence(),
            )
    if off[place] <= TELLING_NATS:
        return _told_in_the_mean(trial, name, fed)
    if not trial.apart:
        return failed(
            f"fed in {name}, target {place + 1:,} cost {fed[place]:.6f} nats; in the whole text {base[place]:.6f}, "
            "whatever follows it there: one of the two is not the score",
            Evidence(what=f"fed in {name}", target=place + 1, values={"off_nats": float(off[place])}),
        )
    return inconclusive(
        f"fed in {name}, target {place + 1:,} cost {fed[place]:.6f} nats; in the whole text {base[place]:.6f}, "
        "whatever follows it there",
        "losses that do not depend on how the text is divided, or pieces as in its own run (--piece-targets)",
        Evidence(what=f"fed in {name}", target=place + 1, values={"off_nats": float(off[place])}),
    )


def _told_in_the_mean(trial: Trial, name: str, fed: Losses) -> Finding | None:
    """Of a program whose losses in pieces are the whole text's within rounding, target by target: whether they are in
    the mean. Rounding goes up as often as down, and what B3 and B4 find holds for pieces.
    """
    if not trial.apart:
        return None
    runs = np.stack(trial.runs)
    off_N = fed - runs.mean(axis=0)
    off_nats, N = float(off_N.mean()), len(off_N)
    of_runs = float(runs.mean(axis=1).std(ddof=1)) if len(runs) > 1 else 0.0
    # A rounding each, whatever the target; or noise that a whole run shares.
    limit = float(reordered_nats(trial.base).mean()) + _DEVIATIONS * of_runs
    if abs(off_nats) <= max(limit, _TIMES_THE_ROOT * float(np.sqrt((off_N**2).sum())) / N):
        return None
    return inconclusive(
        f"fed in {name}, the text costs {fed.mean():.6f} nats a target; in one {runs.mean():.6f}, which is further "
        f"apart than rounding explains ({limit:.1g})",
        "losses that do not depend on how the text is divided, or pieces as in its own run (--piece-targets)",
        Evidence(what=f"mean when fed in {name}", values={"off_nats": off_nats, "limit_nats": limit}),
    )


def _most_different(over_N: np.ndarray, end_N: np.ndarray) -> list[int]:
    """Targets that differ most, the worst of a piece each."""
    worst = {int(end_N[place]): int(place) + 1 for place in np.argsort(over_N, kind="stable") if over_N[place] > 0}
    return sorted(worst.values(), key=lambda target: -over_N[target - 1])[:_MOST_REPLACED]


def ends_at_cuts(trial: Trial) -> list[int]:
    """Where pieces end so that a scorer meets each of the cuts of B2, and the first targets one by one."""
    N = trial.text.targets
    return sorted({*range(1, min(N, trial.effort.cuts // 4)), *likely_cuts(trial)[: trial.effort.cuts], N})


def _uneven(trial: Trial) -> list[int]:
    rng, N, ends = trial.rng("B6"), trial.text.targets, [0]
    while ends[-1] < N:
        ends.append(min(N, ends[-1] + int(rng.integers(1, 2 + N // 8))))
    return ends[1:]


CHECK = RuleCheck(
    number="B6",
    name="score before update",
    rule="C3: a score is fixed before anything is learned from its target (#1017, README: only tokens already graded)",
    find=find,
)
