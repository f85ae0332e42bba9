"""B13s: the same count of the files as they are shipped: no packed copy of the script, and every helper file."""

from pgolf.audit import byte_count_check
from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Finding


def find(dossier: Dossier) -> Finding:
    """The folder's files where there is one, else the tables, which count the script as it is shipped."""
    return dossier.found("bytes") or byte_count_check.of_rows(dossier)


CHECK = DossierCheck(
    number="B13s",
    name="shipped bytes",
    rule="train_gpt.py as it lies in the folder, every local file that it uses, and the compressed model are at most "
    "16,000,000 bytes, for every seed (README: all counted code in train_gpt.py)",
    find=find,
)
