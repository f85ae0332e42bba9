"""Muon against singular values, and its step against the formula."""

import numpy as np
import pytest
import torch
from torch import nn

from pgolf.train.muon import Muon, iteration_dtype, orthogonalize
from pgolf.train.ranks import Ranks


def orthogonalized_by_svd(matrix, iterations):
    """The iteration's definition: U p(p(…p(Σ / ‖Σ‖))) Vᵀ with p(s) = 3.4445 s - 4.7750 s³ + 2.0315 s⁵, in float64."""
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-7)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return U * s @ Vt


def well_conditioned(rows, columns, seed=0):
    """A random matrix with singular values from 1 to 2."""
    random = np.random.default_rng(seed)
    U, _s, Vt = np.linalg.svd(random.normal(size=(rows, columns)), full_matrices=False)
    return U * random.uniform(1, 2, size=min(rows, columns)) @ Vt


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (24, 8), (8, 24), (1, 5)])
@pytest.mark.parametrize("iterations", [1, 5])
def test_orthogonalize_acts_on_singular_values_alone(rows, columns, iterations):
    matrix = well_conditioned(rows, columns)
    result = orthogonalize(torch.from_numpy(matrix).float(), iterations).numpy()
    # float32; an iteration's slope of at most 3.4445 multiplies the rounding of the one before
    np.testing.assert_allclose(result, orthogonalized_by_svd(matrix, iterations), rtol=0, atol=2e-4)


def test_five_iterations_bring_every_singular_value_into_the_published_band():
    """Jordan et al.: about [0.68, 1.13] for whatever is not tiny to begin with."""
    for seed in range(5):
        values = torch.linalg.svdvals(orthogonalize(torch.from_numpy(well_conditioned(20, 12, seed)).float(), 5))
        assert values.min() > 0.65
        assert values.max() < 1.2


def test_a_zero_matrix_stays_zero():
    assert not orthogonalize(torch.zeros(3, 4), 5).any()


def test_the_iteration_is_bfloat16_on_cuda_alone():
    assert iteration_dtype(torch.device("cuda")) == torch.bfloat16
    assert iteration_dtype(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("shape", "factor"), [((6, 4), 1.5**0.5), ((4, 6), 1.0), ((5, 5), 1.0)])
def test_steps_follow_the_formula(shape, factor):
    random = np.random.default_rng(1)
    start = random.normal(size=shape)
    parameter = nn.Parameter(torch.from_numpy(start).float())
    muon = Muon([parameter], newton_schulz_steps=5, weight_decay=0.1, ranks=Ranks())
    weight, velocity = start.copy(), np.zeros(shape)
    for lr, momentum in ((0.02, 0.85), (0.03, 0.9), (0.01, 0.95)):
        gradient = well_conditioned(*shape, seed=int(1000 * lr))
        parameter.grad = torch.from_numpy(gradient).float()
        muon.step(lr=lr, momentum=momentum)
        velocity = momentum * velocity + gradient
        direction = orthogonalized_by_svd(gradient + momentum * velocity, 5)
        weight = weight * (1 - lr * 0.1) - lr * factor * direction
    np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=0, atol=5e-5)  # float32, lr times the above


def test_without_a_gradient_only_the_decay_remains():
    parameter = nn.Parameter(torch.ones(3, 2))
    parameter.grad = torch.zeros(3, 2)
    Muon([parameter], newton_schulz_steps=5, weight_decay=0.5, ranks=Ranks()).step(lr=0.1, momentum=0.9)
    torch.testing.assert_close(parameter.detach(), torch.full((3, 2), 0.95))
