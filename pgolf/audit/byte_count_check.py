"""B13: code and packed model of every seed are within the cap, the code by its author's count."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed


def find(dossier: Dossier) -> Finding:
    """What the folder or its author says where there is one, else what the tables say of every seed."""
    return dossier.found("reported bytes") or of_rows(dossier)


def of_rows(dossier: Dossier) -> Finding:
    """What the tables say of every seed, whose script is counted as it is shipped."""
    if not dossier.rows:
        return not_applicable("neither a submission's folder nor its bytes were given")
    unknown = [row["seed"] for row in dossier.rows if row["total_bytes"] is None or row["budget_bytes"] is None]
    if unknown:
        return inconclusive(f"seed {unknown[0]} does not say its bytes", "a run of this version")
    worst = max(dossier.rows, key=lambda row: int(row["total_bytes"]) - int(row["budget_bytes"]))
    total, budget = int(worst["total_bytes"]), int(worst["budget_bytes"])
    numbers = {"total_bytes": total, "budget_bytes": budget}
    if total > budget:
        return failed(
            f"seed {worst['seed']}: {total:,} bytes, {total - budget:,} over {budget:,}",
            Evidence(what="over the cap", values=numbers),
        )
    seeds = len(dossier.rows)
    return passed(f"the largest of {seeds} seeds has {total:,} bytes, {budget - total:,} under {budget:,}")


CHECK = DossierCheck(
    number="B13",
    name="byte count",
    rule="code and compressed model are at most 16,000,000 bytes, for every seed (README; #1809, #1835); the code as "
    "its author counts it, packed too (#1412, #1514)",
    find=find,
)
