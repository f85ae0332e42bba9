"""Small networks with every switch of the published families, and weights that leave nothing at zero."""

import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.recipes.catalog import recipe_named

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
# Layers 1 and 2 run twice: 0 1 2 1 2 3 4, seven executed layers, three skips.
SMALL_745 = SMALL_715.model_copy(
    update={
        "recurrence": (1, 2),
        "xsa_layers": (2, 3, 4, 5, 6),
        "value_embedding_layers": (3, 5),
        "value_embedding_dim": 10,
        "projection_init_by_depth": False,
        "init_draws": "banks",
        "residual_dtype": "float32",
        "norm_eps_bf16_input": 2.0**-7,
    }
)
SMALL_761 = SMALL_715.model_copy(update={"mlp_slope": 0.9})
# The recipes' own, so that numbers of the original programs hold for what is run.
PUBLISHED = {name: recipe_named(f"pr{name}").model for name in ("715", "745", "761", "792", "1493")}
PUBLISHED_1493 = PUBLISHED["1493"]
# Layers 1 and 2 run three times, as 1 2 1 2 1 2: nine places, and three of four skips join looped layers.
SMALL_1493 = ModelConfig.model_validate(
    PUBLISHED_1493.model_dump()
    | SMALL_715.model_dump(include={"vocab_size", "width", "layers", "heads", "kv_heads", "mlp_width"})
    | {"recurrence": (1, 2), "rope_dims": 6, "rope_reference_length": 7, "parallel_from": 3}
)

SMALL = {"715": SMALL_715, "745": SMALL_745, "761": SMALL_761, "792": SMALL_792, "1493": SMALL_1493}


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
