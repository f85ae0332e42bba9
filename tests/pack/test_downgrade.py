"""The order in which layers lose bits."""

import pytest

from pgolf.pack.downgrade import middle_out, rungs


def test_eleven_layers_go_in_the_published_order():
    assert middle_out(11) == (5, 6, 4, 7, 3, 8, 2, 9, 1, 10, 0)


@pytest.mark.parametrize("layers", range(1, 20))
def test_every_layer_comes_once_and_none_before_one_nearer_the_middle(layers):
    order = middle_out(layers)
    assert sorted(order) == list(range(layers))
    distances = [abs(layer - layers // 2) for layer in order]
    assert distances == sorted(distances)


def test_rungs_add_one_layer_each_and_begin_with_none():
    assert list(rungs((2, 3, 1))) == [(), (2,), (2, 3), (2, 3, 1)]
    assert list(rungs(())) == [()]
