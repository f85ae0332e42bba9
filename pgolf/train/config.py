"""What decides a training run's weights, besides the data and the seed. Imports no torch."""

from typing import Literal, Self

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
    muon_layout: Literal["matrices", "banks"] = Field(
        default="matrices",
        description="matrices: dealt to ranks one by one, float32 gradients and momenta; banks: #745's parallel Muon, "
        "equal roles stacked and cut over the ranks, bfloat16 gradients and momenta",
    )
    projections_by: Literal["muon", "adam"] = Field(
        default="muon", description="who moves the bigram and value projections; adam: at scalar_lr, as in #745"
    )

    embedding_lr: float = Field(default=0.035, gt=0, description="AdamW rate of the token, bigram and value tables")
    scalar_lr: float = Field(default=0.025, gt=0, description="AdamW rate of gains, gates, mixes, skips and scales")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    adam_beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay of the second moment")
    adam_eps: float = Field(default=1e-8, gt=0, description="AdamW's denominator offset")
    adam_weight_decay: float = Field(
        default=0.04, ge=0, description="decoupled decay of everything AdamW moves, gains included"
    )

    clip_norm: float = Field(default=0.3, gt=0, description="largest 2-norm of a gradient, over all tensors")
    clip_at: Literal["mean", "rank"] = Field(
        default="mean",
        description="mean: clip the mean over ranks; rank: each rank clips its own before the mean, as in #745, so "
        "that results depend on the number of ranks",
    )
    average: Literal["ema", "swa", "swa_of_ema"] = Field(
        default="ema",
        description="what is exported: the exponential average; the mean of snapshots of the weights; or the mean of "
        "snapshots of the exponential average",
    )
    ema_decay: float = Field(
        default=0.997, ge=0, lt=1, description="weight of the past in the averaged weights, per step"
    )
    swa_below_scale: float = Field(
        default=0.2, gt=0, le=1, description="swa: snapshots once rates are below this share"
    )
    swa_every_steps: int = Field(default=50, ge=1, description="swa: steps between two snapshots")

    late_qat_below_scale: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="from this share of the rates on, train the block matrices through their rounding; null: never",
    )
    late_qat_bits: int = Field(default=6, ge=2, le=8, description="bits of that rounding")
    crownq_weight: float = Field(
        default=0.0, ge=0, description="weight of the rounding-variance penalty on the block matrices; 0: none"
    )
    crownq_below_scale: float = Field(
        default=0.15, gt=0, le=1, description="the penalty acts once rates are below this share"
    )
    crownq_bits: int = Field(default=5, ge=2, le=8, description="bits of the rounding it foresees; #745 divides by 15")
    compile: bool = Field(
        default=True, description="compile the network on CUDA; a CPU always runs it operation by operation"
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

    @model_validator(mode="after")
    def _a_snapshot_is_taken(self) -> Self:
        if self.average == "ema" or self.clock_limit_s is not None:
            return self
        last = self.steps - self.steps % self.swa_every_steps  # rates fall, so none before it has lower ones
        left = self.steps - last + 1
        scale = left / self.warmdown_steps if left <= self.warmdown_steps else 1.0
        if last == 0 or scale >= self.swa_below_scale:
            raise ValueError(
                f"average {self.average} would have no snapshot: of {self.steps} steps the last that is a multiple of "
                f"swa_every_steps {self.swa_every_steps} is {last or 'none'}, at rates x{scale:.3f}, and "
                f"swa_below_scale is {self.swa_below_scale}; lower swa_every_steps or raise swa_below_scale"
            )
        return self


class TrainStageConfig(StageConfig):
    """The training stage's configuration: the network and how it is trained."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
