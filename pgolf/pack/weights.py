"""Converts a network's tensors to the arrays that a packed model holds, and back.

Per tensor the container has its data under its own name (float16, or as it was), or integer codes under name.q and
float16 row scales under name.scale; the meta says which, and the dtype to return to.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pgolf.errors import ArtifactError, QuantizationError
from pgolf.model.config import ModelConfig
from pgolf.pack.named_arrays import Array, Content
from pgolf.quant.rounding import Quantized, require_finite

# What stands for one tensor in a packed model: codes and scales, a float16 copy, or the tensor itself.
Stored = Quantized | Tensor

_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
)}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def to_float16(name: str, tensor: Tensor) -> Tensor:
    """A float16 copy; QuantizationError naming the tensor if a value is not finite or beyond float16's 65504."""
    require_finite(name, tensor)
    stored = tensor.to(torch.float16)
    if not bool(torch.isfinite(stored).all()):
        raise QuantizationError(
            f"{name}: largest magnitude {float(tensor.abs().max()):.6g}, float16 ends at 65504; "
            "weights of that size mean that training diverged"
        )
    return stored


def restore(stored: Stored, dtype: torch.dtype) -> Tensor:
    """The tensor that `stored` stands for, in its original dtype."""
    return stored.dequantize(dtype) if isinstance(stored, Quantized) else stored.to(dtype)


def to_arrays(stored: Mapping[str, Stored]) -> dict[str, Array]:
    """The arrays of a network or a part of it, in the order of `stored`."""
    arrays: dict[str, Array] = {}
    for name, value in stored.items():
        if isinstance(value, Quantized):
            arrays[f"{name}.q"] = value.codes.numpy()
            arrays[f"{name}.scale"] = value.scale.numpy()
        else:
            arrays[name] = value.detach().contiguous().numpy()
    return arrays


def to_content(
    stored: Mapping[str, Stored], dtypes: Mapping[str, torch.dtype], config: ModelConfig, facts: Mapping[str, str]
) -> Content:
    """Arrays and meta of a whole network, in order of names, so that the order a file was read in changes nothing."""
    tensors = {name: _NAMES[dtypes[name]] for name in sorted(stored)}
    meta = {"model_config": config.model_dump(mode="json"), "facts": dict(sorted(facts.items())), "tensors": tensors}
    return Content(meta, to_arrays({name: stored[name] for name in tensors}))


def to_state(content: Content, *, where: str) -> dict[str, Tensor]:
    """Every tensor of a container's network, dequantized to its original dtype.

    Raises ArtifactError where meta and arrays do not describe a network.
    """
    arrays = content.arrays
    state: dict[str, Tensor] = {}
    used = 0
    try:
        for name, dtype_name in content.meta["tensors"].items():
            dtype = _DTYPES[dtype_name]
            if name in arrays:
                state[name] = _tensor(arrays[name]).to(dtype)
                used += 1
                continue
            codes, scale = arrays[f"{name}.q"], arrays[f"{name}.scale"]
            if codes.dtype != "int8" or scale.dtype != "float16" or codes.ndim != 2 or scale.shape != codes.shape[:1]:
                raise ValueError(f"codes {codes.dtype} {codes.shape} with scales {scale.dtype} {scale.shape}")
            state[name] = Quantized(_tensor(codes), _tensor(scale)).dequantize(dtype)
            used += 2
        if used != len(arrays):
            raise ValueError(f"{len(arrays)} arrays for {len(state)} tensors that use {used}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{where}: its tensors make no sense ({type(error).__name__}: {error})") from error
    return state


def weights_digest(config: ModelConfig, state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of what a network computes with: its config, and name, dtype, shape and bytes of every tensor.

    Tensors are taken in order of names, so that neither codec nor file layout enters.
    """
    digest = hashlib.sha256(config.model_dump_json().encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {_NAMES[tensor.dtype]} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree in dtype, shape and every bit (so -0.0 differs from 0.0)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.contiguous().reshape(-1).view(torch.uint8))


def _tensor(array: Array) -> Tensor:
    # A copy: what the decoder returned is read-only, which torch cannot express.
    copied: Any = array.copy()
    return torch.from_numpy(copied)
