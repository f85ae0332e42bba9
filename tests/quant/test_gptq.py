"""Blocked GPTQ against its definition, and what it owes to a Hessian that is degenerate."""

import numpy as np
import pytest
import torch

from pgolf.errors import QuantizationError
from pgolf.quant import gptq
from pgolf.quant.gptq import (
    GptqOptions,
    SingularHessianError,
    damp,
    factored,
    inverse_factor,
    quantize_by_hessian,
    round_columns,
)
from pgolf.quant.rounding import clip_scales, percentile_scales, round_to_nearest
from tests.oracles.plain_gptq import gptq_by_definition

PERCENTILES = (0.9990, 0.9995, 0.9999, 0.99999, 1.0)
PUBLISHED = GptqOptions(stream_damping=0.01, damping=0.01, percentiles=PERCENTILES, act_order=True)
PLAIN = GptqOptions(stream_damping=0.0, damping=0.01, percentiles=(1.0,), act_order=False)


def problem(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and the Hessian of correlated inputs, float32, as calibration gives it."""
    generator = torch.Generator().manual_seed(seed)
    W_RC = torch.randn(rows, columns, generator=generator)
    mix_CC = torch.randn(columns, columns, generator=generator)
    X_NC = torch.randn(2 * columns + 3, columns, generator=generator) @ mix_CC
    return W_RC, X_NC.T @ X_NC


def quantize_gptq(name, W_RC, H_CC, bits, options):
    return gptq.quantize_gptq(name, W_RC, factored(name, W_RC, H_CC, options), bits, options.percentiles)


def layer_error(W_RC: torch.Tensor, Q_RC: torch.Tensor, H_CC: torch.Tensor) -> float:
    gap_RC = (W_RC - Q_RC).double()
    return float(((gap_RC @ H_CC.double()) * gap_RC).sum())


@pytest.mark.parametrize("columns", [1, 2, 63, 64, 65, 127, 128, 129])  # both sides of our block's edge and of 128
def test_blocked_gptq_quantizes_like_the_definition(columns):
    W_RC, H_CC = problem(3, columns, seed=columns)
    damped_CC, _dead_C = damp(H_CC.double(), PUBLISHED)
    scale_R = percentile_scales("w", W_RC, 6, (1.0,))[0].double()

    def snap(w_R):
        return np.clip(np.rint(w_R / scale_R.numpy()), -31, 31) * scale_R.numpy()

    expected_RC = gptq_by_definition(W_RC.double().numpy(), damped_CC.numpy(), snap)
    codes_PRC = round_columns(W_RC.double(), inverse_factor("w", damped_CC), scale_R[None], 31)
    found_RC = (codes_PRC[0] * scale_R[:, None]).numpy()
    # Both are float64: a code could differ only where a weight lies within 1e-9 of a rounding border.
    np.testing.assert_allclose(found_RC, expected_RC, rtol=0, atol=1e-12)


def test_the_result_does_not_depend_on_the_block_length_but_for_rounding():
    W_RC, H_CC = problem(8, 200)
    damped_CC, _dead_C = damp(H_CC.double(), PUBLISHED)
    U_CC = inverse_factor("w", damped_CC)
    scales_PR = percentile_scales("w", W_RC, 6, PERCENTILES).double()
    whole, halves, single = (
        round_columns(W_RC.double(), U_CC, scales_PR, 31, block_columns=length) for length in (200, 100, 1)
    )
    assert torch.equal(whole, halves)
    assert torch.equal(whole, single)


def test_act_order_is_the_definition_on_columns_sorted_by_their_damped_diagonal():
    W_RC, H_CC = problem(4, 40)
    damped_CC, _dead_C = damp(H_CC.double(), PUBLISHED)
    order_C = np.argsort(-damped_CC.diagonal().numpy(), kind="stable")
    scale_R = percentile_scales("w", W_RC, 6, (1.0,))[0].double().numpy()

    def snap(w_R):
        return np.clip(np.rint(w_R / scale_R), -31, 31) * scale_R

    sorted_RC = gptq_by_definition(W_RC.double().numpy()[:, order_C], damped_CC.numpy()[np.ix_(order_C, order_C)], snap)
    expected_RC = np.empty_like(sorted_RC)
    expected_RC[:, order_C] = sorted_RC
    options = GptqOptions(stream_damping=0.01, damping=0.01, percentiles=(1.0,), act_order=True)
    found = quantize_gptq("w", W_RC, H_CC, 6, options).dequantize(torch.float64).numpy()
    # The stage works in float32, where a few codes near a rounding border may fall to the other side.
    assert np.mean(np.abs(found - expected_RC) > 1e-6) <= 0.02


def test_a_hessian_without_correlations_makes_gptq_plain_rounding():
    W_RC, _H_CC = problem(5, 70)
    H_CC = torch.diag(torch.arange(1.0, 71.0))
    options = GptqOptions(stream_damping=0.01, damping=0.01, percentiles=(1.0,), act_order=True)
    # Rounding to nearest may use level -32, which no weight reaches: the largest magnitude is at ±31.
    assert torch.equal(quantize_gptq("w", W_RC, H_CC, 6, options).codes, round_to_nearest("w", W_RC, 6).codes)


@pytest.mark.parametrize("bits", [5, 6])
def test_gptq_leaves_less_layer_error_than_rounding_on_correlated_inputs(bits):
    W_RC, H_CC = problem(64, 96)
    by_gptq = quantize_gptq("w", W_RC, H_CC, bits, PUBLISHED)
    nearest = round_to_nearest("w", W_RC, bits)
    errors = [layer_error(W_RC, q.dequantize(torch.float32), H_CC) for q in (by_gptq, nearest)]
    # Not a theorem for one matrix, but 64 rows with condition numbers near 1e5 leave no doubt: about a factor of 5.
    assert errors[0] < 0.6 * errors[1]


def test_codes_stay_in_the_symmetric_range():
    W_RC, H_CC = problem(6, 50)
    for bits, levels in ((5, 15), (6, 31)):
        codes = quantize_gptq("w", W_RC, H_CC, bits, PUBLISHED).codes
        assert codes.dtype == torch.int8
        assert int(codes.abs().max()) <= levels


def test_the_chosen_percentile_has_the_least_plain_error_of_all():
    W_RC, H_CC = problem(6, 300)
    W_RC[0, 3] = 90.0
    best = quantize_gptq("w", W_RC, H_CC, 6, PUBLISHED)
    errors = []
    for percentile in PERCENTILES:
        options = GptqOptions(stream_damping=0.01, damping=0.01, percentiles=(percentile,), act_order=True)
        single = quantize_gptq("w", W_RC, H_CC, 6, options).dequantize(torch.float32)
        errors.append(float((W_RC - single).double().square().mean()))
    assert float((W_RC - best.dequantize(torch.float32)).double().square().mean()) == pytest.approx(min(errors))


def test_the_published_damping_is_about_two_percent_of_the_mean_diagonal():
    _W_RC, H_CC = problem(1, 30)
    mean = float(H_CC.double().diagonal().mean())
    damped_CC, dead_C = damp(H_CC.double(), PUBLISHED)
    assert not dead_C.any()
    assert float((damped_CC - H_CC.double()).diagonal().mean()) == pytest.approx(0.0201 * mean)
    off_diagonal_CC = damped_CC - torch.diag(damped_CC.diagonal())
    assert torch.equal(off_diagonal_CC, H_CC.double() - torch.diag(H_CC.double().diagonal()))


def test_the_inverse_factor_is_upper_triangular_and_squares_to_the_inverse():
    _W_RC, H_CC = problem(1, 40)
    damped_CC, _dead_C = damp(H_CC.double(), PUBLISHED)
    U_CC = inverse_factor("w", damped_CC)
    assert torch.equal(U_CC, U_CC.triu())
    assert bool((U_CC.diagonal() > 0).all())
    # Condition numbers here reach 1e4, float64 keeps 16 digits.
    torch.testing.assert_close(U_CC.T @ U_CC @ damped_CC, torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-9)


def test_columns_whose_input_is_always_zero_become_zero_without_damping():
    W_RC, H_CC = problem(4, 12)
    H_CC[5, :] = 0
    H_CC[:, 5] = 0
    codes = quantize_gptq("w", W_RC, H_CC, 6, PLAIN).codes
    assert not codes[:, 5].any()
    assert codes.any()


def test_a_hessian_of_zeros_is_damped_into_plain_rounding():
    W_RC, _H_CC = problem(4, 12)
    options = GptqOptions(stream_damping=0.01, damping=0.01, percentiles=(1.0,), act_order=True)
    codes = quantize_gptq("w", W_RC, torch.zeros(12, 12), 6, options).codes
    assert torch.equal(codes, round_to_nearest("w", W_RC, 6).codes)


def test_a_singular_hessian_without_damping_is_refused_and_with_damping_used():
    W_RC, _H_CC = problem(4, 12)
    x_C = torch.arange(1.0, 13.0)
    H_CC = torch.outer(x_C, x_C)
    H_CC[0, 0] -= 0.5  # one negative eigenvalue, so that rounding cannot hide it
    none = GptqOptions(stream_damping=0.0, damping=0.0, percentiles=(1.0,), act_order=True)
    with pytest.raises(SingularHessianError, match="w: the damped Hessian of 12 columns is not positive definite"):
        quantize_gptq("w", W_RC, H_CC, 6, none)
    assert quantize_gptq("w", W_RC, H_CC, 6, PUBLISHED).codes.any()


def test_bad_values_and_shapes_are_errors_naming_the_tensor():
    W_RC, H_CC = problem(4, 12)
    broken_CC = H_CC.clone()
    broken_CC[1, 2] = float("nan")
    with pytest.raises(QuantizationError, match=r"blocks\.0\.w \(Hessian\): 1 of 144"):
        quantize_gptq("blocks.0.w", W_RC, broken_CC, 6, PUBLISHED)
    with pytest.raises(QuantizationError, match=r"blocks\.0\.w: shape 4 × 12 needs a Hessian of 12 × 12, got 4 × 4"):
        quantize_gptq("blocks.0.w", W_RC, H_CC[:4, :4], 6, PUBLISHED)
    W_RC[0, 0] = float("inf")
    with pytest.raises(QuantizationError, match=r"blocks\.0\.w: 1 of 48"):
        quantize_gptq("blocks.0.w", W_RC, H_CC, 6, PUBLISHED)


def test_rows_of_zeros_stay_zero():
    W_RC, H_CC = problem(4, 12)
    W_RC[2] = 0
    assert not quantize_gptq("w", W_RC, H_CC, 6, PUBLISHED).codes[2].any()


def test_every_row_gets_the_clip_of_least_layer_error_under_the_hessian_as_measured():
    W_RC, H_CC = problem(9, 40)
    W_RC[0, 3] = 12.0
    clips = (1.0, 0.8, 0.6, 0.4)
    scales_PR = clip_scales("w", W_RC, 4, clips)
    factor = factored("w", W_RC, H_CC, PLAIN)
    best = quantize_by_hessian(W_RC, H_CC, factor, scales_PR, 7)
    error_PR = torch.stack(
        [
            torch.tensor(
                [
                    layer_error(W_RC[row : row + 1], one.dequantize(torch.float32)[row : row + 1], H_CC)
                    for row in range(len(W_RC))
                ]
            )
            for one in (quantize_by_hessian(W_RC, H_CC, factor, scales_R[None], 7) for scales_R in scales_PR)
        ]
    )
    chosen_R = error_PR.argmin(dim=0)
    assert torch.equal(best.scale, scales_PR[chosen_R, torch.arange(len(W_RC))])
    # One clip for all rows, as published, would not do.
    assert len(set(chosen_R.tolist())) > 1


def test_the_curvature_of_a_factor_is_the_layer_error_of_unit_errors_that_later_columns_repair():
    _W_RC, H_CC = problem(1, 12)
    factor = factored("w", torch.zeros(1, 12), H_CC, PLAIN)
    damped_CC, _dead_C = damp(H_CC.double(), PLAIN)
    expected = 0.0
    for c in range(12):
        # A unit error in column c, the columns after it free: the Schur complement of the free ones.
        free = slice(c + 1, 12)
        repaired = damped_CC[c, free] @ torch.linalg.solve(damped_CC[free, free], damped_CC[free, c]) if c < 11 else 0.0
        expected += float(damped_CC[c, c] - repaired)
    assert factor.curvature == pytest.approx(expected, rel=1e-9)
    assert factor.curvature <= float(damped_CC.trace())


def test_clip_scales_have_no_floor_and_rows_of_zeros_a_scale_that_divides():
    W_RC = torch.tensor([[0.031, -0.0155], [0.0, 0.0]])
    scales_PR = clip_scales("w", W_RC, 6, (1.0, 0.5))
    assert scales_PR[:, 0].tolist() == torch.tensor([0.001, 0.0005]).half().tolist()
    assert bool((scales_PR > 0).all())
