"""Config of the network: every option of the published architectures. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pgolf.config import StageConfig

# Far beyond any network that fits a budget; a config is a few bytes, and what it describes is made.
_MOST_CHANNELS = 1 << 20
_MOST_LAYERS = 1 << 10
_MOST_PASSES = 1 << 6
_MOST_ROWS = 1 << 28
UNTIED_BLOCKS = (
    "score.ttt.untie gives every pass of a recurrent layer its own matrices, and with model.recurrence_shares=blocks a "
    "pass is the same layer in every respect; add --set score.ttt.untie=false"
)
EPS_FLOAT32 = 2.0**-23  # the smallest step of float32: rms_norm's default since torch 2.9, whatever the input


class ModelConfig(StageConfig):
    """The network of Parameter Golf PR #715 at any size; defaults are its values. Layers are numbered from 0."""

    vocab_size: int = Field(
        default=1024, ge=2, le=65_536, description="vocabulary size; the output head is tied to the embedding"
    )
    width: int = Field(default=512, ge=8, le=_MOST_CHANNELS, description="channels of the residual stream")
    layers: int = Field(
        default=11, ge=1, le=_MOST_LAYERS, description="layers with their own matrices (physical layers)"
    )
    recurrence: tuple[int, ...] = Field(
        default=(),
        description="consecutive physical layers that run several times in a row, as a segment; #745 repeats (4, 5), "
        "#1493 (3, 4, 5)",
    )
    recurrence_passes: int = Field(
        default=2, ge=1, le=_MOST_PASSES, description="how often those layers run, the first time included; 3 in #1493"
    )
    recurrence_shares: Literal["matrices", "blocks"] = Field(
        default="matrices",
        description="matrices: each pass has its own gains, mixes and gates, and other fields count executed (virtual) "
        "layers; blocks: a pass is the same layer in every respect, as in #1493, and other fields count those",
    )
    heads: int = Field(default=8, ge=1, le=_MOST_CHANNELS, description="query heads, each with width / heads channels")
    kv_heads: int = Field(default=4, ge=1, le=_MOST_CHANNELS, description="key/value heads, shared by the query heads")
    mlp_width: int = Field(default=1536, ge=1, le=_MOST_CHANNELS, description="hidden channels of each MLP")
    mlp_slope: float = Field(default=0.5, ge=0, le=1, description="slope below zero, before squaring; #761 uses 0.9")

    bigram_buckets: int = Field(
        default=4096, ge=0, le=_MOST_ROWS, description="rows of the hashed bigram table; #792 uses 2048; 0: no table"
    )
    bigram_dim: int = Field(
        default=128, ge=1, le=_MOST_CHANNELS, description="channels of a bigram row before projection"
    )
    bigram_scale_init: float = Field(default=0.05, description="initial scale of the bigram embedding")
    smear: Literal["channels", "none"] = Field(
        default="channels",
        description="channels: mix each embedding with the one before, by a gate per channel; none: not (in #1493)",
    )

    rope_dims: int = Field(default=16, ge=4, description="leading channels of each head with rotary positions")
    rope_base: float = Field(default=10_000.0, gt=1, description="rotary base up to rope_reference_length")
    rope_reference_length: int = Field(
        default=1024, ge=1, le=_MOST_ROWS, description="longer rows raise the base (NTK rule)"
    )
    rope_frequency_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="dtype that the rotary frequencies are rounded to; bfloat16 in #1493"
    )

    q_gain_init: float = Field(default=1.5, description="initial gain of each query head after its norm")
    xsa_layers: tuple[int, ...] | None = Field(
        default=None,
        description="layers with exclusive self-attention: without the part along a token's own value; null: all",
    )
    value_residual: bool = Field(default=True, description="mix layer 0's values into all later layers (not in #792)")
    gated_attention: bool = Field(default=True, description="a sigmoid gate per attention head (not in #792)")
    gate_bias_init: float = Field(default=4.0, description="initial bias of the gate; sigmoid(4) = 0.982")
    value_embedding_layers: tuple[int, ...] = Field(default=(), description="layers whose values add a token embedding")
    value_embedding_dim: int = Field(
        default=128, ge=1, le=_MOST_CHANNELS, description="channels of the value embedding before projection"
    )
    value_embedding_scale_init: float = Field(default=0.1, description="initial scale of the value embedding")

    ln_scale: bool = Field(default=True, description="scale the normed input of block l by 1 / sqrt(l + 1)")
    skip_gates: bool = Field(
        default=False, description="a skip is mixed in by a gate per channel, as in #1493, instead of being added"
    )
    parallel_from: int | None = Field(
        default=None,
        ge=0,
        description="from this layer on, attention and MLP read the same input, and both are added to it; 7 in #1493; "
        "null: the MLP reads what attention has added to",
    )
    parallel: Literal["stream"] = Field(
        default="stream", description="what parallel layers read and are added to: the one residual stream"
    )
    logit_softcap: float = Field(default=30.0, gt=0, description="logits are c · tanh(logits / c)")

    embedding_init_std: float = Field(default=0.005, ge=0, description="initial standard deviation of the embedding")
    value_embedding_init_std: float = Field(
        default=0.01, ge=0, description="initial standard deviation of the value embedding"
    )
    projection_init_by_depth: bool = Field(
        default=True, description="scale the initial embedding projections by 1 / sqrt(2 · layers); #745 does not"
    )
    init_draws: Literal["layers", "banks"] = Field(
        default="layers", description="order of the initial random draws: layer by layer, or as #745's weight banks"
    )

    residual_dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16",
        description="dtype of the residual stream and norm outputs on CUDA (float32 in #745, #792); float32 on CPU",
    )
    norm_eps: float = Field(default=EPS_FLOAT32, gt=0, description="RMSNorm epsilon if the input is float32 on CUDA")
    norm_eps_bf16_input: float = Field(
        default=EPS_FLOAT32, gt=0, description="RMSNorm epsilon if the input is bfloat16 on CUDA; 2^-7 in #745, #792"
    )

    @property
    def embeds_besides_tokens(self) -> bool:
        """Whether there is a bigram table or a value embedding, which are projected to what they are added to."""
        return self.bigram_buckets > 0 or bool(self.value_embedding_layers)

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        if not self.recurrence:
            found |= dict.fromkeys(("recurrence_passes", "recurrence_shares"), ("recurrence",))
        if not self.bigram_buckets:
            found |= dict.fromkeys(("bigram_dim", "bigram_scale_init"), ("bigram_buckets",))
        if not self.value_embedding_layers:
            names = ("value_embedding_dim", "value_embedding_scale_init", "value_embedding_init_std")
            found |= dict.fromkeys(names, ("value_embedding_layers",))
        if not self.embeds_besides_tokens:
            found["projection_init_by_depth"] = ("bigram_buckets", "value_embedding_layers")
        if not self.gated_attention:
            found["gate_bias_init"] = ("gated_attention",)
        return found

    @property
    def head_dim(self) -> int:
        """Channels per head."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Channels of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    @property
    def physical_layers(self) -> tuple[int, ...]:
        """The physical layer whose matrices each executed (virtual) layer uses: 0..5, 4, 5, 6..10 in #745."""
        if not self.recurrence:
            return tuple(range(self.layers))
        after = self.recurrence[-1] + 1
        return (*range(after), *self.recurrence * (self.recurrence_passes - 1), *range(after, self.layers))

    @property
    def executed_layers(self) -> int:
        """Number of executed blocks: layers plus repeats."""
        return len(self.physical_layers)

    @property
    def blocks(self) -> int:
        """Number of blocks with gains and mixes of their own: executed layers or, where passes share them, layers."""
        return self.executed_layers if self.recurrence_shares == "matrices" else self.layers

    @property
    def encoder_layers(self) -> int:
        """Number of executed blocks whose output feeds a skip connection."""
        return self.executed_layers // 2

    @property
    def xsa_layer_set(self) -> frozenset[int]:
        """`xsa_layers` with null resolved to all blocks."""
        return frozenset(range(self.blocks) if self.xsa_layers is None else self.xsa_layers)

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; each head takes width / heads"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; use one of its divisors"
            )
        if self.rope_dims % 2 or self.rope_dims > self.head_dim:
            raise ValueError(
                f"rope_dims {self.rope_dims} must be even and at most a head's width / heads = {self.head_dim} channels"
            )
        first = min(self.recurrence, default=0)
        if self.recurrence != tuple(range(first, first + len(self.recurrence))):
            raise ValueError(
                f"recurrence {self.recurrence} has gaps or is out of order; write consecutive layers, e.g. (4, 5)"
            )
        if max(self.recurrence, default=0) >= self.layers or first < 0:
            raise ValueError(f"recurrence {self.recurrence} must lie within 0..{self.layers - 1}, the physical layers")
        kind = "executed" if self.recurrence_shares == "matrices" else "physical"
        within = f"within 0..{self.blocks - 1}, the {kind} layers"
        for name in ("xsa_layers", "value_embedding_layers"):
            chosen = getattr(self, name)
            if chosen is not None and list(chosen) != sorted({i for i in chosen if 0 <= i < self.blocks}):
                raise ValueError(f"{name} {chosen} must rise strictly {within}; write e.g. (0, 1)")
        if self.parallel_from is not None and self.parallel_from >= self.blocks:
            raise ValueError(f"parallel_from {self.parallel_from} must lie {within}; null: none is parallel")
        if self.bigram_buckets == 1:
            raise ValueError("bigram_buckets 1 has no row but that of first positions; write 2 or more, or 0: no table")
        return self
