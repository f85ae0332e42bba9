"""Checkpoints of trained networks: weights, ModelConfig and training facts in a safetensors file, no code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from pgolf.config import complaint
from pgolf.errors import DataError
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.kernels import choose_kernels
from pgolf.model.misfits import in_one_line, misfits
from pgolf.model.parameter_count import parameter_count
from pgolf.model.tensor_file import load_tensors, save_tensors

CONFIG_KEY = "model_config"
_MOST_PARAMETERS = 1 << 48  # no tensor has more elements than 63 bits count


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """config: the network. state: tensors by state name. facts: strings such as stream_position, seed, steps."""

    config: ModelConfig
    state: Mapping[str, Tensor]
    facts: Mapping[str, str]


def save_checkpoint(path: Path, config: ModelConfig, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a checkpoint; equal content gives equal bytes."""
    assert CONFIG_KEY not in facts, f"{CONFIG_KEY!r} is reserved for the config"
    save_tensors(path, state, {**facts, CONFIG_KEY: config.model_dump_json()})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing anything in it.

    Raises DataError if the file is missing, damaged, or has no ModelConfig that this version can read.
    """
    state, metadata = load_tensors(path)
    config_json = metadata.pop(CONFIG_KEY, None)
    if config_json is None:
        raise DataError(f"{path}: no {CONFIG_KEY!r} entry in its metadata, so not a pgolf checkpoint; train again")
    try:
        config = ModelConfig.model_validate_json(config_json)
    except ValidationError as error:
        raise DataError(
            f"{path}: its model_config is none that this version accepts ({complaint(error)}); "
            "train again with this version"
        ) from error
    return Checkpoint(config=config, state=state, facts=metadata)


def build_model(config: ModelConfig, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> GPT:
    """Build the network of `config` with the weights `state`, on `device`, in evaluation mode.

    Raises DataError naming each tensor that is missing, unknown, or of the wrong shape or dtype, before anything of the
    network's size is made: a config of a few bytes may describe one of any size.
    """
    advice = "use the config they were made with"
    parameters = parameter_count(config)
    if config.blocks > len(state) or parameters > _MOST_PARAMETERS:
        raise DataError(
            f"{len(state):,} tensors with {sum(tensor.numel() for tensor in state.values()):,} elements do not fit the "
            f"network of {config.blocks:,} layers and {parameters:,} parameters; {advice}"
        )
    with torch.device("meta"):
        expected = GPT(config).state_dict()
    complaints = misfits(expected, state, _kind)
    if complaints:
        raise DataError(f"{in_one_line(complaints)}; {advice}")
    model = GPT(config)
    model.load_state_dict(dict(state))
    model = model.to(device).eval()
    choose_kernels(model.tok_emb.weight.device)
    return model


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
