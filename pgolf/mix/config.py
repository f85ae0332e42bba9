"""Settings of the mix stage: which mixtures of a network with n-gram counts and hints are scored."""

from typing import Self

from pydantic import Field, model_validator

from pgolf.errors import ConfigError
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.product import Product


class MixConfig(Product):
    """Which mixtures are scored: a product of value lists, further products beside it, and mixtures of mixtures.

    A point that several products name is one cell.
    """

    also: tuple[Product, ...] = Field(default=(), description="further products of the same grid")
    bayes: tuple[BayesConfig, ...] = Field(default=(), description="Bayes and fixed-share mixtures, one cell each")
    hedges: tuple[HedgeConfig, ...] = Field(
        default=(), description="Hedge mixtures beside the grid, one cell each; they need no count stage"
    )

    @property
    def products(self) -> tuple[Product, ...]:
        """All products of the grid, the first one being the config's own lists."""
        own = Product.model_validate({name: getattr(self, name) for name in Product.model_fields})
        return (own, *self.also)

    @property
    def every_product(self) -> tuple[Product, ...]:
        """The products of the grid, and those that Bayes mixtures name as their members."""
        return (*self.products, *(product for mixture in self.bayes for product in mixture.members or ()))

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        for name in ("also", "bayes", "hedges"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ConfigError(f"{name} names a value twice: {values}; each would give two equal cells")
        return self
