"""How many bytes a packing takes at the least, before it is packed.

Shapes: R rows of codes, C columns.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from pgolf.pack.weights import Stored
from pgolf.quant.grid import Quantized

# A slow codec is taken not to save more of a tensor's order-0 entropy than this many bits per code, up to a quarter,
# nor to have spent more on it than this excess over what the whole file took. No theorem says so: zstd finds matches.
# On the demo and the twins zstd 16 and 19 stayed 0.9 % or more above what follows, rung by rung from int6 to int2.
MOST_SAVED_BITS, LEAST_SHARE, MOST_EXCESS = 0.4, 0.75, 1.05


def entropy_bytes(codes_RC: Tensor) -> float:
    """Order-0 entropy of int8 codes: what a coder that knows how often each occurs, and nothing else, needs."""
    counts = np.bincount(codes_RC.numpy().view(np.uint8).reshape(-1), minlength=256)
    shares = counts[counts > 0] / codes_RC.numel()
    return float(-(shares * np.log2(shares)).sum()) * codes_RC.numel() / 8


def least_bytes(stored: Mapping[str, Stored], like: Mapping[str, Stored], like_bytes: int) -> float:
    """What a packing must at the least be expected to take, given that of the same network on another plan.

    Tensors that both plans round alike take what they took. Of the others the old codes took their entropy, with as
    much on top as in the whole file and `MOST_EXCESS`; the new ones may take less than theirs.
    """
    before = {name: value.codes for name, value in like.items() if isinstance(value, Quantized)}
    entropies = {name: entropy_bytes(codes_RC) for name, codes_RC in before.items()}
    ratio = max(1.0, like_bytes / max(sum(entropies.values()), 1.0))
    least = float(like_bytes)
    for name, value in stored.items():
        if value is not like[name] and isinstance(value, Quantized):
            entropy = entropy_bytes(value.codes)
            saved = MOST_SAVED_BITS * value.codes.numel() / 8
            least += max(entropy - saved, LEAST_SHARE * entropy) - MOST_EXCESS * ratio * entropies[name]
    return least
