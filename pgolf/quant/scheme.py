"""Storage class of each tensor (exact, float16, few bits, int8), by its name, dtype and size.

Source: the name rules of Parameter Golf PR #715, shared by #638, #745, #761 and #792.
"""

import re
from typing import Literal

TensorClass = Literal["embed", "mlp", "attn", "other"]
Treatment = Literal["exact", "fp16", "matrix", "embedding"]

# Tensors of up to this many elements stay in float16: gates, gains, scales, biases and small projections.
FP16_MAX_ELEMENTS = 65_536

_LAYER = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def tensor_class(name: str) -> TensorClass:
    """The role of a tensor in the network, by the first rule that matches its state name."""
    if "tok_emb" in name or "lm_head" in name:
        return "embed"
    if ".mlp." in name:
        return "mlp"
    if ".attn." in name or ".proj." in name:
        return "attn"
    return "other"


def layer_of(name: str) -> int | None:
    """The block a state name belongs to; None for tensors outside the blocks."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def treatment(
    name: str, shape: tuple[int, ...], *, floating: bool, fp16_max_elements: int = FP16_MAX_ELEMENTS
) -> Treatment:
    """exact: unchanged; fp16: cast; matrix: few bits with row scales; embedding: int8 with row scales.

    Only matrices have rows to scale, so a large tensor of another rank is cast to float16; the networks of the five
    source systems have none. Their further rule, float32 for control tensors, never applies: all of those are small.
    """
    elements = 1
    for extent in shape:
        elements *= extent
    if not floating:
        return "exact"
    if elements <= fp16_max_elements or len(shape) != 2:
        return "fp16"
    return "matrix" if tensor_class(name) in ("mlp", "attn") else "embedding"
