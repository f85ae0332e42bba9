"""A trained network as one safetensors file: weights, ModelConfig and facts about the training, no code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from pgolf.errors import DataError
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.misfits import in_one_line, misfits
from pgolf.model.tensor_file import load_tensors, save_tensors

_CONFIG_KEY = "model_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """config: the network. state: tensors by state name. facts: strings such as stream_position, seed, steps."""

    config: ModelConfig
    state: Mapping[str, Tensor]
    facts: Mapping[str, str]


def save_checkpoint(path: Path, config: ModelConfig, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a checkpoint; the same content gives the same bytes."""
    assert _CONFIG_KEY not in facts, "the metadata key of the config is taken"
    save_tensors(path, state, {**facts, _CONFIG_KEY: config.model_dump_json()})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing anything in it.

    Raises DataError for a file that is missing, damaged, or holds no ModelConfig this version can read.
    """
    state, metadata = load_tensors(path)
    config_json = metadata.pop(_CONFIG_KEY, None)
    if config_json is None:
        raise DataError(f"{path}: safetensors without a {_CONFIG_KEY!r} entry, so not a pgolf checkpoint; train again")
    try:
        config = ModelConfig.model_validate_json(config_json)
    except ValidationError as error:
        raise DataError(
            f"{path}: its model_config has {error.error_count()} fields this version does not accept "
            f"({_first_complaint(error)}); train again with this version"
        ) from error
    return Checkpoint(config=config, state=state, facts=metadata)


def build_model(config: ModelConfig, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> GPT:
    """The network of `config` holding `state`, on `device`, in evaluation mode.

    Raises DataError naming each tensor that is missing, unknown, or of another shape or dtype than the network's.
    """
    model = GPT(config)
    complaints = misfits(model.state_dict(), state, _kind)
    if complaints:
        raise DataError(f"{in_one_line(complaints)}; use the config they were made with")
    model.load_state_dict(dict(state))
    return model.to(device).eval()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
