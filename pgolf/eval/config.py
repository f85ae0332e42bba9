"""Config of stage `score`."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig
from pgolf.eval.ttt_config import AnyTttConfig, BatchMeansConfig, LoraConfig, TttConfig


class ScoreConfig(StageConfig):
    """How to score the packed model on the validation tokens."""

    window: int = Field(default=2048, ge=1, le=1_048_576, description="tokens the network sees at once")
    stride: int = Field(default=64, ge=1, description="targets that each window after the first scores and advances by")
    batch_windows: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="windows per forward pass, 32 in the published programs; on a CPU every thread holds one such "
        "batch; null: as many as fit a fixed amount of memory (8 GiB on CUDA, 96 MiB on a CPU); with batch_means "
        "its batches are the passes",
    )
    tail: Literal["once", "repeat"] = Field(
        default="once",
        description="once: every target is scored exactly once; repeat: the shrinking windows at the end of the data "
        "score the last targets again, 32 times in all at 2048/64, as the published scripts do",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="arithmetic of the network: float32 runs on the CPU, bfloat16 on CUDA like the published runs; "
        "losses and entropies are float32 either way",
    )

    logit_rounding: Literal["once", "each"] = Field(
        default="once",
        description="bfloat16: round the softcapped logits once, as a compiled graph does (#715), or after each "
        "operation, as the uncompiled evaluations of #745 and #792 do; float32 is the same either way",
    )
    ttt: AnyTttConfig | None = Field(
        default=None,
        description='adapt to the text while scoring it; null: fixed weights; {"kind": "lora"}: per document',
    )
    batch_means: BatchMeansConfig | None = Field(
        default=None, description="also write batches.arrow, which the published Hedge mixer needs; null: do not"
    )

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        if self.precision == "float32":
            found["logit_rounding"] = ("precision",)
        if self.batch_means is not None:
            found["batch_windows"] = ("batch_means",)
        if isinstance(self.ttt, LoraConfig):  # document by document
            found["batch_windows"] = ("ttt.kind",)
        return found

    @property
    def chunk_tokens(self) -> int | None:
        """Scored positions per chunk; None if nothing happens chunk by chunk."""
        chunked = self.ttt if isinstance(self.ttt, TttConfig) else self.batch_means
        return chunked.chunk_tokens if chunked else None

    @property
    def causal(self) -> bool:
        """Whether every score depends only on the artifact and on tokens before its target."""
        return not isinstance(self.ttt, TttConfig) or self.ttt.order == "score_first"

    @model_validator(mode="after")
    def _chunks_agree(self) -> Self:
        if (
            isinstance(self.ttt, TttConfig)
            and self.batch_means
            and self.ttt.chunk_tokens != self.batch_means.chunk_tokens
        ):
            raise ValueError(
                f"ttt.chunk_tokens {self.ttt.chunk_tokens} and batch_means.chunk_tokens "
                f"{self.batch_means.chunk_tokens} differ; batches lie within learned chunks: set "
                "score.ttt.chunk_tokens and score.batch_means.chunk_tokens to one value"
            )
        return self

    @model_validator(mode="after")
    def _documents_fit(self) -> Self:
        if not isinstance(self.ttt, LoraConfig):
            return self
        if self.tail == "repeat" or self.batch_means:
            raise ValueError(
                "ttt.kind lora scores document by document, without sliding windows whose tail could repeat or whose "
                "batches have means; add --set score.tail=once --set score.batch_means=null"
            )
        if self.ttt.chunk_targets > self.window:
            raise ValueError(
                f"ttt.chunk_targets {self.ttt.chunk_targets} exceeds window {self.window}, the most that the network "
                f"sees at once; --set score.ttt.chunk_targets={self.window} is the most"
            )
        return self

    @model_validator(mode="after")
    def _stride_fits_the_window(self) -> Self:
        if self.stride > self.window:
            raise ValueError(
                f"stride {self.stride} exceeds window {self.window}, so targets between windows would never be scored; "
                f"--set score.stride={self.window} is the most"
            )
        return self
