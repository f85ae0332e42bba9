"""All ranks hold the same weights, bit for bit, after some steps of both kinds of Muon."""

import hashlib
import struct
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pgolf.ranks.group import Ranks
from pgolf.recipes.systems import pr715, pr745
from pgolf.selftest.check import Check, Numbers, Place, Verdict
from pgolf.selftest.twin_training import TwinTraining

STEPS = 20


def measure(place: Place) -> Numbers:
    """Digests of all weights and the loss of the last step, of the twins of #715 and #745."""
    digests: dict[str, str] = {}
    losses: dict[str, float] = {}
    for full in (pr715, pr745):
        model, _, of_steps = TwinTraining.of(full, place, STEPS).run()
        digests |= {f"{full.__name__} {name}": of for name, of in digests_of(model.state_dict()).items()}
        losses[full.__name__] = of_steps[-1]
    return {"steps": STEPS, "digests": digests, "last_loss_nats": losses, "heard": heard_by_all(place.ranks, digests)}


def digests_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensor name -> a digest of its bits."""
    found = {}
    for name, tensor in state.items():
        bits = tensor.detach().cpu().flatten().view(torch.uint8)
        found[name] = hashlib.sha256(bits.numpy().tobytes()).hexdigest()[:16]
    return found


def heard_by_all(ranks: Ranks, digests: Mapping[str, str]) -> bool:
    """Whether the largest and the smallest digest of the whole are equal, as the ranks tell each other."""
    whole = hashlib.sha256("".join(digests.values()).encode()).digest()
    numbers = struct.unpack(">8I", whole)  # exact in float64
    largest = ranks.largest(*map(float, numbers), *(-float(number) for number in numbers))
    return all(most == -least for most, least in zip(largest[:8], largest[8:], strict=True))


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Equal digests everywhere."""
    first: dict[str, str] = by_rank[0]["digests"]
    differing = [
        (name, rank)
        for rank, numbers in enumerate(by_rank)
        for name in first
        if numbers["digests"][name] != first[name]
    ]
    steps = f"{len(first)} tensors of two twins, {by_rank[0]['steps']} steps, {len(by_rank)} ranks"
    if differing:
        name, rank = differing[0]
        ranks = sorted({rank for _, rank in differing})
        return Verdict(
            False,
            f"{steps}: {len({name for name, _ in differing})} tensors differ from rank 0's on ranks "
            f"{', '.join(map(str, ranks))}, the first is {name} on rank {rank}",
        )
    told = all(numbers["heard"] for numbers in by_rank)
    return Verdict(told, f"{steps}: equal" if told else f"{steps}: equal by their files, not by what they tell")


CHECK = Check(
    name="equal ranks",
    proves=f"after {STEPS} steps of both kinds of Muon every rank holds the same weights, bit for bit",
    measure=measure,
    judge=judge,
    means="ranks train networks of their own, and the checkpoint is only one of them",
    remedy="look at the line of the collectives; if that passes, one GPU computes differently: run again with "
    "CUDA_VISIBLE_DEVICES leaving out one after the other, and leave that one out",
    needs_ranks=True,
)
