"""The configuration of the compress stage. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pgolf.budget import BUDGET_BYTES
from pgolf.config import StageConfig
from pgolf.pack.codec import CODECS, CodecName

PolicyName = Literal["published", "allocate", "sdclip"]
Bits = Annotated[int, Field(ge=2, le=8)]
ZstdLevel = Annotated[int, Field(ge=CODECS["zstd"].levels[0], le=CODECS["zstd"].levels[-1])]
Percentile = Annotated[float, Field(gt=0, le=1)]

# At 8 bits a step of eight standard deviations, which leaves next to nothing; float16 holds it of any trained network.
_LARGEST_K = 1000


class SdclipK(StageConfig):
    """At how many standard deviations of a row its codes end, by class of tensor; the values of #1394 and #1493.

    A step is k / q standard deviations, q the largest code of the class's bits; its width, not q, decides the size.
    """

    attention: float = Field(12.85, gt=0, le=_LARGEST_K, description="k of attention matrices")
    mlp: float = Field(12.85, gt=0, le=_LARGEST_K, description="k of MLP matrices")
    table: float = Field(20.0, gt=0, le=_LARGEST_K, description="k of embedding tables")


class CompressConfig(StageConfig):
    """How weights become a file under the budget; the values of Parameter Golf PR #715 and #761 are the defaults.

    Policy published: first every matrix has `matrix_bits` and each zstd level is tried in order; then one layer after
    the other, from the middle outward, goes down to `downgrade_bits`, again with every level. The first that fits wins.
    The other policies choose row scales instead of bits and fill the budget: `allocate` by what each row's error costs,
    `sdclip` (#1394) by its standard deviation. With `sdclip_k` it takes just these steps, whether they fill it or not.
    """

    budget_bytes: int = Field(BUDGET_BYTES, ge=1, description="bytes for code plus packed model (decimal, not MiB)")
    policy: PolicyName = Field(
        "published", description="published: bits by layer (#715); allocate: least predicted loss; sdclip (#1394)"
    )
    allow_over_budget: bool = Field(
        False, description="where nothing fits, write the smallest file all the same; its rows say that it does not fit"
    )
    method: Literal["rtn", "percentile", "gptq", "gptq_hessian"] = Field(
        "rtn",
        description="rtn: round to nearest (#715); percentile: search the row clip (#745); gptq (#792); gptq_hessian: "
        "damped once, each row's clip judged by the Hessian, no scale floor, tables too",
    )
    matrix_bits: Bits = Field(6, description="bits of a code in attention and MLP matrices")
    downgrade_bits: Bits | None = Field(5, description="bits of a downgraded layer's matrices; null: never downgrade")
    embedding_bits: Bits = Field(8, description="bits of a code in embedding tables")
    fp16_max_elements: int = Field(65_536, ge=0, description="tensors of up to this many elements stay in float16")
    codec: CodecName = Field(
        "zstd",
        description="zstd as published; rans: integers by a model of their rows and columns, the smallest",
    )
    zstd_levels: tuple[ZstdLevel, ...] = Field((16, 1, 17, 2), min_length=1, description="levels, in the order tried")
    percentiles: tuple[Percentile, ...] = Field(
        (0.9990, 0.9995, 0.9999, 0.99999, 1.0), min_length=1, description="row clips tried by percentile and gptq"
    )
    clips: tuple[Percentile, ...] = Field(
        (1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
        min_length=1,
        description="gptq_hessian: shares of a row's largest magnitude tried as its clip, each row for itself",
    )
    sdclip_k: SdclipK | None = Field(
        None, description="sdclip: clips in standard deviations, fixed, as in #1493; null: those that fill the budget"
    )
    stream_damping: float = Field(
        0.01, ge=0, description="gptq: share of the Hessian's mean diagonal added first, as #792 does on calibration"
    )
    damping: float = Field(0.01, ge=0, description="gptq: share added again before factoring; gptq_hessian: added once")
    act_order: bool = Field(True, description="gptq: columns by falling Hessian diagonal instead of left to right")
    singular_hessian: Literal["error", "percentile"] = Field(
        "error", description="gptq: what a Hessian without a Cholesky factor means; percentile is recorded per tensor"
    )

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        if self.policy != "published":
            found["downgrade_bits"] = ("policy",)
        if self.policy == "allocate":
            found |= dict.fromkeys(("matrix_bits", "embedding_bits"), ("policy",))
        if self.codec != "zstd":
            found["zstd_levels"] = ("codec",)
        if self.policy != "published":
            found |= dict.fromkeys(("percentiles", "clips"), ("policy",))
        elif self.method == "rtn":
            found |= dict.fromkeys(("percentiles", "clips"), ("method",))
        elif self.method != "gptq_hessian":
            found["clips"] = ("method",)
        elif self.singular_hessian == "error":  # else what has no factor is rounded by percentiles
            found["percentiles"] = ("method", "singular_hessian")
        if self.method != "gptq":
            found["stream_damping"] = ("method",)
        if self.method in ("rtn", "percentile"):
            found |= dict.fromkeys(("damping", "act_order", "singular_hessian"), ("method",))
        return found

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the codec that are tried, in order: of zstd those configured, of others the strongest alone."""
        return self.zstd_levels if self.codec == "zstd" else (CODECS[self.codec].levels[-1],)

    @property
    def needs_hessians(self) -> bool:
        """Whether compression reads what calibration measures."""
        return self.policy == "allocate" or self.method in ("gptq", "gptq_hessian")

    @property
    def needs_sensitivities(self) -> bool:
        """Whether it reads the loss's curvature too (`CalibrateConfig.sensitivities`)."""
        return self.policy == "allocate" or (self.method == "gptq_hessian" and self.sdclip_k is None)

    @property
    def needs_table(self) -> bool:
        """Whether the head's input is all that it asks of the token table (`CalibrateConfig.table`)."""
        return self.method == "gptq_hessian" and self.sdclip_k is not None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        downgraded_bits = self.downgrade_bits if self.policy == "published" else None
        if downgraded_bits is not None and downgraded_bits >= self.matrix_bits:
            raise ValueError(
                f"downgrade_bits {self.downgrade_bits} must be below matrix_bits {self.matrix_bits}; "
                "write a smaller number, or null for no downgrade"
            )
        if self.policy != "published" and self.method == "percentile":
            raise ValueError(
                f"method percentile searches clips, which policy {self.policy} sets itself; "
                "use method rtn, gptq or gptq_hessian"
            )
        if self.sdclip_k is not None and self.policy != "sdclip":
            raise ValueError(
                f"sdclip_k is given, and policy {self.policy} does not read it; add --set compress.policy=sdclip, or "
                "--set compress.sdclip_k=null"
            )
        for name in ("zstd_levels", "percentiles", "clips"):
            tried = getattr(self, name)
            if len(set(tried)) < len(tried):
                raise ValueError(f"{name} {tried} repeats a value; each attempt must differ from the others")
        return self
