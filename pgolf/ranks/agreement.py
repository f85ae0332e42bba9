"""Whether all ranks hold the same bits in what they must share: a digest per tensor, made where the tensor lies."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from pgolf.errors import RanksDiffer
from pgolf.ranks.group import Ranks
from pgolf.ranks.roll_call import ranks_named

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 over the golden ratio, as a signed number


def refuse_difference(tensors: Mapping[str, Tensor], ranks: Ranks, what: str) -> None:
    """Raise RanksDiffer, on every rank, for the first tensor whose bits are not the same on all ranks.

    what: what the tensors are and when, for the message. Costs two passes over them and one all-gather.
    """
    if ranks.world_size == 1 or not tensors:
        return
    own_N2 = torch.stack([_digest(tensor) for tensor in tensors.values()])
    all_RN2 = ranks.gather(own_N2[None])
    if bool((all_RN2 == all_RN2[0]).all()):
        return
    for name, each in zip(tensors, all_RN2.transpose(0, 1).tolist(), strict=True):
        digests = [tuple(digest) for digest in each]
        if len(set(digests)) > 1:
            usual, _count = Counter(digests).most_common(1)[0]
            others = [rank for rank, digest in enumerate(digests) if digest != usual]
            agreeing = [rank for rank, digest in enumerate(digests) if digest == usual]
            raise RanksDiffer(
                f"{what}: {name} of {ranks_named(others)} differs from that of {ranks_named(agreeing)}, and all must "
                "be equal; nothing of this step is kept. Run again; if it comes back, look at that device's memory "
                "errors (`nvidia-smi -q -d ECC`)"
            )


def _digest(tensor: Tensor) -> Tensor:
    """Two sums over a tensor's bit patterns modulo 2^64, int64 [2] on its device: plain, and mixed with their places.

    A changed bit always changes the first, values in each other's place almost always the second.
    """
    bits = tensor.detach().contiguous().flatten().view(_INTEGERS[tensor.element_size()]).long()
    place = torch.arange(bits.numel(), device=bits.device) * _ODD
    # The product carries low bits upwards only, so high ones, a float's exponent, are folded down behind it.
    mixed = (bits ^ place) * _ODD
    return torch.stack((bits.sum(), (mixed ^ (mixed >> 32)).sum()))
