"""A network in which every tensor matters, and tokens for it.

With initial weights attention and MLP give 0, gates are all but open, and a wrong map would go unseen.
"""

import math

import torch
from torch import Tensor, nn

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT


@torch.no_grad()
def exercise(model: nn.Module, seed: int = 1) -> None:
    """Fill the network with random weights, drawn on the CPU and rounded to bfloat16: matrices and tables that keep
    the size of what passes them, gains around 1, gates around one half.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("scale", "resid_mix", "skip_weights", "q_gain")) or "ve_layer_scales" in name:
            drawn = 1 + 0.25 * drawn
        elif name.endswith(("gate", "bias", "vr_lambda")):
            drawn = 0.5 + 0.25 * drawn
        elif "emb" not in name:
            drawn = drawn / math.sqrt(parameter.shape[-1])
        parameter.copy_(drawn.bfloat16())


def exercised_network(config: ModelConfig) -> GPT:
    """Such a network on the CPU, in evaluation mode."""
    model = GPT(config)
    exercise(model)
    return model.eval()


def random_tokens(vocab_size: int, *shape: int, seed: int = 2) -> Tensor:
    """Token ids on the CPU, int64."""
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))
