"""Config of test-time training and of batch means. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pgolf.config import StageConfig


class TttConfig(StageConfig):
    """Test-time training of the weights, chunk by chunk over the validation stream; defaults are those of PR #745.

    score_first is causal: a chunk is scored before the network learns from it. adapt_first, as in #761, learns all
    chunks and then scores all, so every score has seen its own target; its trace is marked not causal.
    """

    kind: Literal["full"] = Field(default="full", description="train the weights themselves, along the whole stream")
    order: Literal["score_first", "adapt_first"] = Field(
        default="score_first", description="score a chunk, then learn it; or learn all chunks, then score (not causal)"
    )
    chunk_tokens: int = Field(default=32_768, ge=1, description="targets per chunk; #761 has 131,072")
    sequence_length: int = Field(default=2048, ge=1, description="targets per training row")
    groups: int = Field(
        default=8, ge=1, description="shares of a chunk's rows whose mean losses are averaged (the published ranks)"
    )
    epochs: int = Field(default=1, ge=1, description="steps per chunk, each over all its rows; #761 has 4")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd (#745) or adamw (#761)")
    lr: float = Field(default=0.002, gt=0, description="learning rate; #761 has 1e-4")
    lr_schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="cosine: to 0 at the last chunk (#745); constant (#761)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: momentum, without Nesterov")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="adamw: decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="adamw: decay of the second moment")
    eps: float = Field(default=1e-8, gt=0, description="adamw: denominator offset")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay")
    clip_norm: float = Field(default=1.0, gt=0, description="maximum 2-norm of the mean gradient")
    frozen_blocks: int = Field(default=0, ge=0, description="leading blocks that do not learn; #761 freezes 2")
    untie: bool = Field(
        default=True, description="give every pass of a recurrent layer its own matrices before the first step"
    )
    projection_bits: int | None = Field(
        default=None,
        ge=2,
        le=8,
        description="round the bigram and value projections to this many bits while learning; 6 is the effect of "
        "#745's late QAT flag, which is dead in training; null: no rounding",
    )

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        others = ("beta1", "beta2", "eps") if self.optimizer == "sgd" else ("momentum",)
        return dict.fromkeys(others, ("optimizer",))

    @model_validator(mode="after")
    def _rows_fill_chunks(self) -> Self:
        if self.chunk_tokens % self.sequence_length:
            rows = max(1, round(self.chunk_tokens / self.sequence_length))
            raise ValueError(
                f"chunk_tokens {self.chunk_tokens} is not a multiple of sequence_length {self.sequence_length}; "
                f"the nearest is {rows * self.sequence_length}"
            )
        return self


AdaptedMatrix = Literal["q", "k", "v", "proj", "fc", "mlp_proj", "head"]


class LoraConfig(StageConfig):
    """Test-time training of LoRA adapters that start afresh with every document: always causal.

    A document runs from its BOS to the next BOS, which is its last target. It is cut into chunks; each is scored and
    then learned, except the last, whose step would have no effect. The packed weights do not change.
    Source: the per-document LoRA of PR #1610; docs/decisions.md lists which settings are our own.
    """

    # No default: the discriminator must be written even where defaults are left out.
    kind: Literal["lora"] = Field(description="train adapters, reset for every document")
    rank: int = Field(default=96, ge=1, description="rank of every adapter")
    matrices: tuple[AdaptedMatrix, ...] = Field(
        default=("q", "k", "v", "proj", "fc", "mlp_proj", "head"),
        min_length=1,
        description="which matrices of every layer get an adapter; head: the tied embedding in its role as output head",
    )
    chunk_targets: int = Field(default=48, ge=1, description="targets per chunk, scored and then learned")
    epochs: int = Field(default=1, ge=1, description="steps per chunk, each on the mean loss of all its targets")
    lr: float = Field(default=1e-4, gt=0, description="AdamW: learning rate")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the second moment")
    eps: float = Field(default=1e-8, gt=0, description="denominator offset")
    weight_decay: float = Field(default=0.5, ge=0, description="weight decay of the adapters")
    seed: int = Field(default=0, ge=0, description="seed of the adapters' first factor, equal for every document")

    @model_validator(mode="after")
    def _matrices_differ(self) -> Self:
        if len(set(self.matrices)) < len(self.matrices):
            raise ValueError(f"matrices {self.matrices} has duplicates; each matrix gets one adapter: list it once")
        return self


def _kind(value: Any) -> Any:
    return value.get("kind", "full") if isinstance(value, dict) else getattr(value, "kind", None)


AnyTttConfig = Annotated[Annotated[TttConfig, Tag("full")] | Annotated[LoraConfig, Tag("lora")], Discriminator(_kind)]


class BatchMeansConfig(StageConfig):
    """Batches of windows to average over all their positions, on which #745's mixer updates its weights.

    Windows belong to the chunk of their first scored position; a chunk's windows are cut into `ranks` contiguous
    shares, and each share into batches of `windows`.
    """

    chunk_tokens: int = Field(default=32_768, ge=1, description="scored positions per chunk")
    ranks: int = Field(default=8, ge=1, le=4096, description="shares of a chunk's windows")
    windows: int = Field(default=32, ge=1, description="windows per batch")
