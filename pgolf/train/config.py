"""Config of stage `train`: everything that determines the weights, except data and seed. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.model.config import ModelConfig


class TrainConfig(StageConfig):
    """Batches, stopping rule, learning rates and averaging; defaults are those of Parameter Golf PR #715.

    The seed is a value of each run instead, so that one config serves all seeds of a recipe.
    """

    tokens_per_step: int = Field(default=786_432, ge=1, description="targets per optimizer step, over all ranks")
    sequence_length: int = Field(default=2048, ge=2, description="targets per row")
    spans_per_step: int = Field(
        default=8,
        ge=1,
        description="consecutive stream spans per step; a multiple of the number of ranks, so that any number of ranks "
        "trains on the same data",
    )
    batches: Literal["spans", "rows"] = Field(
        default="spans",
        description="spans: consecutive in the stream; rows: shuffled within their shards, as in #1493, in an order "
        "that the seed does not change",
    )
    data_ranks: int = Field(
        default=8,
        ge=1,
        description="rows: so many orders of shards of their own, dealt over the ranks there are; #1493 had 8 ranks",
    )

    steps: int = Field(default=20_000, ge=1, description="maximum number of optimizer steps")
    clock_limit_s: float | None = Field(
        default=600.0, gt=0, description="stop after this much training time; null: stop by steps alone, reproducibly"
    )
    clock_reserve_s: float = Field(
        default=0.0,
        ge=0,
        description="seconds of clock_limit_s kept for calibration and what follows: no step is begun that would end "
        "later, were it as slow as the slowest recent one; 0: the step that reaches the limit is the last",
    )
    warmdown_steps: int = Field(
        default=3_000, ge=0, description="final steps, or their time, over which rates fall to 0"
    )
    warmdown_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="rates fall over this final share of the clock or, without one, of the steps, instead; 0.72 in "
        "#1493; null: over warmdown_steps",
    )
    rate_floor: float = Field(default=0.0, ge=0, le=1, description="rates fall to this fraction and no lower")
    recurrence_from: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="run recurrent layers once only until this share of the clock or, without one, of the steps has "
        "passed; 0.35 in #1493; the exported network repeats them; null: repeat them from the first step",
    )
    priming_steps: int = Field(
        default=20,
        ge=0,
        description="untimed warm-up steps, undone in weights and data position; as many again with recurrent layers "
        "repeated where training starts without",
    )

    muon_lr: float = Field(default=0.025, gt=0, description="Muon's learning rate")
    muon_momentum: float = Field(default=0.99, ge=0, lt=1, description="Muon's momentum after its warm-up")
    muon_momentum_start: float = Field(default=0.92, ge=0, lt=1, description="Muon's momentum at step 0")
    muon_momentum_warmup_steps: int = Field(default=1_500, ge=0, description="steps of its linear warm-up")
    muon_newton_schulz_steps: int = Field(default=5, ge=1, le=20, description="iterations of Muon's orthogonalization")
    muon_row_norm: bool = Field(
        default=False,
        description="divide each row of a step by its norm before orthogonalization (MuonEq-R), as in #1493",
    )
    muon_weight_decay: float = Field(default=0.04, ge=0, description="decoupled weight decay of the matrices")
    muon_layout: Literal["matrices", "banks"] = Field(
        default="matrices",
        description="matrices: assigned to ranks one by one, float32 gradients and momenta; banks: #745's parallel "
        "Muon, equal roles stacked and sharded over the ranks, bfloat16 gradients and momenta",
    )
    projections_by: Literal["muon", "adam"] = Field(
        default="muon", description="optimizer of the bigram and value projections; adam: at scalar_lr, as in #745"
    )

    embedding_lr: float = Field(
        default=0.035, gt=0, description="AdamW's learning rate for the token, bigram and value tables"
    )
    scalar_lr: float = Field(
        default=0.025, gt=0, description="AdamW's learning rate for gains, gates, mixes, skips and scales"
    )
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    adam_beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay of the second moment")
    adam_eps: float = Field(default=1e-8, gt=0, description="AdamW's denominator offset")
    adam_weight_decay: float = Field(
        default=0.04, ge=0, description="decoupled weight decay of all AdamW parameters, gains included"
    )
    embedding_weight_decay: float | None = Field(
        default=None, ge=0, description="that of the tables alone; 0.085 in #1493; null: adam_weight_decay"
    )
    scalar_weight_decay: float | None = Field(
        default=None, ge=0, description="that of all others alone; 0.02 in #1493; null: adam_weight_decay"
    )

    clip_norm: float = Field(default=0.3, gt=0, description="maximum 2-norm of the gradient over all tensors")
    clip_at: Literal["mean", "rank"] = Field(
        default="mean",
        description="mean: clip the mean over ranks; rank: each rank clips its own gradient before averaging, as in "
        "#745, so results depend on the number of ranks",
    )
    average: Literal["ema", "swa", "swa_of_ema"] = Field(
        default="ema",
        description="weights to export: ema: the exponential average; swa: the mean of snapshots of the weights; "
        "swa_of_ema: the mean of snapshots of the exponential average",
    )
    ema_decay: float = Field(
        default=0.997, ge=0, lt=1, description="decay per step of the exponential average of the weights"
    )
    swa_below_scale: float = Field(
        default=0.2, gt=0, le=1, description="swa: take snapshots once rates are below this fraction"
    )
    swa_every_steps: int = Field(default=50, ge=1, description="swa: steps between snapshots")

    late_qat_below_scale: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="once rates are below this fraction, train the block matrices through fake quantization; "
        "null: never",
    )
    late_qat_bits: int = Field(default=6, ge=2, le=8, description="bits of the fake quantization")
    crownq_weight: float = Field(
        default=0.0, ge=0, description="weight of the rounding-variance penalty on the block matrices; 0: none"
    )
    crownq_below_scale: float = Field(
        default=0.15, gt=0, le=1, description="apply the penalty once rates are below this fraction"
    )
    crownq_bits: int = Field(
        default=5, ge=2, le=8, description="bits of rounding that the penalty assumes; #745 divides by 15"
    )
    compile: bool = Field(default=True, description="compile the network on CUDA; on a CPU it always runs eagerly")

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        if self.batches == "spans":
            found["data_ranks"] = ("batches",)
        if self.warmdown_share is not None:
            found["warmdown_steps"] = ("warmdown_share",)
        if not self.muon_momentum_warmup_steps:
            found["muon_momentum_start"] = ("muon_momentum_warmup_steps",)
        decays = ("embedding_weight_decay", "scalar_weight_decay")
        if None not in (self.embedding_weight_decay, self.scalar_weight_decay):
            found["adam_weight_decay"] = decays
        if self.average == "swa":
            found["ema_decay"] = ("average",)
        if self.average == "ema":
            found |= dict.fromkeys(("swa_below_scale", "swa_every_steps"), ("average",))
        if self.late_qat_below_scale is None:
            found["late_qat_bits"] = ("late_qat_below_scale",)
        if not self.crownq_weight:
            found |= dict.fromkeys(("crownq_below_scale", "crownq_bits"), ("crownq_weight",))
        return found

    @property
    def clock_end_s(self) -> float | None:
        """Training seconds by which the rates are 0: the limit less the reserve; None if training stops by steps."""
        return None if self.clock_limit_s is None else self.clock_limit_s - self.clock_reserve_s

    @property
    def primed_steps(self) -> int:
        """Priming steps in all: with recurrent layers run once, and then repeated, where training does both."""
        return self.priming_steps if self.recurrence_from is None else 2 * self.priming_steps

    @property
    def tokens_per_span(self) -> int:
        """Targets per span; a span has one more stream token, the last, which is never an input."""
        return self.tokens_per_step // self.spans_per_step

    @property
    def rows_per_step(self) -> int:
        """Rows of sequence_length targets per optimizer step, over all ranks."""
        return self.tokens_per_step // self.sequence_length

    @property
    def stream_tokens_per_step(self) -> int:
        """Stream tokens by which each step advances."""
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
    def _data_ranks_share_the_rows(self) -> Self:
        if self.batches == "rows" and self.rows_per_step % self.data_ranks:
            fitting = math.gcd(self.rows_per_step, self.data_ranks)
            raise ValueError(
                f"data_ranks {self.data_ranks} cannot bring equally many of a step's {self.rows_per_step} rows of "
                f"{self.sequence_length} tokens; add --set train.data_ranks={fitting}, or change train.tokens_per_step"
            )
        return self

    @model_validator(mode="after")
    def _reserve_leaves_time(self) -> Self:
        if self.clock_reserve_s == 0:
            return self
        if self.clock_limit_s is None:
            raise ValueError(
                f"clock_reserve_s is {self.clock_reserve_s:g}, but clock_limit_s is null, so training stops by steps "
                "alone; add --set train.clock_reserve_s=0, or a train.clock_limit_s"
            )
        if self.clock_reserve_s >= self.clock_limit_s:
            raise ValueError(
                f"clock_reserve_s {self.clock_reserve_s:g} leaves nothing of clock_limit_s {self.clock_limit_s:g} to "
                f"train in; --set train.clock_reserve_s={self.clock_limit_s / 20:g} leaves some"
            )
        return self

    @model_validator(mode="after")
    def _a_snapshot_is_taken(self) -> Self:
        if self.average == "ema" or self.clock_limit_s is not None:
            return self
        last = self.steps - self.steps % self.swa_every_steps  # rates never rise, so no earlier step has lower ones
        left = self.steps - last + 1
        warmdown = self.warmdown_steps if self.warmdown_share is None else self.warmdown_share * self.steps
        scale = max(left / warmdown if left <= warmdown else 1.0, self.rate_floor)
        if last == 0 or scale >= self.swa_below_scale:
            raise ValueError(
                f"average {self.average} would have no snapshot: of {self.steps} steps the last that is a multiple of "
                f"swa_every_steps {self.swa_every_steps} is {last or 'none'}, at rates x{scale:.3f}, but "
                f"swa_below_scale is {self.swa_below_scale}; lower train.swa_every_steps or raise train.swa_below_scale"
            )
        return self


class TrainStageConfig(StageConfig):
    """The network, and how to train it."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _something_can_be_switched_on(self) -> Self:
        refuse_nothing_to_switch_on(self.model, self.train)
        return self


def refuse_nothing_to_switch_on(model: ModelConfig, train: TrainConfig) -> None:
    """Raise ValueError for recurrence that starts during training in a network without layers that could go without.

    Where passes share no more than matrices, each has gains of its own, and skips fit no other number of layers.
    """
    if train.recurrence_from is None or (model.executed_layers > model.layers == model.blocks):
        return
    why = (
        f"runs none twice (model.recurrence {model.recurrence}, model.recurrence_passes {model.recurrence_passes})"
        if model.executed_layers == model.layers
        else "gives each pass gains of its own (model.recurrence_shares matrices)"
    )
    raise ValueError(
        f"train.recurrence_from {train.recurrence_from:g} switches on layers that recur as whole blocks, and the "
        f"network {why}; add --set train.recurrence_from=null, or e.g. --set 'model.recurrence=(3, 4, 5)' "
        "--set model.recurrence_shares=blocks"
    )
