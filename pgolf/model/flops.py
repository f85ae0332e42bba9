"""Arithmetic of the network per token, from its configuration alone.

A multiply-add counts as two floating-point operations. Norms, gates, softmax and other element-wise work is left out,
as is usual where the share of a device's matrix rate is asked for.
"""

from pgolf.model.config import ModelConfig


def training_flops_per_token(config: ModelConfig, sequence_length: int) -> int:
    """6 x multiply-adds: one pass forward, and backward one for the inputs and one for the weights."""
    return 6 * (matrix_multiply_adds(config) + attention_multiply_adds(config, sequence_length))


def matrix_multiply_adds(config: ModelConfig) -> int:
    """Every matrix as often as it is executed, the tied head included: Σ rows · columns."""
    width, kv_width = config.width, config.kv_width
    block = 2 * width * width + 2 * kv_width * width + 2 * config.mlp_width * width
    block += config.heads * width if config.gated_attention else 0
    value_embedding = kv_width * config.value_embedding_dim if config.value_embedding_layers else 0
    return config.executed_layers * block + config.vocab_size * width + config.bigram_dim * width + value_embedding


def attention_multiply_adds(config: ModelConfig, sequence_length: int) -> int:
    """Scores and weighted values of causal attention: token t of a row meets t + 1 positions, (T + 1) / 2 on average,
    and each of them costs twice the width.
    """
    return config.executed_layers * config.width * (sequence_length + 1)
