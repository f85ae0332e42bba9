"""The configuration of compression. Imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pgolf.budget import BUDGET_BYTES
from pgolf.config import StageConfig

Bits = Annotated[int, Field(ge=2, le=8)]
ZstdLevel = Annotated[int, Field(ge=1, le=22)]
Percentile = Annotated[float, Field(gt=0, le=1)]


class CompressConfig(StageConfig):
    """How weights become a file under the budget; the values of Parameter Golf PR #715 and #761 are the defaults.

    First every matrix has `matrix_bits` and each zstd level is tried in order; then one layer after the other, from
    the middle outward, goes down to `downgrade_bits`, again with every level. The first attempt that fits wins.
    """

    budget_bytes: int = Field(BUDGET_BYTES, ge=1, description="bytes for code plus packed model (decimal, not MiB)")
    method: Literal["rtn", "percentile", "gptq"] = Field(
        "rtn", description="rtn: round to nearest (#715); percentile: search the row clip (#745); gptq (#792)"
    )
    matrix_bits: Bits = Field(6, description="bits of a code in attention and MLP matrices")
    downgrade_bits: Bits | None = Field(5, description="bits of a downgraded layer's matrices; null: never downgrade")
    embedding_bits: Bits = Field(8, description="bits of a code in embedding tables")
    fp16_max_elements: int = Field(65_536, ge=0, description="tensors of up to this many elements stay in float16")
    zstd_levels: tuple[ZstdLevel, ...] = Field((16, 1, 17, 2), min_length=1, description="levels, in the order tried")
    percentiles: tuple[Percentile, ...] = Field(
        (0.9990, 0.9995, 0.9999, 0.99999, 1.0), min_length=1, description="row clips tried by percentile and gptq"
    )
    stream_damping: float = Field(
        0.01, ge=0, description="gptq: share of the Hessian's mean diagonal added first, as #792 does on calibration"
    )
    damping: float = Field(0.01, ge=0, description="gptq: share added again before factoring")
    act_order: bool = Field(True, description="gptq: columns by falling Hessian diagonal instead of left to right")
    singular_hessian: Literal["error", "percentile"] = Field(
        "error", description="gptq: what a Hessian without a Cholesky factor means; percentile is recorded per tensor"
    )

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.downgrade_bits is not None and self.downgrade_bits >= self.matrix_bits:
            raise ValueError(
                f"downgrade_bits {self.downgrade_bits} must be below matrix_bits {self.matrix_bits}; "
                "write a smaller number, or null for no downgrade"
            )
        for name in ("zstd_levels", "percentiles"):
            tried = getattr(self, name)
            if len(set(tried)) < len(tried):
                raise ValueError(f"{name} {tried} repeats a value; each attempt must differ from the others")
        return self
