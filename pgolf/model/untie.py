"""Untie recurrent layers: give every executed layer its own matrices, so that they can be trained independently.

Source: Parameter Golf PR #745, which unties its two repeated layers right before test-time training.
"""

from collections.abc import Mapping

from torch import Tensor

from pgolf.errors import ConfigError
from pgolf.model.config import UNTIED_BLOCKS, ModelConfig
from pgolf.model.state_names import MATRIX_NAMES, matrix_name


def untie(config: ModelConfig, state: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The same network, bit for bit, without recurrence: each executed layer gets clones of the matrices it used.

    Small tensors already belong to executed layers and are kept unchanged, under their names. Raises ConfigError where
    passes share whole blocks: a block of its own would have another depth, and so another scale.
    """
    if config.recurrence_shares == "blocks" and config.recurrence:
        raise ConfigError(UNTIED_BLOCKS)
    tied = {matrix_name(layer, name) for layer in range(config.layers) for name in MATRIX_NAMES}
    untied = {name: tensor for name, tensor in state.items() if name not in tied}
    for layer, physical in enumerate(config.physical_layers):
        untied |= {matrix_name(layer, name): state[matrix_name(physical, name)].clone() for name in MATRIX_NAMES}
    return config.model_copy(update={"layers": config.executed_layers, "recurrence": ()}), untied
