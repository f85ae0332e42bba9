"""A small network of the real architecture whose tensors fall under every rule of the scheme."""

import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT

# Matrices have 512 to 1,536 elements, all other tensors of rank 2 fewer or none of the classes' names; with
# fp16_max_elements=300 the six matrices of each layer and the two tables are quantized.
SMALL = ModelConfig(
    vocab_size=64, width=32, layers=4, heads=4, kv_heads=2, mlp_width=48, bigram_buckets=40, bigram_dim=8, rope_dims=4
)
FP16_MAX_ELEMENTS = 300


def random_state(seed: int = 0, spread: float = 0.6) -> dict[str, torch.Tensor]:
    """Random weights under the network's own names, shapes and dtypes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(tensor.shape, generator=generator) * spread).to(tensor.dtype)
        for name, tensor in GPT(SMALL).state_dict().items()
    }
