"""B11: the same question gets the same answer: again, later, from a fresh copy, however the work is divided."""

import math

import numpy as np

from pgolf.audit.noise import TELLING_NATS, difference, reordered_nats
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, passed

# Rules, check B11: across batch sizes and process counts the score may differ by 1e-6 bits per byte. The mean loss per
# token is at least that many nats where a token has a byte or more.
ACROSS_NATS = 1e-6 * math.log(2)
_DEVIATIONS = 6.0  # of a normal distribution: once in 10^9


def find(trial: Trial) -> Finding:
    """Compare identical runs, first answers with later ones, fresh copies and variants with the scorer itself."""
    last = trial.ask(trial.text.tokens)
    off_N = np.max([difference(run, trial.base) for run in (*trial.runs[1:], last)], axis=0)
    first_off, place = float(off_N.max()), int(np.argmax(off_N))
    beyond_rounding = (off_N > reordered_nats(trial.base)).any()
    if beyond_rounding and _spread([*trial.runs[1:], last]) == 0:
        return failed(
            f"the first answer about the text is not what every later one is: target {place + 1:,} cost "
            f"{trial.base[place]:.6f} nats, then {last[place]:.6f}",
            Evidence(what="first and later answers", target=place + 1, values={"off_nats": first_off}),
        )
    mean_off = abs(float(last.mean() - trial.base.mean()))
    for finding in (_of_later_runs(trial), _of_fresh_copies(trial), _of_variants(trial, mean_off)):
        if finding is not None:
            return finding
    others = [*(["fresh copies"] if trial.subject.fresh else []), *trial.subject.variants]
    also = f", as with {', '.join(others)}" if others else ""
    if first_off == 0:
        return passed(f"{len(trial.runs) + 1} runs agree to the bit{also}")
    if first_off > TELLING_NATS:
        return inconclusive(
            f"runs differ by up to {first_off:.3g} nats at a target, and by {mean_off:.2g} nats in the mean",
            "a fixed seed, or deterministic kernels",
            Evidence(what="noise between runs", values={"largest_nats": first_off, "mean_nats": mean_off}),
        )
    return passed(f"runs differ by up to {first_off:.2g} nats at a target, {mean_off:.1e} in the mean{also}")


def _of_later_runs(trial: Trial) -> Finding | None:
    """Whether runs get better, or worse, one after the other: noise has no direction.

    Kendall's test: the number of pairs of runs in order, less those out of order.
    """
    means = np.array([run.mean() for run in trial.runs])
    count = len(means)
    score = float(np.triu(np.sign(means[None, :] - means[:, None]), 1).sum())
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if abs(score) <= _DEVIATIONS * deviation:
        return None
    return failed(
        f"{count} runs over the same text go from {means[0]:.5f} to {means[-1]:.5f} nats in the mean, nearly every one "
        f"{'worse' if score > 0 else 'better'} than the one before: an evaluation leaves something for the next",
        Evidence(what="runs in order", values={"first_nats": means[0], "last_nats": means[-1]}),
    )


def _of_fresh_copies(trial: Trial) -> Finding | None:
    """Ask copies that have heard nothing one question each: the text, and the text with another token somewhere."""
    rng, N = trial.rng("B11"), trial.text.targets
    changed = [None, *rng.integers(1, N + 1, size=max(0, trial.effort.fresh - 1)).tolist()]
    for target in changed:
        if (copy := trial.fresh()) is None:
            return None
        tokens = trial.text.with_replaced(np.arange(N + 1) == target, "random tokens", rng)
        known = trial.losses(tokens)
        losses = trial.ask(tokens, copy)
        off = difference(losses, known)
        worst = int(np.argmax(off - trial.tolerance_nats(known)))
        if off[worst] > trial.tolerance_nats(known)[worst]:
            return failed(
                f"a copy that had heard no other question gave target {worst + 1:,} of a text {losses[worst]:.6f} "
                f"nats, and the scorer, which had, {known[worst]:.6f}: it remembers what it was asked before",
                Evidence(what="a fresh copy", target=worst + 1, values={"off_nats": float(off[worst])}),
            )
    return None


def _of_variants(trial: Trial, mean_off: float) -> Finding | None:
    for name, scorer in trial.subject.variants.items():
        losses = trial.ask(trial.text.tokens, scorer)
        off = abs(float(losses.mean() - trial.base.mean()))
        off_N = trial.off(losses)
        if off > ACROSS_NATS + 3 * mean_off and off_N.any():
            return failed(
                f"as {name} the mean loss is {losses.mean():.6f} nats instead of {trial.base.mean():.6f}",
                Evidence(what=name, target=int(np.argmax(off_N)) + 1, values={"off_nats": off}),
            )
    return None


def _spread(runs: list[np.ndarray]) -> float:
    stacked = np.stack(runs)
    return float((stacked.max(axis=0) - stacked.min(axis=0)).max())


CHECK = RuleCheck(
    number="B11",
    name="determinism",
    rule="the same run gives the same score, whatever the batch size and the number of processes (#808)",
    find=find,
)
