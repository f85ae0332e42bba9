"""About how much memory of a GPU a training takes, from what the published runs took. Imports no torch."""

from pgolf.model.config import ModelConfig
from pgolf.train.config import TrainConfig

# Bytes per token of a span, executed layer and channel, beside those per token and word of the vocabulary: peak memory
# of the published runs, optimizer included, over 98,304 tokens and 512 channels. bfloat16 stream: #715: 22,472 MiB, 11
# layers, 1,024 words, and #1493: 39,046 MiB, 17 layers, 8,192 words. float32 stream: #745: 32,819 MiB, 13 layers, and
# #792: 27,814 MiB, 11 layers. Of each two the larger counts.
_BYTES = {"bfloat16": 41.2, "float32": 51.4}
_LOGITS_BYTES = 8


def expected_gpu_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """Peak bytes of a compiled training on one GPU, whatever the number of ranks: a rank has one span at a time."""
    stream = _BYTES[model.residual_dtype] * model.executed_layers * model.width
    return round(train.tokens_per_span * (stream + _LOGITS_BYTES * model.vocab_size))
