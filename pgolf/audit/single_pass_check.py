"""B7: one pass, left to right: every target is scored once, and no answer is taken back."""

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Change targets one at a time: no loss before the changed target may move."""
    if trial.subject.declared.order != "file":
        return not_applicable(f"scored in another order than the file's, as declared: {trial.subject.declared.order}")
    N = trial.text.targets
    count = min(2, trial.effort.moved) if trial.apart else trial.effort.moved
    targets = sorted({N, *trial.rng("B7").integers(1, N + 1, size=count).tolist()})
    own, tried = 0, 0
    for target in targets:
        where = np.arange(N + 1) == target
        tokens = trial.text.with_replaced(where, "random tokens", trial.rng(f"B7 {target}"))
        if (tokens == trial.text.tokens).all():
            continue
        moved = trial.off(trial.losses(tokens)) > 0
        if moved[: target - 1].any():
            first = int(np.argmax(moved)) + 1
            return failed(
                f"changing target {target:,} moved the loss in place {first:,}: they are not in the text's order, "
                "or one was given again after the text had been read",
                Evidence(what="a change before its place", target=first, values={"changed": target}),
            )
        own += bool(moved[target - 1])
        tried += 1
    return passed(
        f"{own} of {tried} changed targets moved their own loss, none an earlier one; {N:,} losses for {N:,} targets"
    )


CHECK = RuleCheck(
    number="B7",
    name="single pass",
    rule="C4: one left-to-right pass, each target scored once (#1017; two passes: #846, #986)",
    find=find,
)
