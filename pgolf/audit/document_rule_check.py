"""B10: documents that are declared to be scored apart are."""

import numpy as np

from pgolf.audit.causality_check import beyond_noise
from pgolf.audit.orders import document_of_target
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Replace all other documents, in place, and look at what one document costs."""
    document_N = document_of_target(trial.text.tokens, trial.text.bos_id)
    if document_N[0] == document_N[-1]:
        return not_applicable("the text is one document")
    largest, worst = 0.0, None
    apart = trial.subject.declared.documents_apart
    for document in _some(trial, document_N):
        own_N = document_N == document
        # A target is a token of its document, but for the last one, which starts the next and stays as it is.
        others = np.concatenate([[document_N[0] != document], ~own_N if apart else document_N < document])
        tokens = trial.text.with_replaced(others, "random tokens", trial.rng(f"B10 {document}"))
        off = np.where(own_N, trial.off(trial.losses(tokens)), 0.0)
        place = int(np.argmax(off))
        if off[place] > largest:
            largest, worst = float(off[place]), (place + 1, int(document))
    if worst is None:
        return beyond_noise(trial, "replacing the others changed none of a document's losses")
    target, document = worst
    seen = f"behind other documents, target {target:,} of document {document:,} costs {largest:.4f} nats more or less"
    if apart:
        return failed(
            f"{seen}, and documents are declared to be scored apart",
            Evidence(what="a loss that depends on another document", target=target, values={"off_nats": largest}),
        )
    return passed(f"{seen}: what one document taught is used in the next, as declared")


def _some(trial: Trial, document_N: np.ndarray) -> list[int]:
    later = np.unique(document_N)[1:]
    if len(later) <= trial.effort.documents:
        return list(later.tolist())
    return sorted(map(int, trial.rng("B10").choice(later, size=trial.effort.documents, replace=False)))


CHECK = RuleCheck(
    number="B10",
    name="document rule",
    rule="only declared effects cross the border of a document (#1797, track A and B of #1017)",
    find=find,
)
