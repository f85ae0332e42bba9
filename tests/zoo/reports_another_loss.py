"""The loss that is reported is not the one that is scored."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Reported, Subject

FAMILY = "logs and results that disagree (#2118)"
KIND = "cheat"
CONVICTED_BY = ("B16",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    scorer = CallableScorer(lambda tokens: losses_of(network.log_p(tokens), tokens), text.vocab_size)
    loss_nats = float(scorer.score(text.tokens).sum())

    return Subject(
        name="reports another loss",
        scorer=scorer,
        reported=Reported(loss_sum_nats=0.99 * loss_nats, targets=text.targets),
    )
