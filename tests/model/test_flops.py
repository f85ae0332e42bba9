"""The network's arithmetic per token, against what torch counts while it runs."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pgolf.model.flops import attention_multiply_adds, matrix_multiply_adds
from pgolf.model.init import initial_model
from tests.train.runs import TINY

RECURRENT = {"recurrence": (0, 1), "value_embedding_layers": (1, 2), "value_embedding_dim": 8}
LOOPED = {
    "recurrence": (0, 1),
    "recurrence_passes": 3,
    "recurrence_shares": "blocks",
    "bigram_buckets": 0,
    "smear": "none",
    "skip_gates": True,
    "parallel_from": 2,
}


@pytest.mark.parametrize("fields", [{}, RECURRENT, LOOPED, {"gated_attention": False, "value_residual": False}])
def test_the_models_arithmetic_is_what_torch_counts(fields):
    """torch counts all T x T scores of a row where causal attention has T (T + 1) / 2: each costs twice the width."""
    config = TINY.model.model_copy(update=fields)
    model, length = initial_model(config, 1), 16
    tokens_BT = torch.zeros(3, length, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(tokens_BT, tokens_BT)
    full_attention = config.executed_layers * 2 * length * config.width
    assert counter.get_total_flops() == 2 * 3 * length * (matrix_multiply_adds(config) + full_attention)
    causal = sum(2 * config.width * (t + 1) for t in range(length)) * config.executed_layers
    assert attention_multiply_adds(config, length) * length == causal
