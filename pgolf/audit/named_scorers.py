"""The names of a run's scorers: each one's settings, as the mix's rows have them in `cell`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.audit.audit_config import AuditConfig
from pgolf.counts.config import CountConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.mix_rows import bayes_name, hedge_name, settings_of
from pgolf.mix.product import Cell


@dataclass(frozen=True, slots=True)
class Named:
    """A scorer's name, and whether it is said to be a distribution over the vocabulary."""

    name: str
    normalized: bool


def named_scorers(
    config: AuditConfig, bayes: Sequence[BayesConfig] | None = None, hedges: Sequence[HedgeConfig] | None = None
) -> list[Named]:
    """The network, the grid's cells, Bayes and fixed-share mixtures, Hedge mixtures, in this order.

    bayes, hedges: in place of those of the configuration.
    """
    bayes = config.mix.bayes if bayes is None else bayes
    hedges = config.mix.hedges if hedges is None else hedges
    counts: dict[str, CountConfig] = {one.estimator: one for one in config.counts}
    hinted = None if config.hint is None else config.hint.orders
    cells = cells_of(config.mix, counts, hinted)

    def settings(cell: Cell) -> dict[str, object]:
        return settings_of(cell, counts, config.hint)

    normalized = [cell for cell in cells if cell.normalized]
    members = [normalized if own.members is None else members_of(own.members, counts, hinted) for own in bayes]
    return [
        *(Named(json.dumps(settings(cell)), cell.normalized) for cell in cells),
        *(Named(bayes_name(own, [*map(settings, of)]), True) for own, of in zip(bayes, members)),
        *(Named(hedge_name(own), own.normalized) for own in hedges),
    ]
