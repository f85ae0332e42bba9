"""Ending depth recurrence: every executed layer gets matrices of its own, so that they can learn apart.

Source: Parameter Golf PR #745, which unties its two repeated layers right before it adapts to the validation text.
"""

from collections.abc import Mapping

from torch import Tensor

from pgolf.model.config import ModelConfig

MATRIX_NAMES = ("attn.c_q", "attn.c_k", "attn.c_v", "attn.proj", "mlp.fc", "mlp.proj")


def untie(config: ModelConfig, state: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The same function without recurrence: `executed_layers` layers, repeated matrices cloned, the rest shared.

    Small tensors already belong to executed layers and keep their names.
    """
    shared = {_matrix(layer, name) for layer in range(config.layers) for name in MATRIX_NAMES}
    untied = {name: tensor for name, tensor in state.items() if name not in shared}
    for layer, physical in enumerate(config.physical_layers):
        untied |= {_matrix(layer, name): state[_matrix(physical, name)].clone() for name in MATRIX_NAMES}
    return config.model_copy(update={"layers": config.executed_layers, "recurrence": ()}), untied


def _matrix(layer: int, name: str) -> str:
    return f"blocks.{layer}.{name}.weight"
