"""B12: the evaluation runs alone: in an empty folder, without network, with nothing but what was submitted."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Finding, not_applicable


def find(dossier: Dossier) -> Finding:
    """What the clean room saw of its script, and the room of the audit of the program on trial."""
    found = dossier.found("clean room", "score", "own score", "computed", "training")
    if found is None or (dossier.room is not None and found.outcome != "fail"):
        found = dossier.room
    return found or not_applicable("no program was run; `pgolf check-submission DIR --data DATA` runs a folder's")


CHECK = DossierCheck(
    number="B12",
    name="self-containment",
    rule="nothing is fetched, and no training shard is seen, at evaluation (README, #2050)",
    find=find,
)
