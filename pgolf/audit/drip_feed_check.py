"""B6: a scorer that gets token after token, each only after it has scored the one before, scores as it did at once."""

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Feed the text in single tokens, and in pieces of uneven length, and compare with the whole."""
    if not trial.takes_pieces:
        return not_applicable("the scorer takes whole texts only; B1 and B2 replace what a feed would hold back")
    N = trial.text.targets
    single = min(N, trial.effort.cuts)
    pieces = {"single tokens": [1] * single + ([N - single] if single < N else []), "uneven pieces": _uneven(trial)}
    for name, lengths in pieces.items():
        session, fed, losses = trial.start(), 0, []
        for length in lengths:
            losses.append(trial.feed(session, trial.text.tokens[fed + 1 : fed + 1 + length]))
            fed += length
        off = np.abs(np.concatenate(losses) - trial.base)
        place = int(np.argmax(off))
        tolerance = trial.noise.tolerance_nats + 2.0 ** (2 - trial.precision.bits) * max(1.0, trial.base[place])
        if off[place] > tolerance:
            return failed(
                f"fed in {name}, target {place + 1:,} cost {np.concatenate(losses)[place]:.6f} nats; in the whole text "
                f"{trial.base[place]:.6f}: the whole told something that comes later",
                Evidence(what=f"fed in {name}", target=place + 1, values={"off_nats": float(off[place])}),
            )
    return passed(f"the first {single:,} targets one by one, and all in {len(pieces['uneven pieces'])} uneven pieces")


def _uneven(trial: Trial) -> list[int]:
    rng, left, lengths = trial.rng("B6"), trial.text.targets, list[int]()
    while left:
        lengths.append(min(left, int(rng.integers(1, 2 + trial.text.targets // 8))))
        left -= lengths[-1]
    return lengths


CHECK = RuleCheck(
    number="B6",
    name="score before update",
    rule="C3: a score is fixed before anything is learned from its target (#1017, README: only tokens already graded)",
    find=find,
)
