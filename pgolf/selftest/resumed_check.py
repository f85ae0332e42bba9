"""A training that is told to stop and resumed from its checkpoint ends in the weights of one that was not."""

from collections.abc import Sequence
from contextlib import suppress

from pgolf.errors import Stopped
from pgolf.recipes.systems import pr745
from pgolf.selftest.check import Check, Numbers, Place, Verdict
from pgolf.selftest.equal_ranks_check import digests_of
from pgolf.selftest.twin_training import TwinTraining, folder_of
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.loop import StepReport
from pgolf.train.train_job import CheckpointPlace

STEPS = 10
_NEVER_DUE_S = 1e9


def measure(place: Place) -> Numbers:
    """Of #745's twin, whose momenta are sharded: digests of averaged and raw weights, with and without a stop."""
    training = TwinTraining.of(pr745, place, STEPS)
    model, averaged, losses = training.run()
    expected = digests_of(averaged) | digests_of({f"raw {name}": of for name, of in model.state_dict().items()})
    where = CheckpointPlace(folder=folder_of(place, "resumed"), every_s=_NEVER_DUE_S, of={}, resumes=False)
    stopping = Checkpoints(where, place.ranks)
    stopped_after = 0

    def stop_midway(report: StepReport) -> None:
        nonlocal stopped_after
        stopped_after = report.steps_done
        if report.steps_done == STEPS // 2 and place.ranks.rank == 0:
            stopping.tell_to_end()

    with suppress(Stopped):
        training.run(stopping, stop_midway)
    stopping.close()
    place.ranks.largest(0.0)  # rank 0 has written the record
    resuming = Checkpoints(where.model_copy(update={"resumes": True}), place.ranks)
    start = resuming.start
    model, averaged, rest = training.run(resuming)
    resuming.close()
    found = digests_of(averaged) | digests_of({f"raw {name}": of for name, of in model.state_dict().items()})
    return {
        "tensors": len(expected),
        "stopped_after": stopped_after,
        "resumed_at": None if start is None else start.steps,
        "steps": STEPS,
        "differing": [name for name, of in expected.items() if found[name] != of],
        "losses_equal": losses[-len(rest) :] == rest,
    }


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """It was stopped midway, resumed there, and ended in the same bits on every rank."""
    of = by_rank[0]
    said = f"stopped after step {of['stopped_after']} of {of['steps']}, resumed at {of['resumed_at']}"
    midway = all(0 < numbers["stopped_after"] < numbers["steps"] for numbers in by_rank)
    resumed = all(numbers["resumed_at"] == numbers["stopped_after"] for numbers in by_rank)
    if not (midway and resumed):
        return Verdict(False, f"{said}: it was not resumed where it was stopped")
    for rank, numbers in enumerate(by_rank):
        if numbers["differing"] or not numbers["losses_equal"]:
            named = f", the first is {numbers['differing'][0]}" if numbers["differing"] else ""
            return Verdict(
                False, f"{said}: {len(numbers['differing'])} of {of['tensors']} tensors differ on rank {rank}{named}"
            )
    return Verdict(True, f"{said}: {of['tensors']} tensors, raw and averaged, equal bit for bit")


CHECK = Check(
    name="resumed training",
    proves="a training by steps that is stopped and resumed gives the bytes of one that was not",
    measure=measure,
    judge=judge,
    means="what a killed run makes after it goes on is another result than its key stands for",
    remedy="train without interruption, or by the clock (which marks a resumed run as interrupted), and report the "
    "first tensor that differs",
)
