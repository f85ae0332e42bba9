"""Which targets are looked at, in which order they are scored, and what stands there instead."""

import numpy as np
import pytest

from pgolf.audit.audit_text import REPLACEMENTS
from pgolf.audit.orders import ORDERS, document_of_target
from pgolf.audit.small_network import BOS, last_before, made_pieces, made_text, seen_before, small_network
from pgolf.audit.strata import spread_over, strata

# Three documents of 3, 1 and 2 tokens behind their starts.
TOKENS = np.array([1, 5, 6, 7, 1, 5, 1, 8, 9], dtype=np.uint16)


def test_the_start_of_the_next_document_is_a_documents_last_target():
    assert document_of_target(TOKENS, BOS).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert document_of_target(TOKENS[1:], BOS).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert document_of_target(TOKENS, None).tolist() == [0] * 8


@pytest.mark.parametrize(
    ("order", "places"),
    [
        ("file", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("shortest document first", [4, 5, 6, 7, 0, 1, 2, 3]),
        ("longest document first", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_an_order_gives_each_target_its_place(order, places):
    assert ORDERS[order](TOKENS, BOS).tolist() == places


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_every_replaced_token_differs_and_documents_stay_where_they_are(how):
    text = made_text(3)
    where = np.arange(text.targets + 1) >= 100
    tokens = text.with_replaced(where, how, np.random.default_rng(0))
    starts = text.tokens == BOS
    assert (tokens[:100] == text.tokens[:100]).all()
    assert ((tokens == BOS) == starts).all()
    assert (tokens != text.tokens)[where & ~starts].all()


def test_other_documents_start_elsewhere_and_nowhere_that_they_did():
    text = made_text(3)
    tokens = text.with_replaced(np.arange(text.targets + 1) >= 30, "other documents", np.random.default_rng(0))
    assert (tokens[:30] == text.tokens[:30]).all()
    assert (tokens != text.tokens)[30:].all()
    assert (tokens[30:] == BOS).any()


def test_the_strata_say_what_they_are():
    text = made_text(5)
    found = strata(text, np.arange(float(text.targets)), 32)
    x = text.tokens.tolist()
    assert np.flatnonzero(found["first of a document"]).tolist() == [t for t in range(len(x) - 1) if x[t] == BOS]
    assert np.flatnonzero(found["last of all"]).tolist() == [text.targets - 1]
    assert np.flatnonzero(found["first of 32"]).tolist() == list(range(0, text.targets, 32))
    for t in range(1, text.targets):
        before = [x[s + 1] for s in range(1, t) if x[s - 1 : s + 1] == x[t - 1 : t + 1]]
        assert found["as after the same 2 before"][t] == bool(before and before[-1] == x[t + 1])
        assert found["other than after the same 2 before"][t] == bool(before and before[-1] != x[t + 1])


def test_few_targets_are_of_many_kinds_the_rarest_first():
    rare, common, none = np.arange(50) == 7, np.ones(50, dtype=bool), np.zeros(50, dtype=bool)
    chosen = spread_over({"common": common, "rare": rare, "none": none}, 3, np.random.default_rng(0))
    assert chosen[0] == (8, "rare")
    assert len({target for target, _ in chosen}) == 3
    assert len(spread_over({"common": common, "rare": rare}, 99, np.random.default_rng(0))) == 50


def test_counts_and_hints_of_the_zoo_are_those_of_their_definition():
    keys = np.random.default_rng(0).integers(9, size=200)
    assert seen_before(keys).tolist() == [int((keys[:t] == keys[t]).sum()) for t in range(200)]
    for delay in (1, 7):
        last = [max((s for s in range(t - delay + 1) if keys[s] == keys[t]), default=-1) for t in range(200)]
        assert last_before(keys, delay).tolist() == last


def test_a_step_of_the_small_network_goes_down_the_gradient():
    tokens, network, width = made_text(0).tokens, small_network(0), 1e-6

    def loss(one):
        return -one.log_p(tokens)[np.arange(len(tokens) - 1), tokens[1:]].sum()

    for name, place in (("pair", (5, 7)), ("skip", (6, 3)), ("bias", (4,))):
        moved = small_network(0)
        getattr(moved, name)[place] += width
        slope = (loss(moved) - loss(network)) / width
        stepped = getattr(network.after(tokens, rate=0.1), name)[place] - getattr(network, name)[place]
        assert stepped == pytest.approx(-0.1 * slope, abs=1e-4)


def test_a_space_is_a_byte_except_at_a_documents_start():
    pieces = made_pieces(0)
    spaced = int(np.flatnonzero(pieces.spaced)[0])
    tokens = np.array([BOS, spaced, spaced, 2, BOS], dtype=np.uint16)
    size = int(pieces.size_bytes[spaced])
    assert pieces.target_bytes(tokens).tolist() == [size, size + 1, 1, 0]
