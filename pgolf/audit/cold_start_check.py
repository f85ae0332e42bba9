"""B9: an evaluation begins with the artifact and nothing of the text: neither of this one nor of one before."""

import numpy as np

from pgolf.audit.causality_check import beyond_noise
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed


def find(trial: Trial) -> Finding:
    """Put another text behind the first targets, then score another text first and this one after it."""
    N = trial.text.targets
    place_N, first = trial.places, max(1, min(64, N // 8))
    where = np.concatenate([[False], place_N >= first])
    tokens = trial.text.with_replaced(where, "another text", trial.rng("B9"))
    for what, losses in (
        ("with another text behind them", trial.losses(tokens)),
        ("after a whole other text had been scored", _after_another(trial)),
    ):
        off = np.where(place_N < first, trial.off(losses), 0.0)
        place = int(np.argmax(off))
        if off[place] > 0:
            return failed(
                f"{what}, target {place + 1:,} of the first {first} costs {losses[place]:.4f} nats instead of "
                f"{trial.base[place]:.4f}: the scorer had seen the text before it began",
                Evidence(what=what, target=place + 1, values={"off_nats": float(off[place])}),
            )
    return beyond_noise(
        trial, f"the first {first} targets cost the same whatever text follows or came before, none moved"
    )


def _after_another(trial: Trial) -> np.ndarray:
    other = trial.text.with_replaced(np.ones(trial.text.targets + 1, dtype=bool), "another text", trial.rng("B9 other"))
    trial.losses(other)
    return trial.ask(trial.text.tokens)


CHECK = RuleCheck(
    number="B9",
    name="cold start",
    rule="nothing is learned from the validation text before it is scored (#1376, #1972, #728)",
    find=find,
)
