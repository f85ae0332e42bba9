"""FLOPs per token of the network, from its config alone.

A multiply-add counts as two floating-point operations. Norms, gates, softmax and other element-wise work is ignored, as
is usual for model FLOPs utilization (MFU).
"""

from pgolf.model.config import ModelConfig


def training_flops_per_token(config: ModelConfig, sequence_length: int) -> int:
    """6 x multiply-adds: forward, backward for the inputs, backward for the weights; recurrent layers run again."""
    return 6 * (matrix_multiply_adds(config) + attention_multiply_adds(config, sequence_length))


def matrix_multiply_adds(config: ModelConfig) -> int:
    """Σ rows · columns over all matrices, counted as often as executed, including the tied head."""
    width, kv_width = config.width, config.kv_width
    block = 2 * width * width + 2 * kv_width * width + 2 * config.mlp_width * width
    block += config.heads * width if config.gated_attention else 0
    value_embedding = kv_width * config.value_embedding_dim if config.value_embedding_layers else 0
    bigram = config.bigram_dim * width if config.bigram_buckets else 0
    return config.executed_layers * block + config.vocab_size * width + bigram + value_embedding


def attention_multiply_adds(config: ModelConfig, sequence_length: int) -> int:
    """Scores and weighted values of causal attention: token t of a row attends to t + 1 positions, (T + 1) / 2 on
    average, and each costs twice the width.
    """
    return config.executed_layers * config.width * (sequence_length + 1)
