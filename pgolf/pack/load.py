"""Loads a packed model's file as a network."""

from pathlib import Path

from pydantic import ValidationError

from pgolf.errors import ArtifactError
from pgolf.model.checkpoint import Checkpoint
from pgolf.model.config import ModelConfig
from pgolf.pack.container import unpack
from pgolf.pack.weights import to_state


def load_packed(path: Path) -> Checkpoint:
    """The network of a packed model: config, dequantized tensors in their original dtypes, and facts.

    Nothing in the file is executed. Raises ArtifactError for a file that is missing, truncated, altered, of a newer
    version, or not a packed model.
    """
    try:
        file_bytes = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); run compress again") from error
    return decode_packed(file_bytes, where=str(path))


def decode_packed(file_bytes: bytes, *, where: str) -> Checkpoint:
    """`load_packed` for bytes in memory; `where` names them in errors."""
    content = unpack(file_bytes, where=where)
    state = to_state(content, where=where)
    facts = content.meta.get("facts")
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ArtifactError(f"{where}: its facts are {facts!r}, strings by name are expected")
    try:
        config = ModelConfig.model_validate(content.meta.get("model_config"), strict=False)
    except ValidationError as error:
        raise ArtifactError(
            f"{where}: its model_config has {error.error_count()} fields this version does not accept "
            f"({error.errors()[0]['msg']}); pack the checkpoint again with this version"
        ) from error
    return Checkpoint(config=config, state=state, facts=facts)
