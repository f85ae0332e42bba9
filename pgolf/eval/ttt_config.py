"""What decides how the network adapts to the text it is scored on. Imports no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pgolf.config import StageConfig


class TttConfig(StageConfig):
    """Test-time training, chunk by chunk over the validation stream; the values of PR #745 are the defaults.

    score_first is causal: a chunk is scored before the network learns from it. adapt_first is what #761 did: all
    chunks are learned, then all are scored, so every score has seen its own target; its trace is marked not causal.
    """

    kind: Literal["full"] = Field(default="full", description="the weights themselves learn, all along the stream")
    order: Literal["score_first", "adapt_first"] = Field(
        default="score_first", description="score a chunk, then learn it; or learn all chunks, then score (not causal)"
    )
    chunk_tokens: int = Field(default=32_768, ge=1, description="targets of a chunk; #761 has 131,072")
    sequence_length: int = Field(default=2048, ge=1, description="targets of one row that is learned")
    groups: int = Field(
        default=8, ge=1, description="shares of a chunk's rows whose mean losses are averaged: the published ranks"
    )
    epochs: int = Field(default=1, ge=1, description="steps per chunk, each over all its rows; #761 takes 4")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd (#745) or adamw (#761)")
    lr: float = Field(default=0.002, gt=0, description="rate; #761 has 1e-4")
    lr_schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="cosine: to 0 at the last chunk (#745); constant (#761)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: momentum, without Nesterov")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="adamw: decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="adamw: decay of the second moment")
    eps: float = Field(default=1e-8, gt=0, description="adamw: denominator offset")
    weight_decay: float = Field(default=0.0, ge=0, description="decay of the weights")
    clip_norm: float = Field(default=1.0, gt=0, description="largest 2-norm of the mean gradient")
    frozen_blocks: int = Field(default=0, ge=0, description="leading blocks that do not learn; #761 freezes 2")
    untie: bool = Field(
        default=True, description="give every pass of a recurrent layer matrices of its own before the first step"
    )
    projection_bits: int | None = Field(
        default=None,
        ge=2,
        le=8,
        description="round the bigram and value projections to this many bits while learning; 6 is what #745's late "
        "QAT flag, dead in training, does here; null: no rounding",
    )

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
    """Test-time training of small adapters that start afresh with every document: always causal.

    A document goes from its BOS to the next one, which is its last target. It is cut into chunks; each is scored and
    then learned, but for the last, whose step nothing would see. The packed weights stay as they are.
    Source: the per-document LoRA of PR #1610; which of its settings are ours, docs/decisions.md says.
    """

    # No default: what tells the two kinds apart must be written wherever defaults are left out.
    kind: Literal["lora"] = Field(description="adapters learn, from nothing in every document")
    rank: int = Field(default=96, ge=1, description="rank of every adapter")
    matrices: tuple[AdaptedMatrix, ...] = Field(
        default=("q", "k", "v", "proj", "fc", "mlp_proj", "head"),
        min_length=1,
        description="which maps of every layer get one; head: the tied table where it makes logits",
    )
    chunk_targets: int = Field(default=48, ge=1, description="targets that are scored, then learned, at once")
    epochs: int = Field(default=1, ge=1, description="steps per chunk, each on the mean loss of all its targets")
    lr: float = Field(default=1e-4, gt=0, description="rate of AdamW")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the second moment")
    eps: float = Field(default=1e-8, gt=0, description="denominator offset")
    weight_decay: float = Field(default=0.5, ge=0, description="decay of the adapters")
    seed: int = Field(default=0, ge=0, description="of the adapters' first factor, the same for every document")

    @model_validator(mode="after")
    def _matrices_differ(self) -> Self:
        if len(set(self.matrices)) < len(self.matrices):
            raise ValueError(f"matrices {self.matrices} names one twice; a map has one adapter")
        return self


def _kind(value: Any) -> Any:
    return value.get("kind", "full") if isinstance(value, dict) else getattr(value, "kind", None)


AnyTttConfig = Annotated[Annotated[TttConfig, Tag("full")] | Annotated[LoraConfig, Tag("lora")], Discriminator(_kind)]


class BatchMeansConfig(StageConfig):
    """Which batches of windows are averaged over all their positions: what #745's mixer updates its weights on.

    Windows belong to the chunk of their first scored position; a chunk's windows are cut into `ranks` contiguous
    shares, and each share into batches of `windows`.
    """

    chunk_tokens: int = Field(default=32_768, ge=1, description="scored positions of a chunk")
    ranks: int = Field(default=8, ge=1, le=4096, description="shares of a chunk's windows")
    windows: int = Field(default=32, ge=1, description="windows of a batch")
