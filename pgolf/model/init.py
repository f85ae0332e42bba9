"""Weight initialization, matching the original scripts draw for draw.

Source: PR #715; PR #792 with value embeddings, PR #745 with weight banks, PR #1493 without bigram table. The
constructors of the originals' layers fill every tensor with values that are overwritten later; those draws are repeated
here only because they advance the random generator.
"""

import math

import torch
from torch import Tensor, nn

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT


def initial_model(config: ModelConfig, seed: int) -> GPT:
    """A network on the CPU with the initial weights of `seed`."""
    model = GPT(config)
    initialize(model, seed)
    return model


@torch.no_grad()
def initialize(model: GPT, seed: int) -> None:
    """Fill `model`, which must be on the CPU, with its initial weights; bit-equal to the originals at their size.

    The originals initialize matrices with a side below 64 differently (uniform, and the bigram projection to zero, from
    which it and its zero table would never move). Here every size is initialized like the published one.
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    _replay_constructor_draws(model, generator)
    _draw_normal(model.tok_emb.weight, config.embedding_init_std, generator)

    for matrix, gain in _orthogonal_matrices(model):
        nn.init.orthogonal_(matrix, gain, generator=generator)

    if config.bigram_buckets:
        model.bigram.embed.weight.zero_()
        model.bigram.scale.fill_(config.bigram_scale_init)
    if config.smear == "channels":
        model.smear.gate.zero_()
    model.skip_weights.fill_(1.0)
    if config.skip_gates:
        model.skip_gates.zero_()
    for block in model.block_list[: config.layers]:
        block.attn.proj.weight.zero_()
        block.mlp.proj.weight.zero_()
    for block in model.block_list:
        block.attn.q_gain.fill_(config.q_gain_init)
        if block.attn.vr_lambda is not None:
            block.attn.vr_lambda.fill_(0.5)
        if block.attn.attn_gate is not None:
            block.attn.attn_gate.weight.zero_()
            block.attn.attn_gate.bias.fill_(config.gate_bias_init)
        block.attn_scale.fill_(1.0)
        block.mlp_scale.fill_(1.0)
        block.resid_mix[0].fill_(1.0)
        block.resid_mix[1].zero_()
    if model.ve_shared is not None:
        model.ve_shared.scale.fill_(config.value_embedding_scale_init)
        for scale in model.ve_layer_scales:
            scale.fill_(1.0)
    for parameter in model.parameters():
        # The originals cast the whole model to bfloat16 and back to float32.
        parameter.copy_(parameter.bfloat16())


def _replay_constructor_draws(model: GPT, generator: torch.Generator) -> None:
    """Draw what the originals' constructors draw, in their order: N(0, 1) per table, uniform per linear map.

    Weight banks are not drawn: they are plain tensors allocated without values.
    """

    def table(parameter: Tensor) -> None:
        torch.empty(parameter.shape).normal_(generator=generator)

    def linear(parameter: Tensor) -> None:
        torch.empty(parameter.shape).uniform_(generator=generator)

    table(model.tok_emb.weight)
    if model.config.bigram_buckets:
        table(model.bigram.embed.weight)
        linear(model.bigram.proj.weight)
    for layer, block in enumerate(model.block_list):
        attention = block.attn
        owns_linears = layer < model.config.layers and model.config.init_draws == "layers"
        if owns_linears:
            for matrix in (attention.c_q, attention.c_k, attention.c_v, attention.proj):
                linear(matrix.weight)
        if attention.attn_gate is not None:
            linear(attention.attn_gate.weight)
            linear(attention.attn_gate.bias)
        if owns_linears:
            linear(block.mlp.fc.weight)
            linear(block.mlp.proj.weight)
    if model.ve_shared is not None:
        table(model.ve_shared.embed.weight)
        _draw_normal(model.ve_shared.embed.weight, model.config.value_embedding_init_std, generator)
        linear(model.ve_shared.proj.weight)


def _draw_normal(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    # Drawn in float32, then rounded: a bfloat16 tensor would draw other numbers.
    parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))


def _orthogonal_matrices(model: GPT) -> list[tuple[Tensor, float]]:
    """The matrices with orthogonal initialization, in drawing order, each with its gain."""
    config = model.config
    depth_gain = 1 / math.sqrt(2 * config.layers) if config.projection_init_by_depth else 1.0
    layers = [
        (linear.weight, 1.0)
        for block in model.block_list[: config.layers]
        for linear in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.mlp.fc)
    ]
    bigram = [(model.bigram.proj.weight, depth_gain)] if config.bigram_buckets else []
    value_embedding = [(model.ve_shared.proj.weight, depth_gain)] if model.ve_shared is not None else []
    # Banks are filled when allocated, other linear maps in a later pass over all modules in order.
    first, second = (layers, bigram) if config.init_draws == "banks" else (bigram, layers)
    return [*first, *second, *value_embedding]
