"""The penalty against loops over its definition, and its gradient against finite differences."""

import numpy as np
import torch

from pgolf.train.crownq import rounding_variance


def by_definition(matrices, levels=15):
    total = 0.0
    for matrix in matrices:
        for row in matrix:
            step = max(max(abs(float(w)) for w in row), 1e-10) / levels
            total += sum(float(w) ** 2 for w in row) / len(row) * step**2 / 12
    return total


def matrices():
    random = np.random.default_rng(3)
    drawn = [random.normal(size=shape) for shape in ((3, 4), (2, 5), (3, 4))]
    drawn[1][0] = 0.0  # a row whose step is at its floor
    return drawn


def test_it_is_the_sum_over_rows_of_mean_square_times_the_variance_of_rounding():
    weights = [torch.from_numpy(matrix).float() for matrix in matrices()]
    torch.testing.assert_close(float(rounding_variance(weights, 5)), by_definition(matrices()), rtol=1e-5, atol=0)
    torch.testing.assert_close(float(rounding_variance(weights, 6)), by_definition(matrices(), 31), rtol=1e-5, atol=0)


def test_gradients_pass_through_the_mean_square_and_through_the_step():
    drawn = matrices()
    weights = [torch.from_numpy(matrix).float().requires_grad_() for matrix in drawn]
    rounding_variance(weights, 5).backward()
    for matrix, weight in zip(drawn, weights, strict=True):
        for place in np.ndindex(matrix.shape):
            up, down = matrix.copy(), matrix.copy()
            up[place] += 1e-5
            down[place] -= 1e-5
            slope = (by_definition([up]) - by_definition([down])) / 2e-5
            assert abs(float(weight.grad[place]) - slope) < 1e-6
