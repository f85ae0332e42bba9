"""B7: one pass, left to right: every target is scored once, and no answer is taken back."""

import math

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Change targets one at a time, the last first: the loss that follows the change must be that target's."""
    if trial.subject.declared.order != "file":
        return not_applicable(f"scored in another order than the file's, as declared: {trial.subject.declared.order}")
    N = trial.text.targets
    # Where a target was likelier than most, another token in its place costs something else, but for a few as likely.
    even_nats = math.log(trial.text.vocab_size) * (1 - 1e-9)
    ordinary = np.flatnonzero(trial.text.tokens[1:] != (-1 if trial.text.bos_id is None else trial.text.bos_id))
    likely = ordinary[np.argsort(trial.base[ordinary], kind="stable")][:3] + 1
    some = trial.rng("B7").integers(1, N + 1, size=0 if trial.apart else 6)
    targets = sorted({N, *likely.tolist(), *some.tolist()})
    own, silent = 0, 0
    for target in targets:
        where = np.arange(N + 1) == target
        tokens = trial.text.with_replaced(where, "random tokens", trial.rng(f"B7 {target}"))
        if (tokens == trial.text.tokens).all():
            continue
        moved = np.abs(trial.losses(tokens) - trial.base) > trial.noise.tolerance_nats
        if moved[: target - 1].any():
            first = int(np.argmax(moved)) + 1
            return failed(
                f"changing target {target:,} moved the loss in place {first:,}: they are not in the text's order, "
                "or one was given again after the text had been read",
                Evidence(what="a change before its place", target=first, values={"changed": target}),
            )
        own += bool(moved[target - 1])
        silent += bool(not moved[target - 1] and trial.base[target - 1] < even_nats)
    if silent and not own:
        return failed(
            f"changing any of {silent} targets left its own loss as it was: the losses do not depend on their targets",
            Evidence(what="a loss without a target", target=targets[-1]),
        )
    return passed(f"{own} of {own + silent} changed targets moved their own loss first; {N:,} losses for {N:,} targets")


CHECK = RuleCheck(
    number="B7",
    name="single pass",
    rule="C4: one left-to-right pass, each target scored once (#1017; two passes: #846, #986)",
    find=find,
)
