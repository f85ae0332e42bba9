"""Refuses a checkpoint of our own for another network than its own, where the shapes of its tensors may be the same.

Which layers recur, or from which on they are parallel, shows in no shape; our checkpoints say what network they are of.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from pgolf.config import complaint
from pgolf.errors import DataError
from pgolf.model.checkpoint import CONFIG_KEY
from pgolf.model.config import ModelConfig

_SHOWN = 5


def refuse_other_network(config: ModelConfig, metadata: Mapping[str, str], path: Path) -> None:
    """Raise DataError if the checkpoint at `path` says in its metadata that it is of another network than `config`.

    How weights begin plays no part, nor do settings that nothing reads. Files of others say nothing of their network.
    """
    if CONFIG_KEY not in metadata:
        return
    try:
        own = ModelConfig.model_validate_json(metadata[CONFIG_KEY])
    except ValidationError as error:
        raise DataError(
            f"{path}: its {CONFIG_KEY} is none that this version accepts ({complaint(error)}); save its tensors without"
        ) from error
    idle = own.idle()
    differ = [
        name
        for name in ModelConfig.model_fields
        if "init" not in name.split("_") and name not in idle and getattr(own, name) != getattr(config, name)
    ]
    if differ:
        shown = "; ".join(
            f"{name} is {getattr(own, name)}, the recipe's {getattr(config, name)}" for name in differ[:_SHOWN]
        )
        more = f"; and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        sets = " ".join(
            f"--set 'model.{name}={json.dumps(to_jsonable_python(getattr(own, name)))}'" for name in differ[:_SHOWN]
        )
        raise DataError(
            f"{path} is of another network: {shown}{more}; take the recipe it was trained with, or add {sets}"
        )
