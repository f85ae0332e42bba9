"""B12: the evaluation runs alone: in an empty folder, without network, with nothing but what was submitted."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Finding, not_applicable


def find(dossier: Dossier) -> Finding:
    """What the clean room saw."""
    found = dossier.found("clean room", "score", "own score", "computed", "training")
    return found or not_applicable("no folder was run; `pgolf check-submission DIR --data DATA` runs one")


CHECK = DossierCheck(
    number="B12",
    name="self-containment",
    rule="nothing is fetched, and no training shard is seen, at evaluation (README, #2050)",
    find=find,
)
