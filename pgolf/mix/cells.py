"""Expand a grid's configuration into its cells: which scorers there are, in which order, and how many.

A point that several products name is one cell, in the place where it is named first.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError
from pgolf.mix.config import MixConfig
from pgolf.mix.product import FIELD, HINTED, USES, Cell, Product

NETWORK = Cell(estimator="neural")


def cells_of(config: MixConfig, counts: Mapping[str, CountConfig], hinted: Sequence[int] | None = None) -> list[Cell]:
    """The grid, the network alone first; then by product, count stage (sorted by name), mixer, order and values.

    hinted: orders of the hints, None where there are none. Raises ConfigError for an order that was not counted, and
    for a tilt without hints.
    """
    cells = [NETWORK]
    for product in config.products:
        cells += _points(product, counts, hinted)
    return list(dict.fromkeys(cells))


def members_of(
    products: Sequence[Product], counts: Mapping[str, CountConfig], hinted: Sequence[int] | None = None
) -> list[Cell]:
    """The network and the normalized points of the products; errors as for `cells_of`."""
    cells = itertools.chain.from_iterable(_points(product, counts, hinted) for product in products)
    return list(dict.fromkeys([NETWORK, *(cell for cell in cells if cell.normalized)]))


def check_orders(config: MixConfig, counted: Mapping[str, Sequence[int]], hinted: Sequence[int] | None) -> None:
    """Raise ConfigError for an order that is not counted, a count table that is not made, and a tilt without hints.

    counted: estimator -> its orders; hinted: orders of the hints, None where there are none.
    """
    for product in config.every_product:
        if set(product.mixers) - HINTED:
            for name in _tables(product, counted):
                _orders(product, counted[name], f"{name} counts")
        for mixer in HINTED.intersection(product.mixers):
            _orders(product, _hinted(mixer, hinted), "the hints")


def count_points(config: MixConfig, counted: Mapping[str, Sequence[int]], hinted: Sequence[int] | None = None) -> int:
    """How many points a grid has, without making them: what a run would have to compute.

    counted: estimator -> its orders. Points that two products share, and members of Bayes mixtures that are points of
    the grid as well, count twice.
    """
    total = 1 + len(config.bayes) + len(config.hedges)
    for product in config.every_product:
        for mixer in product.mixers:
            values = 1
            for name in USES[mixer]:
                values *= len(getattr(product, name))
            tables = [hinted or ()] if mixer in HINTED else [counted[name] for name in _tables(product, counted)]
            orders = sum(len(table if product.orders is None else product.orders) for table in tables)
            total += values * orders
    return total


def _tables(product: Product, counted: Mapping[str, Sequence[int]]) -> list[str]:
    """The estimators that a product mixes with; ConfigError where one of them is not counted."""
    if product.estimators is None:
        return list(counted)
    if missing := [name for name in product.estimators if name not in counted]:
        raise ConfigError(
            f"the grid mixes with {', '.join(missing)} counts, of which there are none; name them in "
            "estimators (--set estimators=hashed,exact), or leave them out of the grid"
        )
    return list(product.estimators)


def _hinted(mixer: str, hinted: Sequence[int] | None) -> Sequence[int]:
    if hinted is None:
        raise ConfigError(
            f"mixer {mixer} needs hints, and there are none; give the recipe a hint stage (--set hint={{}}), or leave "
            f"{mixer} out of the grid"
        )
    return hinted


def _points(product: Product, counts: Mapping[str, CountConfig], hinted: Sequence[int] | None) -> Iterator[Cell]:
    counting = [mixer for mixer in product.mixers if mixer not in HINTED]
    # A product of tilts alone has the hints' orders, of which no counts need be.
    tables = _tables(product, {config.estimator: config.orders for config in counts.values()}) if counting else []
    for name in sorted(counts):
        estimator = counts[name].estimator
        if estimator in tables:
            orders = _orders(product, counts[name].orders, f"counts {name!r}")
            for mixer in counting:
                yield from _combinations(product, Cell(estimator=estimator, counts=name, mixer=mixer), orders)
    for mixer in product.mixers:
        if mixer in HINTED:
            orders = _orders(product, _hinted(mixer, hinted), "the hints")
            yield from _combinations(product, Cell(estimator="hint", mixer=mixer), orders)


def _orders(product: Product, there: Sequence[int], where: str) -> Sequence[int]:
    orders = there if product.orders is None else product.orders
    if missing := [order for order in orders if order not in there]:
        raise ConfigError(
            f"the grid asks for order {', '.join(map(str, missing))}, but {where} hold "
            f"{', '.join(map(str, there))}; count them too, or leave them out of the grid"
        )
    return orders


def _combinations(product: Product, base: Cell, orders: Sequence[int]) -> Iterator[Cell]:
    assert base.mixer is not None
    lists = USES[base.mixer]
    for order in orders:
        for values in itertools.product(*(getattr(product, name) for name in lists)):
            yield replace(base, order=order, **{FIELD[name]: value for name, value in zip(lists, values)})
