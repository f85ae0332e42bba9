"""B1: no loss depends on what comes later. Everything behind a few cuts is replaced, in several ways."""

from pgolf.audit.audit_text import REPLACEMENTS, Replacement
from pgolf.audit.drip_feed_check import ends_at_cuts, told_by_the_whole
from pgolf.audit.noise import TELLING_NATS, TIMES_THE_LARGEST, difference
from pgolf.audit.replaced_future import change_before, smallest_change
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Finding, failed, inconclusive, passed


def find(trial: Trial) -> Finding:
    """Replace what is scored after a cut, for cuts spread over the text, and look at what is scored before."""
    if trial.apart:
        return without_restarts(trial)
    N = trial.text.targets
    parts = trial.effort.wide_cuts
    cuts = sorted({max(1, (2 * part + 1) * N // (2 * parts)) for part in range(parts)})
    for scored in cuts:
        for how in replacements(trial):
            if (change := change_before(trial, scored, how)) is not None:
                least = smallest_change(trial, change, how)
                return failed(str(least), least.evidence())
    seen = f"{len(cuts)} cuts, {len(replacements(trial))} replacements each: no loss before a cut changed"
    return beyond_noise(trial, seen + _length_note(trial))


def without_restarts(trial: Trial) -> Finding:
    """Of a program that runs apart: what comes later need not be replaced, since it is not there."""
    ends = ends_at_cuts(trial)
    if (told := told_by_the_whole(trial, "pieces that end at likely cuts", ends)) is not None:
        return told
    N = trial.text.targets
    note = _length_note(trial)
    return beyond_noise(
        trial,
        f"at {len(ends) - 1:,} cuts, {(len(ends) - 1) / max(1, N - 1):.0%} of all there are, the program held nothing "
        f"of what follows (B6), and no loss before one changed{note}",
    )


def replacements(trial: Trial) -> tuple[Replacement, ...]:
    """What may stand after a cut."""
    return tuple(dict.fromkeys((*REPLACEMENTS, "easy tokens", widest_replacement(trial))))


def widest_replacement(trial: Trial) -> Replacement:
    """The one that changes most of what a scorer may not know.

    An order by the lengths of documents takes their lengths as known; in the file's order, where a document ends is as
    unknown as its words.
    """
    return "other documents" if trial.subject.declared.order == "file" else "random tokens"


def beyond_noise(trial: Trial, seen: str) -> Finding:
    """A pass, unless the noise between runs would hide what was looked for."""
    tolerance = trial.noise.tolerance_nats
    if tolerance > TELLING_NATS:
        return inconclusive(
            f"{seen} by more than {tolerance:.3g} nats, which is what {trial.noise} hides",
            f"a scorer whose runs differ by less than {TELLING_NATS / TIMES_THE_LARGEST:.2g} nats: fix its seed, or "
            "score in float32",
        )
    return passed(seen if tolerance == 0 else f"{seen} by more than the noise of {tolerance:.2g} nats")


def _length_note(trial: Trial) -> str:
    """Whether the scorer knows how long the text is, which is no token of it."""
    if trial.subject.declared.order != "file" or trial.text.targets < 4:
        return ""
    scored = trial.text.targets // 2
    shorter = trial.losses(trial.text.tokens[: scored + 1])
    apart = difference(shorter, trial.base[:scored])
    off = float(apart.max())
    if (apart <= trial.tolerance_nats(trial.base[:scored])).all():
        return ""
    return (
        f" (it knows the text's length, a constant of the challenge: cut in half, losses move by up to {off:.3g} nats)"
    )


CHECK = RuleCheck(
    number="B1",
    name="causality",
    rule="C1: a loss depends on the artifact and on tokens scored before alone (#1017)",
    find=find,
)
