"""Holm's correction: with it a false alarm in several comparisons is no likelier than in one."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the order given; None, an undefined test, is no comparison and stays None.

    The k-th smallest of m is multiplied by m - k + 1, and none comes out below a smaller one. Source: Holm 1979.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted
