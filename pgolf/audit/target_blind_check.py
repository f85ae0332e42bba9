"""B5: the distribution that a scorer tells before it sees a target is the one that the target is scored by."""

from collections.abc import Mapping, Sequence

import numpy as np

from pgolf.audit.noise import TIMES_THE_LARGEST, difference
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Session
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Ask for the distribution, then score tokens, the likeliest and random ones, and compare."""
    if not trial.tells_distributions:
        return not_applicable("the scorer tells no distribution; B3 scores every token instead")
    rng, N = trial.rng("B5"), trial.text.targets
    chosen = trial.spread_targets(trial.effort.screened, rng)
    # The text's own tokens have been scored already, so they are compared everywhere.
    asked = list(range(1, N + 1)) if trial.effort.cuts >= N else sorted(chosen)
    with trial.evaluation() as session:
        return _compared(trial, session, asked, chosen, rng)


def _compared(
    trial: Trial, session: Session, asked: Sequence[int], chosen: Mapping[int, str], rng: np.random.Generator
) -> Finding:
    fed, largest = 0, 0.0
    for target in asked:
        if target - 1 > fed:
            trial.feed(session, trial.text.tokens[fed + 1 : target])
            fed = target - 1
        told_V = trial.distribution(session)
        some = trial.text.tokens[target : target + 1]
        if target in chosen:
            likely = np.argsort(told_V)[:3]
            some = np.intersect1d([*some, *likely, *rng.integers(len(told_V), size=3)], trial.tries).astype(np.uint16)
        if not trial.apart:
            scored = trial.candidate_losses(target, some)
        elif trial.forks:
            scored = trial.next_losses(session, some)
        else:  # one token can be tried without another start: the one that comes
            some, fed = trial.text.tokens[target : target + 1], target
            scored = trial.feed(session, some)
        apart = difference(scored, told_V[some])
        over = apart - trial.tolerance_nats(scored) - TIMES_THE_LARGEST * trial.division_nats
        worst = int(np.argmax(over))
        if over[worst] > 0:
            token = int(some[worst])
            return failed(
                f"before target {target:,} the scorer told {told_V[token]:.6f} nats for token {token}, and as the "
                f"target it cost {scored[worst]:.6f}",
                Evidence(what="told and scored", target=target, values={"off_nats": float(apart[worst])}),
            )
        largest = max(largest, float(apart.max()))
    return passed(
        f"{len(asked)} targets, {len(chosen)} of them with other tokens too: what was told and what was scored differ "
        f"by {largest:.1e} nats at most"
    )


CHECK = RuleCheck(
    number="B5",
    name="target-blind",
    rule="C1, C2: no weight and no branch sees the target (#1145, #1420, #659)",
    find=find,
)
