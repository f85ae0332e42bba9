"""B11: the same question gets the same answer: again, later, and however the work is divided."""

import math

import numpy as np

from pgolf.audit.noise import TELLING_NATS
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, passed

# Rules, check B11: across batch sizes and process counts the score may differ by 1e-6 bits per byte. The mean loss per
# token is at least that many nats where a token has a byte or more.
ACROSS_NATS = 1e-6 * math.log(2)


def find(trial: Trial) -> Finding:
    """Compare identical runs, the first answer with the last one, and the variants with the scorer itself."""
    last = trial.ask(trial.text.tokens)
    again = np.abs(last - trial.base)
    runs_off = float(np.abs(np.stack(trial.runs[1:]) - trial.base).max()) if len(trial.runs) > 1 else 0.0
    among_later = _spread([*trial.runs[1:], last])
    first_off = max(float(again.max()), runs_off)
    if first_off > 0 and among_later == 0.0:
        place = int(np.argmax(np.abs(trial.runs[-1] - trial.base) + again))
        return failed(
            f"the first answer about the text is not what every later one is: target {place + 1:,} cost "
            f"{trial.base[place]:.6f} nats, then {last[place]:.6f}",
            Evidence(what="first and later answers", target=place + 1, values={"off_nats": first_off}),
        )
    mean_off = abs(float(last.mean() - trial.base.mean()))
    for name, scorer in trial.subject.variants.items():
        losses = trial.ask(trial.text.tokens, scorer)
        off = abs(float(losses.mean() - trial.base.mean()))
        place = int(np.argmax(np.abs(losses - trial.base)))
        if off > ACROSS_NATS + 3 * mean_off and abs(losses[place] - trial.base[place]) > trial.noise.tolerance_nats:
            return failed(
                f"as {name} the mean loss is {losses.mean():.6f} nats instead of {trial.base.mean():.6f}",
                Evidence(what=name, target=place + 1, values={"off_nats": off}),
            )
    variants = f", as with {', '.join(trial.subject.variants)}" if trial.subject.variants else ""
    if first_off == 0:
        return passed(f"{len(trial.runs) + 1} runs agree to the bit{variants}")
    if first_off > TELLING_NATS:
        return inconclusive(
            f"runs differ by up to {first_off:.3g} nats at a target, and by {mean_off:.2g} nats in the mean",
            "a fixed seed, or deterministic kernels",
            Evidence(what="noise between runs", values={"largest_nats": first_off, "mean_nats": mean_off}),
        )
    return passed(f"runs differ by up to {first_off:.2g} nats at a target, {mean_off:.1e} in the mean{variants}")


def _spread(runs: list[np.ndarray]) -> float:
    stacked = np.stack(runs)
    return float((stacked.max(axis=0) - stacked.min(axis=0)).max())


CHECK = RuleCheck(
    number="B11",
    name="determinism",
    rule="the same run gives the same score, whatever the batch size and the number of processes (#808)",
    find=find,
)
