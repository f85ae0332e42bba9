"""Settings of the audit stage: which scorers of a run are tried, on how much text, and how hard."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.errors import ConfigError
from pgolf.eval.config import ScoreConfig
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.mix.config import MixConfig


class AuditConfig(StageConfig):
    """How a run's scorers work, as its stages are configured, and what the trial asks of them."""

    score: ScoreConfig = Field(description="the run's, as the score stage takes it")
    mix: MixConfig = Field(description="the run's, as the mix stage takes it")
    counts: tuple[CountConfig, ...] = Field(default=(), description="those that the mix reads, one per estimator")
    hint: HintConfig | None = Field(default=None, description="the hints that the mix reads")
    scorers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="which are tried, by their `cell` in the tables; null: all that are distributions",
    )
    effort: Literal["quick", "default", "thorough"] = Field(default="default", description="how many questions")
    longest_row: int | None = Field(
        default=None,
        ge=2,
        description="rows of at most so many tokens, and strides, chunks and delays shortened to fit; null: as scored",
    )
    targets: int = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="of the validation text, from its start; 0: enough for a few windows and chunks",
    )
    seed: int = Field(default=0, ge=0, description="of everything that the trial draws")

    @model_validator(mode="after")
    def _one_count_per_estimator(self) -> Self:
        names = [config.estimator for config in self.counts]
        if len(set(names)) != len(names):
            raise ConfigError(f"counts repeat an estimator: {', '.join(names)}")
        return self

    @property
    def by_estimator(self) -> dict[str, CountConfig]:
        """The counts by the name of their estimator."""
        return {config.estimator: config for config in self.counts}

    @property
    def least_targets(self) -> int:
        """Targets that are tried: as configured, or a window and eight strides behind it, and two chunks and a half.

        Adapters take a document by its chunks, without windows.
        """
        if self.targets:
            return self.targets
        chunks = [own.chunk_tokens for own in self.mix.hedges]
        if isinstance(self.score.ttt, TttConfig):
            chunks.append(self.score.ttt.chunk_tokens)
        windows = 0 if isinstance(self.score.ttt, LoraConfig) else self.score.window + 8 * self.score.stride
        return max(_LEAST_TARGETS[self.effort], windows, 5 * max(chunks, default=0) // 2)


_LEAST_TARGETS = {"quick": 256, "default": 768, "thorough": 768}
