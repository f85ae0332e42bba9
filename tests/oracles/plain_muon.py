"""Muon from its definition, one matrix at a time in float64: polynomial in singular values, never a matrix product."""

import numpy as np


def orthogonalized(matrix, iterations=5):
    """U p(p(…p(Σ / (‖Σ‖ + 1e-7)))) Vᵀ with p(s) = 3.4445 s - 4.7750 s³ + 2.0315 s⁵."""
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-7)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return U * s @ Vt


class MuonByDefinition:
    """rounded: applied to gradient, momentum and the iteration's input, where an optimizer keeps them in bfloat16.

    row_norm: each row of a step is divided by its norm before the iteration.
    """

    def __init__(self, weight, *, decay, rounded=lambda array: array, row_norm=False):
        self.weight, self.decay, self.rounded = weight.astype(np.float64), decay, rounded
        self.row_norm = row_norm
        self.velocity = np.zeros_like(self.weight)

    def step(self, gradient, *, lr, momentum):
        gradient = self.rounded(gradient)
        self.velocity = self.rounded(self.rounded(momentum * self.velocity) + gradient)
        direction = self.rounded(gradient + momentum * self.velocity)
        if self.row_norm:
            direction = self.rounded(direction / np.linalg.norm(direction, axis=1, keepdims=True))
        direction = orthogonalized(direction)
        rows, columns = self.weight.shape
        self.weight = self.weight * (1 - lr * self.decay) - lr * max(1, rows / columns) ** 0.5 * direction
