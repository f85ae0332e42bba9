"""What rounding and noise may explain, and what they may not."""

import numpy as np
import pytest

from pgolf.audit.noise import TIMES_THE_LARGEST, difference, noise_of, precision_of
from pgolf.audit.small_network import log_softmax

LOSSES = np.random.default_rng(0).gamma(3.0, 1.0, size=400)


def in_bfloat16(losses):
    bits = losses.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        (LOSSES, "float64"),
        (LOSSES.astype(np.float32).astype(np.float64), "float32"),
        (LOSSES.astype(np.float16).astype(np.float64), "float16"),
        (in_bfloat16(LOSSES), "bfloat16"),
        (np.round(LOSSES, 4), "4 decimals"),
        (np.round(LOSSES, 2), "2 decimals"),
        (-np.log(np.exp(-LOSSES).astype(np.float32).astype(np.float64)), "float64, of probabilities in float32"),
        (-np.log(in_bfloat16(np.exp(-LOSSES))), "float64, of probabilities in bfloat16"),
    ],
)
def test_the_form_of_an_answer_is_told_from_its_digits(losses, name):
    assert precision_of(losses).name == name
    assert precision_of(np.append(losses, [0.0, np.inf])).name == name


@pytest.mark.parametrize("rounded", [in_bfloat16, lambda losses: losses.round(4), lambda losses: losses.round(2)])
def test_no_rounding_takes_a_distribution_beyond_its_tolerance(rounded):
    rng, quiet = np.random.default_rng(1), noise_of([LOSSES, LOSSES])
    for _ in range(200):
        losses_V = rounded(-log_softmax(3 * rng.standard_normal(64)))
        tolerance = precision_of(rounded(LOSSES)).mass_tolerance(losses_V, quiet)
        assert abs(np.exp(-losses_V).sum() - 1) <= tolerance


def test_a_mass_beyond_rounding_is_beyond_the_tolerance():
    losses_V = -log_softmax(np.random.default_rng(2).standard_normal(64))
    exact = precision_of(LOSSES).mass_tolerance(losses_V, noise_of([LOSSES, LOSSES]))
    assert exact < 1.1e-5


def test_two_answers_that_call_a_token_impossible_agree():
    one, other = np.array([1.0, np.inf, np.inf]), np.array([1.5, np.inf, 2.0])
    assert difference(one, other).tolist() == [0.5, 0.0, np.inf]


def test_noise_is_the_largest_difference_and_the_deviation_of_runs():
    runs = LOSSES + 0.01 * np.random.default_rng(3).standard_normal((32, 400))
    noise = noise_of(list(runs))
    assert noise.largest_nats == pytest.approx(np.ptp(runs, axis=0).max())
    assert noise.deviation_nats == pytest.approx(0.01, rel=0.05)
    assert noise.tolerance_nats == TIMES_THE_LARGEST * noise.largest_nats
    assert noise_of([LOSSES, LOSSES]).tolerance_nats == 0


@pytest.mark.parametrize("shared", [True, False], ids=["by run", "by target"])
def test_runs_of_one_kind_are_within_the_tolerance_of_each_other(shared):
    rng = np.random.default_rng(4)
    for _ in range(100):
        runs = LOSSES + rng.standard_normal((32, 1 if shared else 400))
        others = LOSSES + rng.standard_normal((300, 1 if shared else 400))
        assert np.abs(others - runs[0]).max() <= noise_of(list(runs)).tolerance_nats
