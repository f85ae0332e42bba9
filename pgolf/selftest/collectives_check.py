"""The collective operations that training and scoring use, against float64 sums of what every rank sent.

Every rank draws the numbers of all others from their seeds, so that the expected results need no communication.
Shapes: W ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgolf.ranks.group import Ranks
from pgolf.selftest.check import Check, Numbers, Place, Verdict, worst
from pgolf.selftest.rounding_error import BFLOAT16, FLOAT32, sum_limit

_ROWS, _COLUMNS = 4, 4099  # rows per rank; a prime, so that no chunk is even


def measure(place: Place) -> Numbers:
    """Of every operation the largest error, in units of Σ|term|, over its limit; moved values must be equal."""
    of_limit = {name: error / limit for name, error, limit in errors(place.ranks, place.device)}
    farthest = max(of_limit, key=of_limit.__getitem__)
    return {"operations": len(of_limit), "farthest": farthest, "error": of_limit[farthest], "limit": 1.0}


def errors(ranks: Ranks, device: torch.device) -> list[tuple[str, float, float]]:
    """Name, error and limit of every operation; the limit of one that only moves values is the smallest number."""
    W, rank = ranks.world_size, ranks.rank
    exact = torch.finfo(torch.float64).tiny
    found: list[tuple[str, float, float]] = []
    for dtype, unit in ((torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)):
        sent = [_drawn(each, W).to(dtype) for each in range(W)]
        total = torch.stack([each.double() for each in sent]).sum(0)
        scale = torch.stack([each.double().abs() for each in sent]).sum(0)
        name = str(dtype).removeprefix("torch.")

        def add(operation: str, got: Tensor, expected: Tensor, scale: Tensor, limit: float, name: str = name) -> None:
            found.append((f"{operation} in {name}", _largest(got, expected, scale), limit))

        own = sent[rank].to(device)
        if dtype is torch.float32:
            summed = own.clone()
            ranks.sum(summed)
            add("sum", summed, total, scale, sum_limit(W, unit))
            add("mean", ranks.mean(own.clone()), total / W, scale / W, sum_limit(W, unit, divided=True))
        parameter = nn.Parameter(torch.zeros_like(own))
        parameter.grad = own.clone()
        ranks.mean_gradients([parameter])
        assert parameter.grad is not None
        add("mean of gradients", parameter.grad, total / W, scale / W, sum_limit(W, unit, divided=True))
        part = slice(_ROWS * rank, _ROWS * (rank + 1))
        limit = sum_limit(W, unit, divided=True)
        add("reduce-scatter", ranks.mean_part(own.clone()), (total / W)[part], (scale / W)[part], limit)
        gathered = ranks.gather(own[part].contiguous())
        expected = torch.cat([sent[r][_ROWS * r : _ROWS * (r + 1)] for r in range(W)]).double()
        add("gather", gathered, expected, torch.ones_like(expected), exact)
        for owner in (0, W - 1):
            shared = own.clone()
            ranks.share(shared, owner)
            add(f"broadcast from rank {owner}", shared, sent[owner].double(), torch.ones_like(total), exact)
    largest = torch.tensor(ranks.largest(float(rank), -float(rank)))
    found.append(("maximum", _largest(largest, torch.tensor([W - 1.0, 0.0]), torch.ones(2)), exact))
    return found


def _drawn(rank: int, ranks: int) -> Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(ranks * _ROWS, _COLUMNS, generator=generator)


def _largest(got: Tensor, expected: Tensor, scale: Tensor) -> float:
    return float(((got.cpu().double() - expected.double()).abs() / scale.double()).nan_to_num(torch.inf).max())


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """No sum is farther off than the additions of its format allow, on any rank."""
    rank, ratio = worst(by_rank, "error", "limit")
    of = by_rank[rank]
    return Verdict(
        ratio <= 1,
        f"{len(by_rank)} ranks, {of['operations']} operations; farthest: {of['farthest']} on rank {rank}, "
        f"{ratio:.2g} of its limit",
    )


CHECK = Check(
    name="collectives",
    proves="sums, means, reduce-scatter, gather and broadcast over the ranks give what float64 gives",
    measure=measure,
    judge=judge,
    means="ranks exchange wrong numbers, or the link between two of them is broken: gradients are wrong",
    remedy="run again with NCCL_DEBUG=INFO in the environment and look for errors of NVLink or PCIe (`nvidia-smi "
    "nvlink -e`); with NCCL_P2P_DISABLE=1 the broken link is not used; leave a broken GPU out by CUDA_VISIBLE_DEVICES",
    needs_ranks=True,
)
