"""Settings of n-gram counts: which n-grams are counted, and what each target gets to see of them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from pgolf.config import StageConfig, complaint
from pgolf.errors import ConfigError, DataError

MAX_ORDER = 17  # PR #511's longest context has 16 tokens


def _rising(orders: tuple[int, ...]) -> tuple[int, ...]:
    if list(orders) != sorted(set(orders)):
        raise ConfigError(f"orders must rise strictly, got {orders}; write {tuple(sorted(set(orders)))}")
    return orders


Order = Annotated[int, Field(ge=2, le=MAX_ORDER)]
Orders = Annotated[tuple[Order, ...], Field(min_length=1), AfterValidator(_rising)]
Primes = Literal["pr715", "pr761", "pr792"]
Granularity = Literal["segment"] | Annotated[int, Field(ge=1)]


class VisibleConfig(StageConfig):
    """Which n-grams are taken over the validation stream, and what each target gets to see of them."""

    orders: Orders = Field(
        default=(2, 3, 4, 5, 6, 7),
        description="n of the n-grams counted, ascending; order n has n - 1 tokens of context",
    )
    window: int = Field(default=2048, ge=1, description="window of the score stage, tokens; cuts the stream")
    stride: int = Field(default=64, ge=1, description="stride of the score stage, tokens; the length of a segment")
    tail: Literal["once", "repeat"] = Field(
        default="once",
        description="repeat: the last targets once more per cut-off window, as the published evaluations count them",
    )
    granularity: Granularity = Field(
        default="segment",
        description="after how many targets their n-grams become visible: one segment as published, or a number "
        "(1: after every target)",
    )
    ranks: int = Field(default=8, ge=1, le=4096, description="tables that start empty, one per rank; 1: one history")
    scope: Literal["global", "document"] = Field(
        default="global",
        description="document: contexts and n-grams lie within one document, which starts at its BOS; exact only",
    )
    delay_targets: int = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="a target's n-grams are visible only this many scored targets later, beside the granularity; "
        "exact only",
    )

    @model_validator(mode="after")
    def _check_visible(self) -> Self:
        if self.stride > self.window:
            raise ConfigError(f"stride {self.stride} is longer than window {self.window}; targets would be left out")
        return self

    @classmethod
    def described(cls, metadata: bytes | None, path: Path, *, how: str, remedy: str) -> Self:
        """The config that a file's metadata holds. how, remedy: words for the message.

        Raises DataError where there is none, or none that this version can read.
        """
        if metadata is None:
            raise DataError(f"{path} does not say how {how}; {remedy}")
        try:
            return cls.model_validate_json(metadata)
        except ValidationError as error:
            raise DataError(
                f"{path} says how {how} in words that this version cannot read: {complaint(error)}; {remedy}"
            ) from None


class CountConfig(VisibleConfig):
    """Which n-gram counts are taken over the validation stream, and what each target gets to see.

    The defaults are PR #761's: orders 2 to 7 in hashed tables, eight ranks that each start empty, and every target of
    a segment looked up before any of them is added.
    """

    estimator: Literal["hashed", "exact"] = Field(
        default="hashed",
        description="hashed: the published pair of tables, which gives no distribution (legacy). "
        "exact: every context by itself, so that the counts after a context sum to the context's count.",
    )
    buckets: int = Field(default=1 << 22, ge=2, le=1 << 30, description="hashed: buckets per table, a power of two")
    primes: Primes = Field(
        default="pr761", description="hashed: the multipliers of the key; pr715 and pr792 share five, pr761 has seven"
    )

    def of(self, estimator: Literal["hashed", "exact"]) -> Self:
        """The same counts in another estimator; what only hashed tables have must not enter an exact table's key.

        Raises ConfigError for hashed counts of documents or with a delay, which the published tables do not know.
        """
        hashed_only = {"buckets", "primes"} if estimator == "exact" else set()
        if estimator == "hashed" and (self.scope != "global" or self.delay_targets):
            raise ConfigError(
                f"scope {self.scope} with delay_targets {self.delay_targets} belongs to exact counts: the published "
                "hashed tables have neither; take the exact estimator alone, or leave them at global and 0"
            )
        return type(self).model_validate(self.model_dump(exclude=hashed_only) | {"estimator": estimator})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.buckets & (self.buckets - 1):
            raise ConfigError(
                f"buckets must be a power of two, got {self.buckets:,}; the next ones are "
                f"{1 << (self.buckets.bit_length() - 1):,} and {1 << self.buckets.bit_length():,}"
            )
        if self.estimator == "exact":
            for name in ("buckets", "primes"):
                default = type(self).model_fields[name].default
                if getattr(self, name) != default:
                    raise ConfigError(
                        f"{name} belongs to the hashed estimator and changes nothing in exact counts; "
                        f"leave it at {default}"
                    )
        return self
