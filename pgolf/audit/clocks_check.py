"""B14: training with calibration, and everything that evaluation does, each end within the clock."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed
from pgolf.budget import CLOCK_LIMIT_S

_CLOCKS = {"train_clock_s": "training and calibration", "eval_clock_s": "evaluation"}


def find(dossier: Dossier) -> Finding:
    """The two clocks of every seed that has them."""
    if not dossier.rows:
        return dossier.found("clocks") or not_applicable("no clock was reported")
    said = []
    for column, what in _CLOCKS.items():
        of_seeds = {row["seed"]: float(row[column]) for row in dossier.rows if row[column] is not None}
        if not of_seeds:
            continue
        seed, most_s = max(of_seeds.items(), key=lambda item: item[1])
        if most_s > CLOCK_LIMIT_S:
            return failed(
                f"seed {seed}: {what} took {most_s:.1f} s, {most_s - CLOCK_LIMIT_S:.1f} over {CLOCK_LIMIT_S:g}",
                Evidence(what=column, values={column: most_s}),
            )
        said.append(f"{what} at most {most_s:.1f} s")
    return passed(f"{', '.join(said)} of {CLOCK_LIMIT_S:g}") if said else not_applicable("no clock was recorded")


CHECK = DossierCheck(
    number="B14",
    name="clocks",
    rule="training with calibration within 600 s, all of evaluation within 600 s (README; #1972, #1945)",
    find=find,
)
