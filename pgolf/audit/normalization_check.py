"""B3: after any beginning of a text, the probabilities of all tokens sum to 1."""

import numpy as np

from pgolf.audit.noise import TELLING_NATS, TIMES_THE_LARGEST
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.strata import spread_over, strata
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, passed


def find(trial: Trial) -> Finding:
    """Score every token of the vocabulary as the next, at targets of every kind."""
    chunk = trial.subject.declared.chunk_targets
    count = trial.affordable(trial.effort.enumerated, trial.text.vocab_size)
    if count == 0:
        return inconclusive(
            f"all {trial.text.vocab_size:,} tokens at one target take as many starts of the program, and "
            f"{trial.effort.starts:,} are allowed; B4 tries the likeliest",
            'a program that offers "distribution" or "mark", or --thorough where it starts quickly',
        )
    chosen = dict(spread_over(strata(trial.text, trial.base, chunk), count, trial.rng("B3")))
    largest = 0.0
    for target, losses_V in trial.enumerated_in_order(list(chosen)):
        mass = float(np.exp(-losses_V).sum())
        tolerance = trial.precision.mass_tolerance(losses_V, trial.noise)
        own_nats = float(losses_V[trial.text.tokens[target]])
        numbers = {"mass": mass, "tolerance": tolerance, "loss_nats": own_nats}
        where = f"at target {target:,} ({chosen[target]})"
        if abs(mass - 1) > tolerance:
            why = (
                "more than there is, so no code has these lengths"
                if mass > 1
                else "less than 1, so this is no distribution over the vocabulary"
            )
            return failed(
                f"the probabilities of all {len(losses_V):,} tokens {where} sum to {mass:.6g}: {why}",
                Evidence(what=f"total mass {where}", target=target, values=numbers),
            )
        off = abs(own_nats - float(trial.base[target - 1]))
        allowed = trial.noise.tolerance_nats + TIMES_THE_LARGEST * trial.division_nats
        if off > allowed + 2.0 ** (2 - trial.precision.bits) * max(1.0, own_nats):
            return failed(
                f"{where} the text's own token had a loss of {trial.base[target - 1]:.6f} nats in the whole text and "
                f"{own_nats:.6f} where each token was tried: what was tried is not what is scored",
                Evidence(what=f"two answers {where}", target=target, values={"off_nats": off}),
            )
        largest = max(largest, abs(mass - 1))
    noise_nats = trial.noise.tolerance_nats
    seen = f"{len(chosen)} targets of {len(set(chosen.values()))} kinds, all {trial.text.vocab_size:,} tokens each"
    if noise_nats > TELLING_NATS:
        return inconclusive(
            f"{seen}: the sum is 1 within {largest:.2g}, and {trial.noise}",
            f"a scorer whose runs differ by less than {TELLING_NATS / 3:.2g} nats",
        )
    return passed(f"{seen}: the sum is 1 within {largest:.1e} (losses in {trial.precision.name})")


CHECK = RuleCheck(
    number="B3",
    name="normalization",
    rule="C2: a full distribution over the vocabulary, fixed before the target is seen (#1017, #779)",
    find=find,
)
