"""Read and write safetensors files; equal content gives equal bytes.

The library's own writer orders the metadata by a randomly seeded hash map, so equal content gives different bytes in
each process; the format itself is a length, a JSON header and raw data. Reading uses the library, which never runs
code.
Source: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pgolf.errors import DataError
from pgolf.store.plain_file import require_plain

_FORMAT_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and string metadata to `path`, deterministically.

    Widest dtypes first, then by name, as the library does, so that every tensor is aligned to its elements.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _FORMAT_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    header_bytes = json.dumps(header, separators=(",", ":")).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)
    with open(path, "wb") as file:
        file.write(len(header_bytes).to_bytes(8, "little"))
        file.write(header_bytes)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def load_tensors(
    path: Path, *, remedy: str = "rerun the stage that makes it"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors (onto the CPU) and metadata of a safetensors file.

    Raises DataError for a missing, truncated or foreign file. remedy: what the message tells the user to do.
    """
    size_bytes = 0
    try:
        size_bytes = require_plain(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise DataError(f"{path}: file is missing; {remedy}") from error
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: {size_bytes} bytes that are not a complete safetensors file ({why}); "
            f"it is truncated or damaged, {remedy}"
        ) from error
