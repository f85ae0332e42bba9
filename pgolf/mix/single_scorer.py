"""The configuration of a mix that makes one of another mix's scorers, and little else."""

from collections.abc import Mapping
from typing import Any

from pgolf.errors import ConfigError
from pgolf.mix.config import MixConfig
from pgolf.mix.product import FIELD, HINTED, USES

# The network alone, which every mix scores.
NETWORK_ALONE = MixConfig(mixers=())


def single_scorer(mix: MixConfig, number: int, row: Mapping[str, Any]) -> MixConfig:
    """What makes the scorer of row `number` of the mix's cells, row: its columns there.

    Where two count stages share an estimator the configuration makes both of their scorers. Raises ConfigError for a
    Hedge mixture, which has no losses by document.
    """
    estimator, mixer = row["estimator"], row["mixer"]
    if estimator == "neural":
        return NETWORK_ALONE
    if estimator == "hedge":
        raise ConfigError("a Hedge mixture is scored chunk by chunk; its losses by document are not known")
    if estimator == "bayes":
        # Behind the grid's cells and before the Hedge mixtures, in the order of the config.
        own = mix.bayes[number]
        members = mix.products if own.members is None else own.members
        return NETWORK_ALONE.model_copy(update={"bayes": (own.model_copy(update={"members": members}),)})
    values = {name: (row[FIELD[name]],) for name in USES[mixer] if row.get(FIELD[name]) is not None}
    return MixConfig(
        mixers=(mixer,),
        estimators=None if mixer in HINTED else (estimator,),
        orders=(row["order"],),
        **values,
    )


def needs_counts(config: MixConfig) -> bool:
    """Whether any of its scorers reads n-gram counts."""
    return any(set(product.mixers) - HINTED for product in config.every_product)


def needs_hints(config: MixConfig) -> bool:
    """Whether any of its scorers reads hints."""
    return any(HINTED.intersection(product.mixers) for product in config.every_product)
