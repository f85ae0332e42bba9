"""Untie recurrent layers: give every executed layer its own matrices, so that they can be trained independently.

Source: Parameter Golf PR #745, which unties its two repeated layers right before test-time training.
"""

from collections.abc import Mapping

from torch import Tensor

from pgolf.model.config import ModelConfig
from pgolf.model.state_names import MATRIX_NAMES, matrix_name


def untie(config: ModelConfig, state: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The same network, bit for bit, without recurrence: each executed layer gets clones of the matrices it used.

    Small tensors already belong to executed layers and are kept unchanged, under their names.
    """
    tied = {matrix_name(layer, name) for layer in range(config.layers) for name in MATRIX_NAMES}
    untied = {name: tensor for name, tensor in state.items() if name not in tied}
    for layer, physical in enumerate(config.physical_layers):
        untied |= {matrix_name(layer, name): state[matrix_name(physical, name)].clone() for name in MATRIX_NAMES}
    return config.model_copy(update={"layers": config.executed_layers, "recurrence": ()}), untied
