"""Settings of the hint stage: which contexts propose a token, and how far back it must lie."""

from typing import Literal

from pydantic import Field

from pgolf.counts.config import Granularity, Orders, VisibleConfig


class HintConfig(VisibleConfig):
    """Which hint each target gets: per order, the token that most often came after its context so far.

    The defaults are PR #511's: long contexts of the same document whose target lies outside the network's window.
    """

    orders: Orders = Field(
        default=(7, 9, 13, 17), description="one hint per order, ascending; order n has n - 1 tokens of context"
    )
    granularity: Granularity = Field(
        default=1, description="after how many targets their n-grams become visible: a number, or one segment"
    )
    ranks: int = Field(default=1, ge=1, le=4096, description="tables that start empty, one per rank; 1: one history")
    scope: Literal["global", "document"] = Field(
        default="document",
        description="document: contexts and n-grams lie within one document, which starts at its BOS",
    )
    delay_targets: int = Field(
        default=2048,
        ge=0,
        le=1 << 20,
        description="a target's n-grams are visible only this many scored targets later: what lies nearer is in the "
        "network's own window",
    )
