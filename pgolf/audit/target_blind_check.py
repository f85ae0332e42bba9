"""B5: the distribution that a scorer tells before it sees a target is the one that the target is scored by."""

from collections.abc import Mapping, Sequence

import numpy as np

from pgolf.audit.noise import TIMES_THE_LARGEST, difference
from pgolf.audit.partial_sums_check import likely_tokens
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Losses, Session, Tokens
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed

# Of targets that are changed in one text: what stands between them is as it was, for most contexts of n-grams.
_FAR_APART = 16


def find(trial: Trial) -> Finding:
    """Ask for the distribution, then score tokens, the likeliest and random ones, and compare."""
    if not trial.tells_distributions:
        return not_applicable("the scorer tells no distribution; B3 scores every token instead")
    if trial.foretells:
        return _foretold(trial)
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
            return _other_than_told(target, int(some[worst]), told_V[some[worst]], scored[worst])
        largest = max(largest, float(apart.max()))
    return passed(
        f"{len(asked)} targets, {len(chosen)} of them with other tokens too: what was told and what was scored differ "
        f"by {largest:.1e} nats at most"
    )


def _foretold(trial: Trial) -> Finding:
    """Texts with other tokens at targets far apart: each is foretold there, and scored.

    What is foretold, with the text at hand, is also what a session tells that has nothing but what stands before.
    """
    rng, text = trial.rng("B5"), trial.text
    chosen = trial.spread_targets(trial.effort.screened, rng, by_text=True)
    if not chosen:
        return inconclusive("no target at which another token could stand", "a text of more than document starts")
    targets = sorted(chosen)
    told_TV = trial.foretold(text.tokens, targets)
    alone = sorted(rng.permutation(len(targets))[: trial.effort.coded].tolist())
    with trial.evaluation() as session:
        fed = 0
        for place in alone:
            target, along_V = targets[place], told_TV[place]
            if target - 1 > fed:
                trial.feed(session, text.tokens[fed + 1 : target])
                fed = target - 1
            alone_V = trial.distribution(session)
            over_V = difference(along_V, alone_V) - trial.tolerance_nats(alone_V)
            if over_V.max() > 0:
                token = int(np.argmax(over_V))
                return failed(
                    f"before target {target:,} the scorer told {alone_V[token]:.6f} nats for token {token}, and "
                    f"{along_V[token]:.6f} where it had the whole text",
                    Evidence(what="told twice", target=target, values={"off_nats": float(over_V.max())}),
                )
    if (finding := _as_told(trial, text.tokens, targets, told_TV)) is not None:
        return finding
    groups, count = max(1, len(targets) * _FAR_APART // text.targets), trial.effort.candidates
    for number in range(count):
        for own in (targets[group::groups] for group in range(groups)):
            tokens = text.tokens.copy()
            for target in own:
                likely = likely_tokens(trial, target, 1 + count)[1:]
                tokens[target] = likely[number] if number % 2 == 0 and number < len(likely) else rng.choice(trial.tries)
            if (finding := _as_told(trial, tokens, own, trial.foretold(tokens, own))) is not None:
                return finding
    return passed(
        f"{len(targets)} targets with {1 + count} tokens each, in {1 + count * groups} texts, cost what had been told; "
        f"{len(alone)} of them were told where nothing that follows was known"
    )


def _as_told(trial: Trial, tokens: Tokens, targets: Sequence[int], told_TV: Losses) -> Finding | None:
    """A finding if a target of a text costs something else than was told of its token."""
    places = np.array(targets)
    scored_T, told_T = trial.losses(tokens)[places - 1], told_TV[np.arange(len(places)), tokens[places]]
    apart_T = difference(scored_T, told_T)
    worst = int(np.argmax(apart_T - trial.tolerance_nats(scored_T)))
    if apart_T[worst] <= trial.tolerance_nats(scored_T)[worst]:
        return None
    return _other_than_told(targets[worst], int(tokens[places[worst]]), told_T[worst], scored_T[worst])


def _other_than_told(target: int, token: int, told_nats: float, scored_nats: float) -> Finding:
    return failed(
        f"before target {target:,} the scorer told {told_nats:.6f} nats for token {token}, and as the target it cost "
        f"{scored_nats:.6f}",
        Evidence(what="told and scored", target=target, values={"off_nats": abs(told_nats - scored_nats)}),
    )


CHECK = RuleCheck(
    number="B5",
    name="target-blind",
    rule="C1, C2: no weight and no branch sees the target (#1145, #1420, #659)",
    find=find,
)
