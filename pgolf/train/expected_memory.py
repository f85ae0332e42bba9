"""About how much memory of a GPU a training takes, from what the published runs took. Imports no torch."""

from pgolf.model.config import ModelConfig
from pgolf.train.config import TrainConfig

# Bytes per token of a span, executed layer and channel: peak memory of the published runs, optimizer included, over
# 98,304 tokens and 512 channels. #715: 22,472 MiB, 11 layers, bfloat16 stream; #745: 32,819 MiB, 13 layers, and #792:
# 27,814 MiB, 11 layers, float32 stream, where the larger counts.
_BYTES = {"bfloat16": 42.6, "float32": 52.7}


def expected_gpu_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """Peak bytes of a compiled training on one GPU, whatever the number of ranks: a rank has one span at a time."""
    return round(_BYTES[model.residual_dtype] * train.tokens_per_span * model.executed_layers * model.width)
