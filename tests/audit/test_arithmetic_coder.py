"""The arithmetic coder: what goes in comes out, in as many bits as the frequencies say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.audit.arithmetic_coder import TOTAL, decode, encode, frequencies_of


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(2, 40),
    st.integers(0, 60),
    st.sampled_from([0.0, 0.3, 3.0, 40.0]),  # from even to nearly certain, and to frequencies of 1
    st.integers(0, 2**32 - 1),
)
def test_a_message_comes_back_within_two_bits_of_its_symbols_sum(vocab_size, count, spread, seed):
    rng = np.random.default_rng(seed)
    tables = [frequencies_of(spread * rng.standard_normal(vocab_size)) for _ in range(count)]
    message = [int(rng.integers(vocab_size)) for _ in range(count)]
    bits = encode(message, tables)
    assert decode(bits, count, lambda symbols: tables[len(symbols)]) == message
    ideal = sum(math.log2(TOTAL / int(table[symbol])) for table, symbol in zip(tables, message))
    assert len(bits) <= ideal + 2


def test_frequencies_cost_what_the_losses_of_a_distribution_say():
    losses_V = -np.log(np.random.default_rng(0).dirichlet(np.ones(50)))
    cost_V = np.log(TOTAL / frequencies_of(losses_V))
    assert frequencies_of(losses_V).sum() == TOTAL
    np.testing.assert_allclose(cost_V, losses_V, atol=1e-6)


def test_an_impossible_symbol_can_be_coded_and_costs_much():
    frequency_V = frequencies_of(np.array([0.0, np.inf, np.inf]))
    assert frequency_V.tolist() == [TOTAL - 2, 1, 1]
    assert decode(encode([1, 2], [frequency_V] * 2), 2, lambda _: frequency_V) == [1, 2]


def test_another_table_decodes_another_message():
    one, other = frequencies_of(np.array([0.1, 3.0, 3.0])), frequencies_of(np.array([3.0, 0.1, 3.0]))
    assert decode(encode([0] * 8, [one] * 8), 8, lambda _: other) != [0] * 8


@pytest.mark.parametrize("symbol", [0, 4])
def test_the_first_and_the_last_symbol_survive_a_long_run(symbol):
    frequency_V = frequencies_of(np.zeros(5))
    message = [symbol] * 300
    assert decode(encode(message, [frequency_V] * 300), 300, lambda _: frequency_V) == message
