"""B18: three seeds or more, declared before they ran, all there, of one configuration; better by more than chance."""

from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed
from pgolf.stats.compare import RECORD_RULE, compare_welch

LEAST_SEEDS = 3


def find(dossier: Dossier) -> Finding:
    """Count, compare configurations, and test against a base where one is given."""
    if not dossier.rows:
        return _of_folder(dossier)
    losses = {row["seed"]: float(row["loss_nats"]) for row in dossier.rows}
    if dossier.missing_seeds:
        missing = ", ".join(map(str, sorted(dossier.missing_seeds)))
        return failed(f"declared, and without a result: seed {missing}", Evidence(what="a missing seed"))
    keys = {row["config_key"] for row in dossier.rows}
    if len(keys) > 1:
        return failed(
            f"its {len(losses)} seeds are of {len(keys)} configurations", Evidence(what="mixed configurations")
        )
    if len(losses) < LEAST_SEEDS:
        return _too_few(len(losses))
    if dossier.base_losses is None:
        return passed(f"{len(losses)} seeds, all that were declared, of one configuration; no base to be better than")
    test = compare_welch(losses.values(), dossier.base_losses.values())
    if test.p is None:
        return inconclusive(f"better by {test.gain_nats:.5f} nats, and nothing varies or n = 1", "more seeds")
    said = (
        f"better by {test.gain_nats:.5f} {RECORD_RULE.unit}, p(gain > {RECORD_RULE.margin_nats:g}) = {test.p:.2g}, "
        f"n = {test.candidate.n} and {test.base.n} (Welch, one-sided)"
    )
    return passed(said) if test.passes else failed(said, Evidence(what="no record", values={"p": test.p}))


def _of_folder(dossier: Dossier) -> Finding:
    found = dossier.found("seeds", "numbers")
    if found is None:
        return not_applicable("no submission's folder was given")
    few = len(dossier.folder_seeds) < LEAST_SEEDS
    return _too_few(len(dossier.folder_seeds)) if few and found.outcome == "pass" else found


def _too_few(seeds: int) -> Finding:
    more = LEAST_SEEDS - seeds
    return inconclusive(
        f"{seeds} of at least {LEAST_SEEDS} seeds", f"results of {more} more seed{'s' if more > 1 else ''}"
    )


CHECK = DossierCheck(
    number="B18",
    name="seeds and statistics",
    rule="three seeds or more, declared before running, all reported; 0.005 nats at p < 0.01 (README)",
    find=find,
)
