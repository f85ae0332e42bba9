"""A run's scorers by name: each one's settings, as the mix's rows have them in `cell`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.mix_rows import bayes_name, hedge_name, settings_of
from pgolf.mix.product import Cell


@dataclass(frozen=True, slots=True)
class BayesScorer:
    """A Bayes or fixed-share mixture, and what it mixes."""

    config: BayesConfig
    members: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Named:
    """A scorer's name, what it is, and whether it is said to be a distribution over the vocabulary."""

    name: str
    scorer: Cell | BayesScorer | HedgeConfig
    normalized: bool


def named_scorers(
    mix: MixConfig,
    counts: Mapping[str, CountConfig],
    hint: HintConfig | None,
    *,
    bayes: Sequence[BayesConfig] | None = None,
    hedges: Sequence[HedgeConfig] | None = None,
) -> list[Named]:
    """The network, the grid's cells, Bayes and fixed-share mixtures, Hedge mixtures, in this order.

    bayes, hedges: in place of those of the mix. Raises ConfigError for a mix that does not fit counts and hints.
    """
    hinted = None if hint is None else hint.orders
    cells = cells_of(mix, counts, hinted)

    def settings(cell: Cell) -> dict[str, object]:
        return settings_of(cell, counts, hint)

    normalized = [cell for cell in cells if cell.normalized]
    mixtures = [
        BayesScorer(own, normalized if own.members is None else members_of(own.members, counts, hinted))
        for own in (mix.bayes if bayes is None else bayes)
    ]
    return [
        *(Named(json.dumps(settings(cell)), cell, cell.normalized) for cell in cells),
        *(Named(bayes_name(own.config, [*map(settings, own.members)]), own, True) for own in mixtures),
        *(Named(hedge_name(own), own, own.normalized) for own in (mix.hedges if hedges is None else hedges)),
    ]
