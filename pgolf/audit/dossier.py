"""What a submission says and is beside its scores: rows of its seeds, its folder, its shards; and checks of that."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pgolf.audit.verdict import Cost, Evidence, Finding, Verdict, failed, inconclusive, not_applicable, passed
from pgolf.submission.checked import Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """rows: one scorer's rows of the scores' table, a seed each. missing_seeds: declared, and without a result.

    base_losses: seed -> nats per token of what it is to be better than. folder: what `check_folder`,
    `check_reported_bytes` and `check_evaluation` found of the submission's folder. folder_seeds: that it has results
    of. room: what its program did in a room of its own, without network and training shards.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    missing_seeds: Collection[int] = ()
    base_losses: Mapping[int, float] | None = None
    folder: Sequence[Checked] = ()
    folder_seeds: Collection[int] = ()
    room: Finding | None = None

    def found(self, *names: str) -> Finding | None:
        """What the folder's checks of these names come to; None where none of them was made."""
        of_names = [one for one in self.folder if one.name in names]
        if not of_names:
            return None
        evidence = tuple(Evidence(what=f"{one.name}: {one.said}") for one in of_names)
        if wrong := [one for one in of_names if one.passed is False]:
            return failed(wrong[0].said, *evidence)
        if open_ones := [one for one in of_names if one.passed is None and one.settles]:
            return inconclusive(open_ones[0].said, open_ones[0].settles, *evidence)
        judged = [one for one in of_names if one.passed is not None]
        return passed("; ".join(one.said for one in judged), *evidence) if judged else not_applicable(of_names[0].said)


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierCheck:
    """As `RuleCheck`, of a dossier."""

    number: str
    name: str
    rule: str
    find: Callable[[Dossier], Finding]

    def verdict(self, dossier: Dossier) -> Verdict:
        """What it finds; no scorer is asked for it."""
        began_s = perf_counter()
        finding = self.find(dossier)
        cost = Cost(calls=0, targets=0, wall_s=perf_counter() - began_s)
        return Verdict(number=self.number, name=self.name, rule=self.rule, finding=finding, cost=cost)
