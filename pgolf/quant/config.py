"""Config of stage `calibrate`. Imports no torch."""

from typing import Literal

from pydantic import Field

from pgolf.config import StageConfig


class CalibrateConfig(StageConfig):
    """The training tokens on which to measure the Hessians; defaults are those of Parameter Golf PR #792.

    The stream continues where training stopped. Each global batch has `spans` spans of sequences · sequence_length + 1
    tokens; the first span of each is read, as by rank 0 of the original. Or shuffled rows from their beginning, as in
    #1493: the first that rank 0 of `spans` trains on under train.batches=rows.
    """

    source: Literal["stream", "rows"] = Field(
        "stream",
        description="stream: the tokens after those trained on; rows: shuffled rows afresh, the first of data rank 0",
    )
    batches: int = Field(32, ge=1, description="global batches; the Hessian is their mean")
    sequences: int = Field(48, ge=1, description="sequences per span")
    sequence_length: int = Field(2048, ge=1, description="tokens per sequence")
    spans: int = Field(
        8,
        ge=1,
        description="spans per global batch of the training stream, the first one is used; rows: data ranks that share "
        "the shards",
    )

    product: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16: round inputs and each batch's product to bfloat16, as #792's autocast did; "
        "float32: neither",
    )
    table: bool = Field(
        False,
        description="also the token table as the output layer: the Hessian of the head's input, which sensitivities "
        "replace by that of both its uses; set by pipelines that need it",
    )
    sensitivities: bool = Field(
        False, description="also measure the loss's curvature by row and of tables; set by pipelines that need it"
    )

    @property
    def span_tokens(self) -> int:
        """Inputs per span; in the stream a span has one more token, the last target."""
        return self.sequences * self.sequence_length

    @property
    def tokens(self) -> int:
        """Total number of calibration tokens."""
        return self.batches * self.span_tokens
