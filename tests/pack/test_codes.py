"""The entropy coder: exact round trips, its length against the model's own, and every damage a ValueError."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pgolf.pack.code_model import TOTAL_BITS, Frequencies
from pgolf.pack.code_reader import decode_matrices, states_for
from pgolf.pack.code_writer import bits_of, encode_matrices, intervals
from tests.oracles.packed_reader import bell, edges, read_codes

SHAPES = st.tuples(st.integers(0, 30), st.integers(0, 30))


def described(matrices):
    return [(*matrix.shape, bits_of(matrix)) for matrix in matrices]


def weights(rows: int, columns: int, *, size: float, spread: float = 0.5, seed: int = 0) -> np.ndarray:
    """Codes as trained matrices have them: rows and columns of different magnitude."""
    rng = np.random.default_rng(seed)
    rows_R1, columns_C = np.exp(rng.normal(0, spread, (rows, 1))), np.exp(rng.normal(0, spread, columns))
    return np.clip(np.rint(rng.normal(0, size, (rows, columns)) * rows_R1 * columns_C), -32, 31).astype(np.int8)


def leaning(rows: int, columns: int) -> np.ndarray:
    """Rows that are nearly alike, as those of rare tokens are, some of them turned around."""
    rng = np.random.default_rng(3)
    turned_R1 = np.where(np.arange(rows) % 7, 1, -1)[:, None]
    return np.clip(turned_R1 * rng.normal(0, 60, columns) + rng.normal(0, 3, (rows, columns)), -128, 127).astype(
        np.int8
    )


def assert_same(decoded, matrices):
    assert len(decoded) == len(matrices)
    for one, other in zip(decoded, matrices):
        assert one.dtype == np.int8
        assert one.shape == other.shape
        assert np.array_equal(one, other)


def order_0_bytes(matrix: np.ndarray) -> float:
    counts = np.unique(matrix, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(np.int8, SHAPES), max_size=3))
def test_any_matrices_come_back_exactly(matrices):
    assert_same(decode_matrices(encode_matrices(matrices), described(matrices)), matrices)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((0, 5), np.int8),
        np.zeros((5, 0), np.int8),
        np.array([[7]], np.int8),
        np.array([[-128]], np.int8),
        np.full((40, 30), -128, np.int8),
        np.full((30, 40), 127, np.int8),
        np.zeros((200, 300), np.int8),
        np.where(np.arange(60 * 70).reshape(60, 70) % 2, 127, -128).astype(np.int8),
        np.arange(-128, 128).reshape(1, 256).astype(np.int8),
        np.arange(-128, 128).reshape(256, 1).astype(np.int8),
        np.asfortranarray(weights(50, 60, size=5)),
        weights(60, 90, size=5)[::2, ::-3],
        leaning(60, 50),
    ],
)
def test_extreme_matrices_come_back_exactly(matrix):
    assert_same(decode_matrices(encode_matrices([matrix]), described([matrix])), [matrix])


def test_no_matrices_are_one_state_at_its_beginning():
    assert encode_matrices([]) == (1 << 31).to_bytes(8, "little")
    assert decode_matrices(encode_matrices([]), []) == []


@pytest.mark.parametrize(
    ("low", "bits"), [(0, 1), (-1, 1), (1, 2), (-2, 2), (-3, 3), (31, 6), (32, 7), (-32, 6), (-128, 8)]
)
def test_bits_are_the_least_whose_range_holds_the_codes(low, bits):
    assert bits_of(np.array([[0, low]], np.int8)) == bits


# Around a power of two states, and at 256 of them, which more codes do not raise.
@pytest.mark.parametrize(
    ("codes", "states"), [(0, 1), (65_535, 1), (65_536, 2), (131_071, 2), (131_072, 4), (2**23, 256), (2**30, 256)]
)
def test_states_are_a_power_of_two_that_grows_with_the_codes(codes, states):
    assert states_for(codes) == states


def test_a_reader_of_plain_loops_decodes_the_same_codes():
    # 1, 6, 7 and 8 bits, two matrices that share an alphabet, two states, contexts that halve their last counts.
    matrices = [
        weights(160, 210, size=6),
        np.clip(weights(40, 17, size=1), -1, 0),
        weights(16, 100, size=40, seed=1) * 4,
        weights(210, 150, size=3, seed=2),
        leaning(40, 60),
    ]
    assert [bits for _, _, bits in described(matrices)] == [6, 1, 8, 6, 8]
    assert states_for(sum(matrix.size for matrix in matrices)) == 2
    decoded = read_codes(encode_matrices(matrices), described(matrices))
    assert decoded == [matrix.reshape(-1).tolist() for matrix in matrices]


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_context_begins_with_the_bell_of_its_class(bits):
    begun = Frequencies(bits).edges
    for context in (0, 1, 33, 34, 50, 101):
        counts = bell(1 << bits, context % 34)
        assert counts == sorted(counts[: len(counts) // 2]) + sorted(counts[len(counts) // 2 :], reverse=True)
        own = begun[context << bits : (context + 1 << bits) + 1] - (context << TOTAL_BITS)
        assert own.tolist() == edges(counts, [0] * len(counts))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, 2**20), min_size=1, max_size=3000))
def test_every_symbol_of_every_context_keeps_a_number_and_the_sum_is_exact(bits, numbers):
    frequencies = Frequencies(bits)
    contexts = (len(frequencies.edges) - 1) >> bits
    for _ in range(5):
        frequencies.count(np.array(numbers) % (len(frequencies.edges) - 1))
    assert int(np.diff(frequencies.edges).min()) >= 1
    assert frequencies.edges[:: 1 << bits].tolist() == [context << TOTAL_BITS for context in range(contexts + 1)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.floats(0.1, 60), st.floats(0, 1), st.integers(0, 9))
def test_the_length_is_the_models_own_and_at_most_eight_bytes_a_state(rows, columns, size, spread, seed):
    matrix = weights(rows, columns, size=size, spread=spread, seed=seed)
    own_bytes = sum(float((TOTAL_BITS - np.log2(width_N)).sum()) for _low_N, width_N in intervals([matrix])) / 8
    # Coding takes a state v of at least width · 2^15 to less than (v / width + 1) · 2^16: at most log2(1 + 2^-15) bits
    # above the code's own, 5.6e-6 bytes. A state holds 63 bits at its end, of which 31 were there at the beginning.
    coded = encode_matrices([matrix])
    assert len(coded) <= own_bytes + 8 * states_for(matrix.size) + 5.6e-6 * matrix.size
    # No code can be shorter than the model's, on average over the states' beginnings.
    assert len(coded) >= own_bytes


@pytest.mark.parametrize(("size", "spread"), [(6, 0.0), (6, 0.5), (1.5, 0.3), (0.4, 0.5)])
def test_codes_take_at_most_their_order_0_entropy(size, spread):
    matrix = weights(512, 600, size=size, spread=spread)
    # Independent codes of one distribution have nothing to learn but their frequencies: that is what 0.3 % are for.
    assert len(encode_matrices([matrix])) <= 1.003 * order_0_bytes(matrix)
    if spread == 0.5:
        assert len(encode_matrices([matrix])) <= 0.96 * order_0_bytes(matrix)


def test_codes_are_counted_from_the_mean_of_their_column_where_it_stands_out():
    table = weights(512, 128, size=3, spread=0) + np.random.default_rng(1).integers(-60, 60, 128).astype(np.int8)
    # Their spread around the columns' means is 3, of which the entropy is 3.63 bits; the means have to be learnt.
    assert len(encode_matrices([table])) <= 1.2 * table.size * 3.63 / 8
    assert order_0_bytes(table) > 1.5 * len(encode_matrices([table]))


def test_equal_codes_cost_almost_nothing():
    # One of 2^16 numbers is kept for each other symbol: 31 of 32 at 5 bits, 7e-4 bits a code.
    coded = encode_matrices([np.full((300, 400), 9, np.int8)])
    assert len(coded) <= 8 * 4 + 120_000 * (31 * 1.4427 / 65_536) / 8 + 200


def test_the_same_codes_give_the_same_bytes_in_another_process():
    code = (
        "import sys; from tests.pack.test_codes import weights; from pgolf.pack.code_writer import encode_matrices;"
        "sys.stdout.buffer.write(encode_matrices([weights(60, 70, size=5)]))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True).stdout
    assert shown == encode_matrices([weights(60, 70, size=5)])


def test_the_order_of_matrices_matters_and_is_kept():
    one, other = weights(40, 50, size=5), weights(50, 40, size=2)
    assert_same(decode_matrices(encode_matrices([other, one]), described([other, one])), [other, one])


def test_bytes_cut_or_extended_are_an_error():
    matrices = [weights(30, 40, size=5)]
    coded = encode_matrices(matrices)
    for cut in (*range(0, len(coded), 7), len(coded) - 4, len(coded) - 1):
        with pytest.raises(ValueError, match=r"codes"):
            decode_matrices(coded[:cut], described(matrices))
    for more in (b"\0", bytes(4)):
        with pytest.raises(ValueError, match=r"bytes of codes|words are left"):
            decode_matrices(coded + more, described(matrices))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_decode_to_codes_or_are_an_error(noise):
    try:
        (decoded,) = decode_matrices(noise, [(20, 20, 6)])
    except ValueError:
        return
    assert decoded.shape == (20, 20)
    assert encode_matrices([decoded]) == noise or bits_of(decoded) != 6


@pytest.mark.parametrize("state", [0, -1, (1 << 31) - 1, -(1 << 63)])
def test_a_state_below_its_range_is_an_error(state):
    with pytest.raises(ValueError, match=f"begins at {state}"):
        decode_matrices(state.to_bytes(8, "little", signed=True) + bytes(400), [(20, 20, 6)])


def test_probabilities_are_what_the_intervals_say():
    matrix = weights(20, 30, size=5)
    for low_N, width_N in intervals([matrix]):
        assert low_N.min() >= 0
        assert width_N.min() >= 1
        assert (low_N + width_N).max() <= 1 << TOTAL_BITS
    assert math.prod(matrix.shape) == sum(len(low_N) for low_N, _width_N in intervals([matrix]))
