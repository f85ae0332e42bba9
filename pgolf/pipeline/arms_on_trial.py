"""Scorers that are compared and that no run has tried yet, such as cells of a grid: they are tried now, and kept."""

from collections.abc import Sequence
from dataclasses import replace

from pgolf.audit.ruleset import ruleset
from pgolf.compare.arms import NOT_AUDITED, Arm, refuse_unpassed
from pgolf.pipeline.audited import tried
from pgolf.pipeline.own_verdicts import own_verdict
from pgolf.pipeline.run_outputs import Gone, Workshop
from pgolf.recipes.recipe import OwnTrial
from pgolf.tables.gates import AUDITED, RULESET
from pgolf.tables.schema import SCORER


def on_trial(arms: Sequence[Arm], shop: Workshop) -> list[Arm]:
    """The arms, those without a trial with what it says; as a run tries its own scorers, on the arm's first seed.

    Where the outputs are gone the arm keeps its note. Raises ResultsError for a scorer that does not pass.
    """
    return [_tried(arm, shop) if arm.result.gate(AUDITED) is None else arm for arm in arms]


def _tried(arm: Arm, shop: Workshop) -> Arm:
    seed, trial = arm.first_seed, OwnTrial()
    cell = str(arm.result.scorer[SCORER.index("cell")])
    try:
        found = tried(
            arm.run_of(seed).key, seed, shop, cells=(cell,), effort=trial.effort, longest_row=trial.longest_row
        )
    except Gone:
        return arm
    verdict = own_verdict(found.scorers[0], ruleset(RULESET))
    if verdict.outcome != "pass":
        refuse_unpassed(arm.name, verdict.text)
    said = f"audited now ({trial.effort}, {found.id}): no check found anything wrong"
    return replace(arm, notes=tuple(said if note == NOT_AUDITED else note for note in arm.notes))
