"""Weights and tokens by formula, which the check numbers of the board's systems were computed from."""

import math
import zlib

import numpy as np
import torch

_SMALL = ("resid_mix", "skip_weights", "skip_gates")


def fill(name, shape):
    """A sine wave around 0, 1 or 2, float32: its phase by the tensor's name, its height by the tensor's role."""
    i = np.arange(math.prod(shape), dtype=np.float64)
    phase = (zlib.crc32(name.encode()) % 1000) / 100
    middle, height = 0.0, 0.05 if len(shape) < 2 or name.endswith(_SMALL) else 0.08
    if name.endswith(("attn_scale", "mlp_scale", "skip_weights")):
        middle = 1.0
    if name.endswith("q_gain"):
        middle = 2.0
    if name.endswith("resid_mix"):
        middle = np.repeat([1.0, 0.0], shape[1])
    if name.endswith("skip_gates"):
        height = 0.5
    return (middle + height * np.sin(0.9 * i + 0.0011 * i * i + phase)).astype(np.float32).reshape(shape)


def filled(model):
    """The network with its fills, every tensor in float32."""
    model.float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(fill(name, tuple(parameter.shape))))
    return model


def stream(t, vocab=1024):
    """Tokens at the positions t, with the document start 1 at every multiple of 89 and nowhere else."""
    t = np.asarray(t, np.int64)
    x = (t * t * 5 + 29 * t + 3) % vocab
    return np.where(t % 89 == 0, 1, np.where(x == 1, 2, x))


def documents(count):
    """Tokens of so many documents in a row: the document start, then a body that repeats itself."""
    parts = []
    for number in range(count):
        length = 5 + (number * 53 + 40) % 131 + (90 if number % 7 == 3 else 0)
        t = 1000 * number + 11 + np.arange(length) % (13 + number % 9)
        x = (t * t * 5 + 29 * t + 3) % 1024
        parts.append(np.concatenate([[1], np.where(x == 1, 2, x)]))
    return np.concatenate(parts)
