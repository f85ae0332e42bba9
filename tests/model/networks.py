"""Small networks with every switch of the two families, and weights that leave nothing at zero."""

import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model

# Six heads on two value heads, an odd number of layers, rows longer than the rotary reference: no size is like another.
SMALL_715 = ModelConfig(
    vocab_size=23,
    width=48,
    layers=5,
    heads=6,
    kv_heads=2,
    mlp_width=40,
    bigram_buckets=17,
    bigram_dim=12,
    rope_dims=6,
    rope_reference_length=7,
)
SMALL_792 = SMALL_715.model_copy(
    update={
        "layers": 4,
        "xsa_layers": (1, 3),
        "value_residual": False,
        "gated_attention": False,
        "value_embedding_layers": (2, 3),
        "value_embedding_dim": 10,
        "residual_dtype": "float32",
        "norm_eps_bf16_input": 2.0**-7,
    }
)


def perturbed_model(config: ModelConfig, seed: int = 0) -> GPT:
    """Initial weights plus noise in every tensor, zeros included."""
    model = initial_model(config, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def some_tokens(rows: int, length: int, vocab_size: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(0, vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))
