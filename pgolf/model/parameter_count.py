"""Number of parameters of a network, from its config alone: `pgolf recipes` shows it without loading torch."""

from pgolf.model.config import ModelConfig


def parameter_count(config: ModelConfig) -> int:
    """Number of trainable scalars; shared matrices count once. 27,137,223 for PR #715, 35,944,536 for #1493."""
    width, heads, kv_width = config.width, config.heads, config.kv_width
    embeddings = config.vocab_size * width
    bigram = config.bigram_dim * (config.bigram_buckets + width) + 1 if config.bigram_buckets else 0
    smear = width if config.smear == "channels" else 0
    skips = config.encoder_layers * width
    if config.skip_gates:
        skips *= 2
    matrices = 2 * width * width + 2 * kv_width * width + 2 * config.mlp_width * width
    # q_gain, attn_scale and mlp_scale, the two rows of resid_mix
    small = heads + 2 * width + 2 * width
    small += 2 if config.value_residual else 0
    small += heads * width + heads if config.gated_attention else 0
    layers = config.layers * matrices + config.blocks * small
    value_embedding = 0
    if config.value_embedding_layers:
        table = config.vocab_size * config.value_embedding_dim
        value_embedding = table + kv_width * config.value_embedding_dim + 1 + len(config.value_embedding_layers)
    return embeddings + bigram + smear + skips + layers + value_embedding
