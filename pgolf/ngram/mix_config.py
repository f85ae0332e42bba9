"""The grid of mixtures of one network with n-gram counts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.errors import ConfigError
from pgolf.ngram.config import Orders
from pgolf.ngram.hedge_config import HedgeConfig

Mixer = Literal["fixed", "backoff", "adaptive"]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]


class MixConfig(StageConfig):
    """Which mixtures are scored: every combination of the values below that a mixer uses, for every count stage.

    A published evaluation is one cell of this grid: #715 fixed, order 7, alpha 0.40; #761 and #792 adaptive with
    base 0.05 and range 0.55 or 0.35.
    """

    mixers: tuple[Mixer, ...] = Field(
        default=("fixed", "backoff", "adaptive"),
        description="fixed: one order, constant weight. backoff: the longest order whose context was seen often "
        "enough, constant weight. adaptive: backoff with a weight that rises with the network's entropy.",
    )
    orders: Orders | None = Field(
        default=None,
        description="orders to score (backoff, adaptive: the longest; they fall back on every shorter order counted); "
        "none: all that were counted",
    )
    alphas: tuple[Weight, ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4), description="fixed, backoff: weights of the n-gram estimate"
    )
    min_counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(2,), min_length=1, description="how often a context must have been seen to be used"
    )
    entropy_bases: tuple[Weight, ...] = Field(default=(0.05,), description="adaptive: weight at low entropy")
    entropy_ranges: tuple[Weight, ...] = Field(default=(0.55,), description="adaptive: what high entropy adds to it")
    entropy_slopes: tuple[float, ...] = Field(default=(2.0,), description="adaptive: steepness, per nat")
    entropy_thresholds: tuple[float, ...] = Field(
        default=(4.0,), description="adaptive: entropy at which half the range is added, nats"
    )

    hedges: tuple[HedgeConfig, ...] = Field(
        default=(), description="Hedge mixtures beside the grid, one cell each; they need no count stage"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.orders is not None and list(self.orders) != sorted(set(self.orders)):
            raise ConfigError(f"orders must rise strictly, got {self.orders}; write {tuple(sorted(set(self.orders)))}")
        for name in (
            "mixers",
            "alphas",
            "min_counts",
            "entropy_bases",
            "entropy_ranges",
            "entropy_slopes",
            "entropy_thresholds",
            "hedges",
        ):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ConfigError(f"{name} names a value twice: {values}; each would give two equal cells")
        if {"fixed", "backoff"} & set(self.mixers) and not self.alphas:
            raise ConfigError("mixers fixed and backoff need at least one weight in alphas, got none")
        if "adaptive" in self.mixers:
            for name in ("entropy_bases", "entropy_ranges", "entropy_slopes", "entropy_thresholds"):
                if not getattr(self, name):
                    raise ConfigError(f"mixer adaptive needs at least one value in {name}, got none")
            if (highest := max(self.entropy_bases) + max(self.entropy_ranges)) > 1:
                raise ConfigError(
                    f"entropy base {max(self.entropy_bases)} + range {max(self.entropy_ranges)} = {highest:g} is a "
                    "weight above 1; lower one of them"
                )
        return self
