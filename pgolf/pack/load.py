"""Loads a packed model's file as a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgolf.config import complaint
from pgolf.errors import ArtifactError
from pgolf.model.checkpoint import Checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.parameter_count import parameter_count
from pgolf.pack.container import MAX_DECODED_BYTES, unpack
from pgolf.pack.named_arrays import Listed
from pgolf.pack.weights import to_state
from pgolf.store.plain_file import read_plain

# Codes of one byte carry at least some tenths of a bit, so no trained network comes near this; a bomb goes far beyond.
_MOST_RATIO = 64
_ALWAYS_DECODED_BYTES = 1 << 26


def load_packed(path: Path) -> Checkpoint:
    """The network of a packed model: config, dequantized tensors in their original dtypes, and facts.

    Nothing in the file is executed. Raises ArtifactError for a file that is missing, truncated, altered, of a newer
    version, or not a packed model.
    """
    try:
        file_bytes = read_plain(path, most_bytes=MAX_DECODED_BYTES)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); run compress again") from error
    return decode_packed(file_bytes, where=str(path))


def decode_packed(file_bytes: bytes, *, where: str) -> Checkpoint:
    """`load_packed` for bytes in memory; `where` names them in errors."""
    configs: list[ModelConfig] = []

    def check(meta: Mapping[str, Any], listed: Sequence[Listed]) -> None:
        config = _config(meta, where)
        tensors = meta.get("tensors")
        names = {data for name in tensors for data in (name, f"{name}.q")} if isinstance(tensors, dict) else set()
        elements = sum(entry.elements for entry in listed if entry.name in names)
        if elements != (parameters := parameter_count(config)):
            raise ValueError(f"its tensors make no sense: {elements:,} elements, the network {parameters:,} parameters")
        configs.append(config)

    most_bytes = min(MAX_DECODED_BYTES, max(_ALWAYS_DECODED_BYTES, _MOST_RATIO * len(file_bytes)))
    content = unpack(file_bytes, where=where, max_decoded_bytes=most_bytes, check=check)
    state = to_state(content, where=where)
    facts = content.meta.get("facts")
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ArtifactError(f"{where}: its facts are {facts!r}, strings by name are expected")
    return Checkpoint(config=configs[0], state=state, facts=facts)


def _config(meta: Mapping[str, Any], where: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(meta.get("model_config"), strict=False)
    except ValidationError as error:
        raise ArtifactError(
            f"{where}: its model_config is none that this version accepts ({complaint(error)}); "
            "pack the checkpoint again with this version"
        ) from error
