"""How far two computations of one network may lie apart, from the formats they compute in.

A format with p bits of mantissa (the hidden one included) rounds a number by at most u = 2^-p of it: u = 2^-8 in
bfloat16, 2^-24 in float32. Roundings of different numbers are independent, so the relative error of n of them in a
row is at most u · sqrt(n) in the root mean square over many outputs. Taking each at its greatest size, u, and not at
its root mean square, which is less than half of that, leaves room for the moderate amplification inside a layer. n is
counted off the code, never fitted to what was measured.
"""

import math

import torch
from torch import Tensor

from pgolf.model.config import ModelConfig

BFLOAT16, FLOAT32 = 2.0**-8, 2.0**-24

# pgolf/model/attention.py, in bfloat16: on the way of the values the input, W_v, its product, the value embedding's
# sum, three of the value residual, the probabilities, the output, the gate with its product (5), the input of W_o,
# W_o, its product: 16. On the way of queries and keys W, its product, the norm, three of the rotation, the gain: 7
# each. Their scores are sums of products of both, with a standard deviation of 1.5 (the gain), and a change of a score
# is a relative change of its probability: 1.5^2 · 14 = 31.5.
_ATTENTION = 16 + 31.5
# pgolf/model/gpt.py: the input, W, its product and the leaky slope, squared, which doubles a relative error (4 · 4);
# the square, W, its product.
_MLP = 4 * 4 + 3
# Around both: two mixes and their sum, two norms with their scale, two gains with their sums, skip and its sum.
_STREAM = 3 + 4 + 4 + 2


def attention_limit() -> float:
    """Relative root-mean-square error of one attention in bfloat16 on given inputs."""
    return BFLOAT16 * math.sqrt(_ATTENTION)


def mlp_limit() -> float:
    """Relative root-mean-square error of one MLP in bfloat16 on given inputs."""
    return BFLOAT16 * math.sqrt(_MLP)


def hidden_limit(config: ModelConfig) -> float:
    """Relative root-mean-square error of the final hidden states: all layers' roundings in a row."""
    return BFLOAT16 * math.sqrt(config.executed_layers * (_ATTENTION + _MLP + _STREAM))


def gradient_limit(config: ModelConfig) -> float:
    """Relative difference of two gradients in bfloat16 of the same loss, each with its own roundings.

    Backward passes every map twice (for its input and its weight), so one gradient has three times the roundings of
    the hidden states, and the difference of two has both of theirs.
    """
    return hidden_limit(config) * math.sqrt(2 * 3)


def sum_limit(terms: int, unit: float, *, divided: bool = False) -> float:
    """Error of a sum of n terms in any order, in units of Σ|term|: each of its n - 1 additions rounds once.

    A theorem (Higham, Accuracy and Stability of Numerical Algorithms, 4.2). divided: by n, which rounds once more.
    unit: the coarsest format that the additions may use.
    """
    n = terms - 1 + divided
    return n * unit / (1 - n * unit)


def relative_rms(found: Tensor, expected: Tensor) -> float:
    """‖found - expected‖ / ‖expected‖ in float64; infinite where something is not a number."""
    difference = found.detach().cpu().double() - expected.detach().cpu().double()
    ratio = float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(expected.detach().cpu().double()))
    return ratio if math.isfinite(ratio) else math.inf
