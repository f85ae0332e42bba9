"""The iteration against singular values."""

import numpy as np
import pytest
import torch

from pgolf.train.newton_schulz import iteration_dtype, orthogonalize
from tests.oracles.plain_muon import orthogonalized
from tests.train.matrices import well_conditioned


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (24, 8), (8, 24), (1, 5)])
@pytest.mark.parametrize("iterations", [1, 5])
def test_it_acts_on_the_singular_values_of_each_matrix_alone(rows, columns, iterations, fused):
    """Three matrices of very different size in one stack: each has its own norm."""
    stack = np.stack([size * well_conditioned(rows, columns, seed) for seed, size in enumerate((1, 1e-3, 1e4))])
    result = orthogonalize(torch.from_numpy(stack).float(), iterations, fused=fused).numpy()
    expected = np.stack([orthogonalized(matrix, iterations) for matrix in stack])
    # float32; an iteration's slope of at most 3.4445 multiplies the rounding of the one before
    np.testing.assert_allclose(result, expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_five_iterations_keep_the_singular_vectors_and_bring_every_value_into_the_polynomials_band(fused):
    """UᵀOV is diagonal, and on it lie p⁵(s) for s = Σ / ‖Σ‖ in [0.1, 0.45]: Jordan et al. give about [0.68, 1.13]."""
    grid = np.linspace(0.1, 0.45, 10_000)
    band = grid
    for _ in range(5):
        band = 3.4445 * band - 4.7750 * band**3 + 2.0315 * band**5
    for seed in range(5):
        matrix = well_conditioned(20, 12, seed)
        U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
        assert 0.1 < (s / np.linalg.norm(s)).min() <= (s / np.linalg.norm(s)).max() < 0.45
        result = orthogonalize(torch.from_numpy(matrix).float()[None], 5, fused=fused)[0].double().numpy()
        values = U.T @ result @ Vt.T
        np.testing.assert_allclose(values - np.diag(np.diag(values)), 0, atol=3e-4)
        assert band.min() - 3e-4 < np.diag(values).min() <= np.diag(values).max() < band.max() + 3e-4
        assert 0.65 < np.diag(values).min() < np.diag(values).max() < 1.2


def test_a_zero_matrix_stays_zero_beside_one_that_is_not():
    result = orthogonalize(torch.stack((torch.zeros(3, 4), torch.eye(3, 4))), 5)
    assert not result[0].any()
    assert result[1].any()


def test_the_iteration_is_bfloat16_on_cuda_alone():
    assert iteration_dtype(torch.device("cuda")) == torch.bfloat16
    assert iteration_dtype(torch.device("cpu")) == torch.float32
