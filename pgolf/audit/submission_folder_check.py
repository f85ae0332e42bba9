"""B19: the folder has the files and fields of a submission, and its numbers agree with each other."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Finding, not_applicable


def find(dossier: Dossier) -> Finding:
    """What the folder's own checks found."""
    found = dossier.found("files", "json", "script", "seeds", "numbers", "requirements")
    return found or not_applicable(
        "no submission's folder was given (--folder DIR, with train_gpt.py or submission.json)"
    )


CHECK = DossierCheck(
    number="B19",
    name="folder",
    rule="submission.json, logs and files agree, and the script compiles (README; rules A5)",
    find=find,
)
