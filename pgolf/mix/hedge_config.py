"""Settings of a Hedge mixture of the network with n-gram experts. Imports no torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.errors import ConfigError
from pgolf.eval.ttt_config import BatchMeansConfig

LIMIT_BYTES = 8 << 30  # of a trigram table


class HedgeConfig(StageConfig):
    """Experts weighted by their past losses (Hedge); the numbers of Parameter Golf PR #745 are the defaults.

    experts=published repeats #745: its fifth expert hands the network's entropy in as a loss, which belongs to no
    distribution, so the score is no code length. experts=proper leaves it out.
    """

    experts: Literal["published", "proper"] = Field(
        default="proper",
        description="proper: network, unigram, bigram, trigram, a distribution; published: with #745's entropy expert",
    )
    eta: float = Field(default=0.1, gt=0, description="learning rate of the weights")
    network_log_weight: float = Field(default=2.0, description="initial log-weight of the network; the others have 0")
    smoothing: float = Field(default=0.1, gt=0, description="added to every unigram and bigram count")
    trigram_smoothing: float = Field(default=0.01, gt=0, description="added to every trigram count")
    trigram_rows: int = Field(default=65_536, ge=1, description="rows of the hashed trigram table, each V wide")
    trigram_least_total: Literal[0, 1] = Field(
        default=0, description="1: count an empty row as one token, as published, which leaves it a mass of 0.911"
    )
    warmup_tokens: int = Field(default=10_000, ge=0, description="the network alone until this many are counted")
    chunk_tokens: int = Field(default=32_768, ge=1, description="tokens after which the tables take in a chunk")
    ranks: int = Field(default=8, ge=1, le=4096, description="shares of a chunk's windows, each with its own weights")
    batch_windows: int = Field(default=32, ge=1, description="windows between two updates of the weights")
    update_on: Literal["scored", "positions"] = Field(
        default="scored",
        description="mean losses that move the weights: over the batch's scored targets, or, as published, over all "
        "positions of its windows, for which score needs batch_means",
    )

    @property
    def normalized(self) -> bool:
        """Whether the mixture is a distribution over the vocabulary."""
        return self.experts == "proper" and self.trigram_least_total == 0

    @property
    def batch_means(self) -> BatchMeansConfig | None:
        """What the score stage has to keep for it; null: nothing."""
        if self.update_on == "scored":
            return None
        return BatchMeansConfig(chunk_tokens=self.chunk_tokens, ranks=self.ranks, windows=self.batch_windows)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.experts == "published" and self.trigram_least_total == 0:
            raise ConfigError(
                "the published experts count an empty trigram row as one token: give the hedge trigram_least_total=1"
            )
        return self


def refuse_large_tables(*, vocab_size: int, trigram_rows: int) -> None:
    """Raise ConfigError for a trigram table beyond LIMIT_BYTES."""
    size_bytes = 4 * (vocab_size + 1) * trigram_rows
    if size_bytes > LIMIT_BYTES:
        fitting = LIMIT_BYTES // (4 * (vocab_size + 1))
        raise ConfigError(
            f"{trigram_rows:,} trigram rows over {vocab_size:,} tokens take {size_bytes:,} bytes, "
            f"the limit is {LIMIT_BYTES:,}; give the hedge trigram_rows={fitting} at most"
        )
