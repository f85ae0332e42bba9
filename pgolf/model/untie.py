"""Ending depth recurrence: every executed layer gets matrices of its own, so that they can learn apart.

Source: Parameter Golf PR #745, which unties its two repeated layers right before it adapts to the validation text.
"""

from collections.abc import Mapping

from torch import Tensor

from pgolf.model.config import ModelConfig
from pgolf.model.state_names import MATRIX_NAMES, matrix_name


def untie(config: ModelConfig, state: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The same function, bit for bit, without recurrence: each executed layer gets clones of the matrices it ran on.

    Small tensors already belong to executed layers; they keep their names and stay the tensors they are.
    """
    tied = {matrix_name(layer, name) for layer in range(config.layers) for name in MATRIX_NAMES}
    untied = {name: tensor for name, tensor in state.items() if name not in tied}
    for layer, physical in enumerate(config.physical_layers):
        untied |= {matrix_name(layer, name): state[matrix_name(physical, name)].clone() for name in MATRIX_NAMES}
    return config.model_copy(update={"layers": config.executed_layers, "recurrence": ()}), untied
