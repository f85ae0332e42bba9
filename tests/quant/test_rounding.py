"""Row scales and rounding, against loops written from the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.errors import QuantizationError
from pgolf.quant.rounding import (
    percentile_scales,
    positive_levels,
    round_embedding,
    round_to_nearest,
    row_quantiles,
    row_scale,
    search_percentile,
)

PERCENTILES = (0.9990, 0.9995, 0.9999, 0.99999, 1.0)


def weights(rows: int, columns: int, spread: float, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * spread


def nearest_by_definition(W: np.ndarray, levels: int, lowest: int) -> tuple[list[list[int]], list[float]]:
    """One entry at a time in float32, as spec (g) of the published code reads."""
    codes, scales = [], []
    for row in W.astype(np.float32):
        amax = max(abs(w) for w in row)
        scale = np.float16(max(np.float32(amax) / np.float32(levels), np.float32(1) / np.float32(levels)))
        codes.append([int(min(max(np.rint(w / np.float32(scale)), lowest), levels)) for w in row])
        scales.append(float(scale))
    return codes, scales


@pytest.mark.parametrize(("bits", "floor"), [(6, 0.032257080078125), (5, 0.066650390625), (8, 0.00787353515625)])
def test_small_rows_share_the_published_scale_floor(bits, floor):
    scale_R = row_scale("w", torch.tensor([0.0, 0.3, 1.0]), bits)
    assert scale_R.dtype == torch.float16
    assert scale_R.tolist() == [floor] * 3


def test_the_levels_of_five_six_and_eight_bits_are_the_published_ones():
    assert [positive_levels(bits) for bits in (5, 6, 8)] == [15, 31, 127]


@pytest.mark.parametrize(("bits", "levels"), [(6, 31), (5, 15), (4, 7), (2, 1), (8, 127)])
@pytest.mark.parametrize("spread", [0.05, 1.0, 40.0])
def test_rounding_to_nearest_equals_the_definition_entry_by_entry(bits, levels, spread):
    W_RC = weights(7, 33, spread)
    rounded = round_to_nearest("w", W_RC, bits)
    codes, scales = nearest_by_definition(W_RC.numpy(), levels, -levels - 1)
    assert rounded.codes.tolist() == codes
    assert rounded.scale.tolist() == scales


def test_halves_round_to_even():
    # Scale 1 makes the codes the weights themselves.
    W_RC = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 31.0]])
    assert round_to_nearest("w", W_RC, 6).codes.tolist() == [[0, 2, 2, 0, -2, 31]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=40),
    st.integers(2, 8),
)
def test_the_error_is_at_most_half_a_step(row, bits):
    W_RC = torch.tensor([row])
    rounded = round_to_nearest("w", W_RC, bits)
    # fp16 rounds the scale by up to 2^-11, so the largest weight may lie that far beyond the last level:
    # levels · scale · 2^-11 more than half a step, and float32 adds a rounding of the weight itself.
    levels = positive_levels(bits)
    step = float(rounded.scale[0])
    allowed = step * (0.5 + levels * 2**-11) * (1 + 1e-6)
    assert float((W_RC - rounded.dequantize(torch.float32)).abs().max()) <= allowed


def test_rounding_a_dequantized_matrix_again_changes_no_code():
    once = round_to_nearest("w", weights(5, 64, 3.0), 6)
    again = round_to_nearest("w", once.dequantize(torch.float32), 6)
    assert torch.equal(again.codes, once.codes)


@pytest.mark.parametrize("round_rows", [round_to_nearest, round_embedding])
def test_rows_of_zeros_stay_zero(round_rows):
    rounded = round_rows("w", torch.zeros(3, 16), 6)
    assert not rounded.codes.any()
    assert not rounded.dequantize(torch.float32).any()


def test_dequantizing_returns_the_original_dtype():
    table_RC = weights(4, 32, 0.2).to(torch.bfloat16)
    assert round_embedding("t", table_RC, 8).dequantize(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("columns", [2, 3, 512, 1536])
@pytest.mark.parametrize("quantile", [0.999, 0.9995, 0.9999984, 0.5])
def test_row_quantiles_interpolate_linearly_between_order_statistics(columns, quantile):
    W_RC = weights(4, columns, 1.0).abs()
    expected_R = np.quantile(W_RC.numpy().astype(np.float64), np.float32(quantile), axis=1)
    # The rank q·(C-1) is taken in float32: an error of 6e-5 of one gap between neighbours at 1536 columns.
    np.testing.assert_allclose(row_quantiles(W_RC, [quantile])[0].numpy(), expected_R, rtol=0, atol=1e-4)


def test_row_quantiles_of_more_elements_than_torch_takes_at_once_equal_those_of_the_parts():
    W_RC = torch.arange(2**24 + 2**20, dtype=torch.float32).reshape(17, 2**20)
    expected_R = W_RC[:, 0] + 0.5 * (2**20 - 1)
    # The values reach 2^24, where float32 steps by 1.
    torch.testing.assert_close(row_quantiles(W_RC, [0.5])[0], expected_R, rtol=0, atol=1.0)


@pytest.mark.parametrize("bits", [5, 6])
def test_the_percentile_search_finds_what_trying_every_percentile_finds(bits):
    W_RC = weights(6, 400, 2.0)
    W_RC[2, 7] = 60.0  # an outlier that a lower percentile clips
    levels = positive_levels(bits)
    best_error, best_codes, best_scale = None, None, None
    for percentile in PERCENTILES:
        # torch.quantile(…, 1.0) is the maximum itself.
        clip_R = torch.quantile(W_RC.abs(), percentile, dim=1)
        scale_R = torch.clamp(clip_R / levels, min=1 / levels).half()
        codes_RC = torch.clamp(torch.round(W_RC / scale_R.float()[:, None]), -levels, levels)
        error = float((W_RC.double() - (codes_RC * scale_R.float()[:, None]).double()).square().mean())
        if best_error is None or error < best_error:
            best_error, best_codes, best_scale = error, codes_RC, scale_R
    found = search_percentile("w", W_RC, bits, PERCENTILES)
    assert torch.equal(found.codes.float(), best_codes)
    assert torch.equal(found.scale, best_scale)


def test_below_magnitude_one_the_percentile_search_has_nothing_to_choose():
    W_RC = weights(4, 300, 0.1)
    scales_PR = percentile_scales("w", W_RC, 6, PERCENTILES)
    assert torch.equal(scales_PR, scales_PR[:1].expand_as(scales_PR))
    assert torch.equal(search_percentile("w", W_RC, 6, PERCENTILES).codes, round_to_nearest("w", W_RC, 6).codes)


def test_percentile_scales_follow_the_order_in_which_percentiles_are_given():
    W_RC = weights(3, 500, 5.0)
    one, other = percentile_scales("w", W_RC, 6, (1.0, 0.9))
    assert torch.equal(one, row_scale("w", W_RC.abs().amax(dim=1), 6))
    assert bool((other < one).all())


def test_embeddings_round_with_the_float32_scale_and_store_its_float16_copy():
    W_RC = weights(5, 512, 7.0, seed=3)
    rounded = round_embedding("t", W_RC, 8)
    clip_R = torch.quantile(W_RC.abs(), 0.9999984, dim=1)
    scale_R = torch.clamp(clip_R / 127, min=1 / 127)
    for row in range(5):
        clip, scale = float(clip_R[row]), np.float32(scale_R[row])
        expected = [
            int(np.clip(np.rint(np.float32(np.clip(w, -clip, clip)) / scale), -127, 127)) for w in W_RC[row].numpy()
        ]
        assert rounded.codes[row].tolist() == expected
    assert torch.equal(rounded.scale, scale_R.half())


def test_the_embedding_clip_lies_between_the_two_largest_magnitudes():
    # 512 columns: rank 0.9999984 · 511 = 510.99918, so the clip is the maximum less 0.00082 of the gap below it.
    row = torch.zeros(1, 512)
    row[0, 0], row[0, 1] = 10.0, -5.0
    clip = float(row_quantiles(row.abs(), [0.9999984])[0, 0])
    # float32 holds 510.99918 to 3e-5, which the gap of 5 turns into 1.5e-4.
    assert clip == pytest.approx(10.0 - 0.00082 * 5.0, abs=2e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "quantize",
    [
        lambda name, W: round_to_nearest(name, W, 6),
        lambda name, W: round_embedding(name, W, 8),
        lambda name, W: search_percentile(name, W, 6, PERCENTILES),
    ],
)
def test_a_value_that_is_not_finite_is_an_error_naming_tensor_and_place(quantize, bad):
    W_RC = weights(4, 16, 1.0)
    W_RC[2, 5] = bad
    with pytest.raises(QuantizationError, match=r"blocks\.3\.mlp\.fc\.weight: 1 of 64 .* first at \(2, 5\)"):
        quantize("blocks.3.mlp.fc.weight", W_RC)


def test_a_scale_beyond_float16_is_an_error_naming_the_row():
    W_RC = weights(3, 16, 1.0)
    W_RC[1, 0] = 1e9
    with pytest.raises(QuantizationError, match=r"w: row 1 needs a scale of 3\.226e\+07"):
        round_to_nearest("w", W_RC, 6)
