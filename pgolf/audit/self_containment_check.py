"""B12: the evaluation runs alone: in an empty folder, without network, with nothing but what was submitted."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.program_scorer import ProgramScorer
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed
from pgolf.submission.clean_room import NAMESPACES

# What a program may do in its room, and an evaluation elsewhere may not.
_NOT_ALONE = ("network", "outside", "reads the text")


def of_room(scorer: ProgramScorer) -> Finding:
    """What a program on trial did in its room, in which there is no network, nothing of training and no text."""
    if not scorer.ready:
        return inconclusive("the program did not run", "a program that answers (see B0)")
    if wrong := [fault for fault in scorer.conduct if fault.kind in _NOT_ALONE]:
        return failed(f"the program {wrong[0]}", *(Evidence(what=f"{one.kind}: {one}") for one in wrong[:8]))
    if scorer.isolation != NAMESPACES:
        return inconclusive(
            f"it ran in {scorer.isolation}, where only what Python code opens is told", "a system with namespaces"
        )
    return passed(
        f"{scorer.ready:,} evaluations in namespaces: its own files alone, no network, no training shard, no text"
    )


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
