"""Which layers lose bits, and in which order, until the model fits.

Source: the auto-downgrade of Parameter Golf PR #715 and #761.
"""

from collections.abc import Iterator, Sequence


def middle_out(layers: int) -> tuple[int, ...]:
    """All layers from the middle outward, the upper neighbour before the lower: 5, 6, 4, 7, 3, … for 11."""
    middle = layers // 2
    order = [middle]
    for offset in range(1, layers):
        order += [layer for layer in (middle + offset, middle - offset) if 0 <= layer < layers]
    return tuple(order[:layers])


def rungs(layers: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The sets of downgraded layers to try, each one layer larger than the one before, beginning with none."""
    for count in range(len(layers) + 1):
        yield tuple(layers[:count])
