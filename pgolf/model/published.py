"""Read state dicts of the published scripts, without executing code, and convert them to and from ours.

#638, #715, #761 and #792 name matrices as we do. #745 stacks those of its P layers in four banks: qo_bank [2P, D, D]
(all c_q, then all attn.proj), kv_bank [2P, V, D] (all c_k, then all c_v), mlp_up_bank [P, M, D], mlp_down_bank
[P, D, M]; shapes: D width, V channels of all values, M MLP width.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from pgolf.errors import DataError
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.misfits import in_one_line, misfits
from pgolf.model.state_names import matrix_name
from pgolf.model.tensor_file import load_tensors
from pgolf.store.plain_file import open_plain, require_plain

_BANKS = {
    "qo_bank": ("attn.c_q", "attn.proj"),
    "kv_bank": ("attn.c_k", "attn.c_v"),
    "mlp_up_bank": ("mlp.fc",),
    "mlp_down_bank": ("mlp.proj",),
}
_FORMATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MOST_HEADER_BYTES = 100_000_000  # of a safetensors file, as its library has it
_SAVE_ADVICE = "save the state dict alone: torch.save(model.state_dict(), path)"


def read_published(path: Path) -> dict[str, Tensor]:
    """Read a state dict, onto the CPU, from a torch.save file or a safetensors file; executes no code.

    Which of both it is shows in its first bytes; its name plays no part. Raises DataError if the file is missing,
    damaged, or holds anything but named tensors.
    """
    try:
        require_plain(path)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).partition(",")[0]
        raise DataError(f"{path}: {what}; give the file of a state dict") from None
    if _is_safetensors(path):
        return load_tensors(path, remedy="copy or download it again")[0]
    content = _unpickled(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a state dict; {_SAVE_ADVICE}")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise DataError(
                f"{path}: entry {name!r} is a {_description(value)}; a state dict has only named dense tensors; "
                f"{_SAVE_ADVICE}"
            )
    return {name: tensor.detach() for name, tensor in content.items()}


def metadata_of(path: Path) -> dict[str, str]:
    """The strings beside the tensors of a file that `read_published` has read; a torch.save file has none."""
    if not _is_safetensors(path):
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def from_published(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a published state, per layer or in banks, to the network's names and dtypes.

    Raises DataError naming what is missing, unknown, of the wrong shape, not floating-point, NaN or infinite.
    """
    network = _network_state(config)
    banked = any(bank in state for bank in _BANKS)
    expected = _banked(config, network) if banked else network
    complaints = misfits(expected, state, lambda tensor: str(list(tensor.shape)))
    cast = {}
    not_finite = []
    for name, like in expected.items():
        tensor = state.get(name)
        if tensor is None or tensor.shape != like.shape:
            continue
        if tensor.dtype not in _FORMATS:
            complaints.append(f"{name} holds {_format(tensor)} values, the network has {_format(like)}")
            continue
        cast[name] = tensor.detach().to(like.dtype, copy=True).contiguous()
        bad = int((~torch.isfinite(cast[name])).sum())
        if bad:
            not_finite.append(f"{name} has {bad:,} of {like.numel():,} values NaN or infinite in {_format(like)}")
    if complaints:
        advice = "use the recipe and widths it was trained with, and its final state"
        raise DataError(f"{in_one_line(complaints + not_finite)}; {advice}")
    if not_finite:
        shown = "; ".join(not_finite[:5])
        raise DataError(f"{shown}: training diverged or the file is damaged; copy it again, or take an earlier state")
    unpacked = _unbanked(config, cast) if banked else cast
    return {name: unpacked[name] for name in network}


def to_published(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a network's state to the published form: in banks if its initial weights are drawn as banks."""
    return _banked(config, state) if config.init_draws == "banks" else dict(state)


def _network_state(config: ModelConfig) -> dict[str, Tensor]:
    """Names, shapes and dtypes of the network's state, on the meta device."""
    with torch.device("meta"):
        return GPT(config).state_dict()


def _banked(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    packed = dict(state)
    for bank, names in _BANKS.items():
        keys = [matrix_name(layer, name) for name in names for layer in range(config.layers)]
        packed[bank] = torch.stack([packed.pop(key) for key in keys])
    return packed


def _unbanked(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    unpacked = dict(state)
    for bank, names in _BANKS.items():
        keys = [matrix_name(layer, name) for name in names for layer in range(config.layers)]
        # Clones: a view into its bank could not be saved or trained by itself.
        unpacked |= {key: matrix.clone() for key, matrix in zip(keys, unpacked.pop(bank), strict=True)}
    return unpacked


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: the length of a JSON object in 8 bytes, and the object.

    A torch.save file begins as a ZIP archive, or in its old form as a pickle: neither has a brace there.
    """
    try:
        with open_plain(path) as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _MOST_HEADER_BYTES


def _unpickled(path: Path) -> object:
    """Load the plain data in a torch.save file."""
    try:
        # As an open file: of a path, torch.load goes by the suffix too.
        with warnings.catch_warnings(), open_plain(path) as file:
            # torch warns about pickles it refuses, and advises to let them run their code.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds code or objects besides tensors, or is damaged; nothing in it was run. If it is yours, "
            f"{_SAVE_ADVICE}"
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise DataError(
            f"{path}: {path.stat().st_size:,} bytes that are not a complete torch.save file ({type(error).__name__}), "
            "and do not begin as safetensors do; it is truncated or damaged, copy or download it again"
        ) from error


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _description(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.layout).removeprefix('torch.')} tensor on {value.device}"
    return type(value).__name__


def _format(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
