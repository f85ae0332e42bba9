"""Nats to bits per byte."""

import math

import numpy as np
import pytest

from pgolf.errors import DataError
from pgolf.eval.bpb import bits_per_byte, bpb_per_nat, nats_to_bits, sum_nats


@pytest.mark.parametrize(
    ("targets", "total_bytes", "published"),
    [(62_021_632, 151_080_363, 0.59225633), (62_023_616, 151_084_796, 0.59225789)],
)
def test_published_token_and_byte_counts_give_the_published_ratio(targets, total_bytes, published):
    # Eight digits are published: half a unit in the last.
    assert bpb_per_nat(targets, total_bytes) == pytest.approx(published, abs=5e-9)


@pytest.mark.parametrize(
    ("loss_nats", "targets", "total_bytes", "published_bpb"),
    [
        (1.94329308, 62_021_632, 151_080_363, 1.15092762),  # openai/parameter-golf PR #792, seed 1337, round trip
        (1.90334860, 62_023_616, 151_084_796, 1.12727324),  # the same, sliding
        (1.91400611, 62_023_616, 151_084_796, 1.13358523),  # PR #745, seed 1337, sliding
        (1.72242174, 62_023_616, 151_084_796, 1.02011787),  # the same, with its mixer
    ],
)
def test_published_losses_give_their_published_bits_per_byte(loss_nats, targets, total_bytes, published_bpb):
    # Half a unit in the eighth digit of the loss and of the result.
    assert bits_per_byte(loss_nats * targets, total_bytes) == pytest.approx(published_bpb, abs=1e-8)


def test_two_to_the_minus_n_is_n_bits():
    assert nats_to_bits(-math.log(2.0**-7)) == pytest.approx(7.0, abs=1e-12)


def test_a_uniform_code_over_bytes_costs_eight_bits_per_byte():
    targets = 1000
    assert bits_per_byte(targets * math.log(256), targets) == pytest.approx(8.0, abs=1e-12)


def test_small_float32_losses_are_not_lost_in_a_large_sum():
    # In float32 the sum would stop growing: 2^24 + 1 = 2^24.
    losses = np.full(1 << 20, 16.0 + 2.0**-19, dtype=np.float32)
    assert sum_nats(losses) == (1 << 20) * (16.0 + 2.0**-19)


@pytest.mark.parametrize("total_bytes", [0, -1])
def test_text_without_bytes_has_no_bits_per_byte(total_bytes):
    with pytest.raises(DataError, match="bits per byte need at least 1"):
        bits_per_byte(1.0, total_bytes)
    with pytest.raises(DataError, match="bits per byte need at least 1"):
        bpb_per_nat(1, total_bytes)
