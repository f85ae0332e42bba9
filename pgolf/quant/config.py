"""The configuration of calibration. Imports no torch."""

from typing import Literal

from pydantic import Field

from pgolf.config import StageConfig


class CalibrateConfig(StageConfig):
    """Which training tokens the Hessians are measured on; the values of Parameter Golf PR #792 are the defaults.

    The stream goes on where training stopped. Each global batch holds `spans` spans of sequences · sequence_length + 1
    tokens, and the first span of each is read, as rank 0 of the original did.
    """

    batches: int = Field(32, ge=1, description="global batches; the Hessian is their mean")
    sequences: int = Field(48, ge=1, description="sequences of one span")
    sequence_length: int = Field(2048, ge=1, description="tokens of one sequence")
    spans: int = Field(8, ge=1, description="spans of a global batch of the training stream; the first one is used")

    product: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16: inputs and each batch's product rounded to bfloat16, as #792's autocast did; "
        "float32: neither",
    )
    sensitivities: bool = Field(
        False, description="also measure the loss's curvature by row and of tables; a pipeline that needs it sets it"
    )

    @property
    def span_tokens(self) -> int:
        """Inputs of one span; in the stream it takes one token more, the last target."""
        return self.sequences * self.sequence_length

    @property
    def tokens(self) -> int:
        """Input tokens that the Hessians see."""
        return self.batches * self.span_tokens
