"""The value lists of a grid, and its cells: every combination of values that a mixer uses is one cell.

A new mixer is named in Mixer and USES; a new list of values is a field of Product, and of Cell for one of its values.
"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.counts.config import Orders
from pgolf.errors import ConfigError

Mixer = Literal["fixed", "backoff", "adaptive", "dirichlet", "tilt"]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]
# Far below 1e-6 the recursion over 16 orders would leave the range of a double, and the loss would be infinite.
Concentration = Annotated[float, Field(ge=1e-6, le=1e9)]
# e^20 is 5e8: a hint of probability 2e-8 becomes a certainty of 0.9.
Tilt = Annotated[float, Field(ge=0.0, le=20.0)]

# Mixers that read the hints; all others read counts.
HINTED: frozenset[Mixer] = frozenset({"tilt"})
# Mixers that read one order alone; all others fall back on the shorter ones.
ONE_ORDER: frozenset[Mixer] = frozenset({"fixed"})

# What each mixer takes one value of, beside its order; the names of Product's lists, in the order of the cells.
USES: dict[Mixer, tuple[str, ...]] = {
    "fixed": ("min_counts", "alphas"),
    "backoff": ("min_counts", "alphas"),
    "adaptive": ("min_counts", "entropy_slopes", "entropy_thresholds", "entropy_bases", "entropy_ranges"),
    "dirichlet": ("concentrations",),
    "tilt": ("min_counts", "tilt_confidences", "tilt_gammas", "tilts"),
}


def _one_of(values: str, *short: str) -> Any:
    """A field of a cell that takes a value of that list; short: what `--grid` calls the list."""
    return field(default=None, metadata={"list": values, "short": short})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One scorer: the network alone, or one mixture of it with one count stage's n-grams or with the hints."""

    estimator: Literal["neural", "hashed", "exact", "hint"]
    counts: str | None = None
    mixer: Mixer | None = None
    order: int | None = None
    min_count: int | None = _one_of("min_counts", "min-count")
    alpha: float | None = _one_of("alphas", "alpha")
    entropy_base: float | None = _one_of("entropy_bases", "base")
    entropy_range: float | None = _one_of("entropy_ranges", "range")
    entropy_slope: float | None = _one_of("entropy_slopes", "slope")
    entropy_threshold_nats: float | None = _one_of("entropy_thresholds", "threshold")
    concentration: float | None = _one_of("concentrations", "k", "concentration")
    tilt_nats: float | None = _one_of("tilts", "tilt")
    tilt_confidence: float | None = _one_of("tilt_confidences", "confidence")
    tilt_gamma: float | None = _one_of("tilt_gammas", "gamma")

    @property
    def normalized(self) -> bool:
        """Whether the scorer gives a distribution over the vocabulary: all but the hashed tables do."""
        return self.estimator != "hashed"


# List of a product -> the field of a cell that takes one of its values; short name in `--grid` -> list.
FIELD: dict[str, str] = {own.metadata["list"]: own.name for own in fields(Cell) if own.metadata}
SHORT: dict[str, str] = {short: own.metadata["list"] for own in fields(Cell) for short in own.metadata.get("short", ())}


class Product(StageConfig):
    """Every combination of the values that a mixer uses, for every count stage (tilt: for the hints).

    A published evaluation is one point: #715 fixed, order 7, alpha 0.40; #761 and #792 adaptive with base 0.05 and
    range 0.55 or 0.35; #1514 tilt 2.625 at confidence 0.8.
    """

    mixers: tuple[Mixer, ...] = Field(
        default=("fixed", "backoff", "adaptive"),
        description="fixed: one order, constant weight. backoff: the longest order whose context was seen often "
        "enough, constant weight. adaptive: backoff with a weight that rises with the network's entropy. dirichlet: "
        "all orders, each weighted by its counts. tilt: the hint of the hint stage made likelier.",
    )
    estimators: tuple[Literal["hashed", "exact"], ...] | None = Field(
        default=None, description="count tables to mix with, for every mixer but tilt; none: all there are"
    )
    orders: Orders | None = Field(
        default=None,
        description="orders to score (all but fixed: the longest; they use every shorter one as well); none: all that "
        "were counted",
    )
    alphas: tuple[Weight, ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4), description="fixed, backoff: weights of the n-gram estimate"
    )
    min_counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(2,), min_length=1, description="how often a context must have been seen to be used; not for dirichlet"
    )
    entropy_bases: tuple[Weight, ...] = Field(default=(0.05,), description="adaptive: weight at low entropy")
    entropy_ranges: tuple[Weight, ...] = Field(default=(0.55,), description="adaptive: what high entropy adds to it")
    entropy_slopes: tuple[float, ...] = Field(default=(2.0,), description="adaptive: steepness, per nat")
    entropy_thresholds: tuple[float, ...] = Field(
        default=(4.0,), description="adaptive: entropy at which half the range is added, nats"
    )
    concentrations: tuple[Concentration, ...] = Field(
        default=(1.0, 4.0, 16.0), description="dirichlet: the shorter orders' say, in counts"
    )
    tilts: tuple[Tilt, ...] = Field(default=(2.625,), description="tilt: what the hint's logit gains, nats")
    tilt_confidences: tuple[Weight, ...] = Field(
        default=(0.8,), description="tilt: least share of a context's occurrences that the hint must have followed"
    )
    tilt_gammas: tuple[Annotated[float, Field(ge=0.0, le=100.0)], ...] = Field(
        default=(0.0,), description="tilt: exponent g of a tilt b·(1 - p(hint))^g; 0: the same everywhere"
    )

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        for name in ("mixers", "estimators", *dict.fromkeys(name for names in USES.values() for name in names)):
            values = getattr(self, name) or ()
            if len(set(values)) != len(values):
                raise ConfigError(f"{name} names a value twice: {values}; each would give two equal cells")
        for mixer in self.mixers:
            for name in USES[mixer]:
                if not getattr(self, name):
                    raise ConfigError(f"mixer {mixer} needs at least one value in {name}, got none")
        if "adaptive" in self.mixers and (highest := max(self.entropy_bases) + max(self.entropy_ranges)) > 1:
            raise ConfigError(
                f"entropy base {max(self.entropy_bases)} + range {max(self.entropy_ranges)} = {highest:g} is a "
                "weight above 1; lower one of them"
            )
        return self
