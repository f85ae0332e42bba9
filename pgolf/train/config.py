"""What decides a training run's weights, besides the data and the seed. Imports no torch."""

from typing import Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.model.config import ModelConfig


class TrainConfig(StageConfig):
    """Batches, stopping rule, rates and averaging; the defaults are those of Parameter Golf PR #715.

    The seed is not here: it is a value of each run, so that one config names all seeds of a recipe.
    """

    tokens_per_step: int = Field(default=786_432, ge=1, description="targets of one optimizer step, over all ranks")
    sequence_length: int = Field(default=2048, ge=2, description="targets of one row")
    spans_per_step: int = Field(
        default=8,
        ge=1,
        description="consecutive stream spans of a step; the number of ranks must divide it, so all see one data",
    )

    steps: int = Field(default=20_000, ge=1, description="stop after this many optimizer steps at the latest")
    clock_limit_s: float | None = Field(
        default=600.0, gt=0, description="stop when training has taken this long; null: by steps alone, reproducibly"
    )
    warmdown_steps: int = Field(default=3_000, ge=0, description="last steps, or their time, in which rates fall to 0")
    priming_steps: int = Field(
        default=20, ge=0, description="untimed steps before the first, undone in weights and data position"
    )

    muon_lr: float = Field(default=0.025, gt=0, description="rate of the matrices")
    muon_momentum: float = Field(default=0.99, ge=0, lt=1, description="Muon's momentum after its warm-up")
    muon_momentum_start: float = Field(default=0.92, ge=0, lt=1, description="Muon's momentum at step 0")
    muon_momentum_warmup_steps: int = Field(default=1_500, ge=0, description="steps over which it rises, linearly")
    muon_newton_schulz_steps: int = Field(default=5, ge=1, le=20, description="iterations of Muon's orthogonalization")
    muon_weight_decay: float = Field(default=0.04, ge=0, description="decoupled decay of the matrices")

    embedding_lr: float = Field(default=0.035, gt=0, description="AdamW rate of the token, bigram and value tables")
    scalar_lr: float = Field(default=0.025, gt=0, description="AdamW rate of gains, gates, mixes, skips and scales")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    adam_beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay of the second moment")
    adam_eps: float = Field(default=1e-8, gt=0, description="AdamW's denominator offset")
    adam_weight_decay: float = Field(
        default=0.04, ge=0, description="decoupled decay of everything AdamW moves, gains included"
    )

    clip_norm: float = Field(default=0.3, gt=0, description="largest 2-norm of the mean gradient, over all tensors")
    ema_decay: float = Field(
        default=0.997, ge=0, lt=1, description="weight of the past in the averaged weights, per step"
    )

    @property
    def tokens_per_span(self) -> int:
        """Targets of one span; it takes one stream token more, its last, which is never an input."""
        return self.tokens_per_step // self.spans_per_step

    @property
    def stream_tokens_per_step(self) -> int:
        """Stream tokens one step moves on by."""
        return self.spans_per_step * (self.tokens_per_span + 1)

    @model_validator(mode="after")
    def _batch_is_whole(self) -> Self:
        row_tokens = self.spans_per_step * self.sequence_length
        if self.tokens_per_step % row_tokens:
            nearest = max(1, round(self.tokens_per_step / row_tokens)) * row_tokens
            raise ValueError(
                f"tokens_per_step {self.tokens_per_step} is not a multiple of spans_per_step x sequence_length = "
                f"{self.spans_per_step} x {self.sequence_length}; the nearest is {nearest}"
            )
        return self


class TrainStageConfig(StageConfig):
    """The training stage's configuration: the network and how it is trained."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
