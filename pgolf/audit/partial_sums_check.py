"""B4: a cheap screen for B3 at many more targets: the sum over a few likely tokens alone must not exceed 1.

And at all of them at once: tokens drawn by lot must cost what the lot costs.
"""

import math

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Tokens
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, passed
from pgolf.audit.wager import CONVICTS, cheapest, log_wealth


def find(trial: Trial) -> Finding:
    """Score texts with tokens drawn by lot, then the target and a few tokens that are likely there."""
    if (won := _won_by_lot(trial)) is not None:
        return won
    count = trial.affordable(trial.effort.screened, trial.effort.candidates)
    chosen = trial.spread_targets(count, trial.rng("B4"))
    tried = {target: likely_tokens(trial, target, trial.effort.candidates) for target in chosen}
    largest = 0.0
    for target, losses in trial.tried_in_order(tried):
        candidates, kind = tried[target], chosen[target]
        mass = float(np.exp(-losses).sum())
        if mass > 1 + trial.precision.mass_tolerance(losses, trial.noise):
            words = ", ".join(f"{token} at {np.exp(-loss):.3f}" for token, loss in zip(candidates.tolist(), losses))
            return failed(
                f"{len(candidates)} of {trial.text.vocab_size:,} tokens at target {target:,} ({kind}) already sum to "
                f"{mass:.4f}: {words}",
                Evidence(what=f"partial sum ({kind})", target=target, values={"mass": mass}),
            )
        largest = max(largest, mass)
    draws = sum(len(one.targets) for one in trial.drawn)
    return passed(
        f"{len(chosen)} targets, up to {trial.effort.candidates} tokens each: no sum above {largest:.4f}; {draws:,} "
        "tokens drawn by lot cost no less than the lot"
    )


def _won_by_lot(trial: Trial) -> Finding | None:
    """A finding if tokens that nobody could know cost less than they can."""
    tokens = trial.text.vocab_size - (trial.text.bos_id is not None)
    log_won, count = 0.0, 0
    for one in trial.drawn:
        own = one.losses[one.targets - 1]
        # In the scorer's favour: as dear as noise and rounding allow.
        log_won += log_wealth(own + trial.tolerance_nats(own) + trial.precision.rounding_nats(own), tokens)
        count += len(own)
    if log_won <= CONVICTS:
        return None
    target, token, loss_nats = cheapest(trial.drawn)
    return failed(
        f"{count:,} tokens drawn by lot from {tokens:,} cost so little, target {target:,} {loss_nats:.4f} nats where "
        f"{math.log(tokens):.4f} are fair, that a bet on them grows 10^{log_won / math.log(10):.0f} times: they were "
        "known, or all tokens have more than 1",
        Evidence(
            what=f"a token drawn by lot, {token}",
            target=target,
            values={"loss_nats": loss_nats, "fair_nats": math.log(tokens), "log10_won": log_won / math.log(10)},
        ),
    )


def likely_tokens(trial: Trial, target: int, count: int) -> Tokens:
    """The target's own token, those that followed what stands before it, and the text's most frequent ones."""
    tokens = trial.text.tokens
    found = [int(tokens[target])]
    for length in (4, 2, 1):
        if target > length:
            context = tokens[target - length : target]
            windows = np.lib.stride_tricks.sliding_window_view(tokens[: target - 1], length)
            ends = np.flatnonzero((windows == context).all(axis=1)) + length
            found += tokens[ends[::-1]].tolist()
    found += np.argsort(-np.bincount(tokens, minlength=trial.text.vocab_size), kind="stable")[:count].tolist()
    return np.array([token for token in dict.fromkeys(found) if token in trial.tries][:count], dtype=np.uint16)


CHECK = RuleCheck(
    number="B4",
    name="partial sums",
    rule="C2, screened at many targets: a few tokens may not have more than all (#1147)",
    find=find,
)
