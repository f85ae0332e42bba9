"""The GPT network of Parameter Golf PRs #638 and #715 and, by config, of #745, #761, #792 and #1493, at any size.

Shapes: B rows, T positions of a row, S of them (the last ones) whose output is needed, D residual width,
V vocabulary, M MLP width; L executed (virtual) layers of which the first L // 2 feed a skip each. All linear maps are
y = x Wᵀ.
With recurrent layers that share matrices, block l owns the small tensors of executed layer l and, if l is one of the P
physical layers 0..P - 1, the six matrices of physical layer l; executed layer l uses those of layer
`physical_layers[l]`. With recurrent layers that share blocks, executed layer l is block `physical_layers[l]`.
Rows are independent: positions, smear and bigram hash see nothing before the row. Documents are not masked.
"""

from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.model.attention import Attention
from pgolf.model.config import ModelConfig
from pgolf.model.embedding import ScaledTable, SmearGate, Table, bigram_bucket
from pgolf.model.linear import Adapter, CastedLinear
from pgolf.model.precision import Precision, precision_for, stream_norm_eps
from pgolf.model.rope import ntk_base, rotation_tables
from pgolf.model.softcap import LogitRounding, softcapped


class MLP(nn.Module):
    """Two linear maps around a squared leaky ReLU: p² above zero, slope² · p² below, never negative."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.slope = config.mlp_slope
        self.fc = CastedLinear(config.width, config.mlp_width)
        self.proj = CastedLinear(config.mlp_width, config.width)

    def forward(self, h_BTD: Tensor) -> Tensor:
        """[B, T, D] to the same shape and dtype."""
        hidden_BTM = F.leaky_relu(self.fc(h_BTD), negative_slope=self.slope)
        out_BTD: Tensor = self.proj(hidden_BTM.float().square().to(h_BTD.dtype))
        return out_BTD


class Block(nn.Module):
    """z = r₀ x + r₁ x₀; then attention and MLP, each on the scaled norm of z and added with a gain per channel.

    In a parallel block both read the same z; in the others the MLP reads it with the attention's output added.
    """

    mlp: MLP  # absent in blocks beyond the physical layers, like the linear maps of `attn`

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm_eps = stream_norm_eps(config)
        self.norm_scale = (layer + 1) ** -0.5 if config.ln_scale else 1.0
        self.is_parallel = config.parallel_from is not None and layer >= config.parallel_from
        self.attn = Attention(config, layer)
        if layer < config.layers:
            self.mlp = MLP(config)
        self.attn_scale = nn.Parameter(torch.zeros(config.width))
        self.mlp_scale = nn.Parameter(torch.zeros(config.width))
        self.resid_mix = nn.Parameter(torch.zeros(2, config.width))

    def forward(
        self,
        x_BTD: Tensor,
        x0_BTD: Tensor,
        owner: Self,
        rotation: tuple[Tensor, Tensor],
        first_v_BTGK: Tensor | None,
        value_embedding_BTV: Tensor | None,
        precision: Precision,
        last: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The block's output [B, S, D] and its attention's own values [B, T, G, K]; see `Attention.forward`.

        owner: the block whose six matrices are used: self or, with recurrent layers, another one. last: S; None: all T.
        """
        mix_x_D, mix_x0_D = self.resid_mix.to(x_BTD.dtype)
        z_BTD = mix_x_D * x_BTD + mix_x0_D * x0_BTD
        u_BTD = self._scaled_norm(z_BTD)
        a_BSD, own_v_BTGK = self.attn(u_BTD, owner.attn, rotation, first_v_BTGK, value_embedding_BTV, precision, last)
        z_BSD = z_BTD[:, z_BTD.shape[1] - a_BSD.shape[1] :] + self.attn_scale.to(z_BTD.dtype) * a_BSD
        # Rounded at once: a float32 norm with a name would stay in memory through the MLP.
        u_BSD = (u_BTD[:, u_BTD.shape[1] - a_BSD.shape[1] :] if self.is_parallel else self._scaled_norm(z_BSD)).to(
            precision.linear
        )
        h_BSD = owner.mlp(u_BSD)
        return z_BSD + self.mlp_scale.to(z_BSD.dtype) * h_BSD, own_v_BTGK

    def _scaled_norm(self, z_BTD: Tensor) -> Tensor:
        return F.rms_norm(z_BTD, (z_BTD.shape[-1],), eps=self.norm_eps) * self.norm_scale


class GPT(nn.Module):
    """The whole network. Every parameter is zero until `initialize` (pgolf/model/init.py) or until a state is loaded.

    Tables are stored in bfloat16, everything else in float32; `precision_for` decides the dtypes of a forward pass.

    loops: whether recurrent layers run again; training may switch them on midway. An instance attribute, so that a
    compiled network recompiles when it changes.
    """

    # Each absent where the config has none.
    bigram: ScaledTable
    smear: SmearGate
    skip_gates: nn.Parameter

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_emb = Table(config.vocab_size, config.width)
        self.loops = True
        if config.bigram_buckets:
            self.bigram = ScaledTable(config.bigram_buckets, config.bigram_dim, config.width)
        if config.smear == "channels":
            self.smear = SmearGate(config.width)
        self.skip_weights = nn.Parameter(torch.zeros(config.encoder_layers, config.width))
        if config.skip_gates:
            self.skip_gates = nn.Parameter(torch.zeros(config.encoder_layers, config.width))
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.blocks))
        self.head_adapter: Adapter | None = None  # on the tied table in its role as output head only
        self.ve_shared: ScaledTable | None = None
        self.ve_layer_scales = nn.ParameterList()
        if config.value_embedding_layers:
            self.ve_shared = ScaledTable(config.vocab_size, config.value_embedding_dim, config.kv_width)
            self.ve_layer_scales.extend(nn.Parameter(torch.zeros(1)) for _ in config.value_embedding_layers)

    @property
    def block_list(self) -> list[Block]:
        """The blocks by number, typed; the first `config.layers` of them own matrices."""
        return [cast(Block, block) for block in self.blocks]

    @property
    def precision(self) -> Precision:
        """Dtypes of a forward pass on the weights' device."""
        return precision_for(self.config, self.tok_emb.weight.device)

    def hidden(self, tokens_BT: Tensor, last: int | None = None, *, rotary_length: int | None = None) -> Tensor:
        """Final-normed hidden states [B, S, D] of the last S positions; position t depends on tokens 0..t of its row.

        last: S; None: all T. The last block computes keys and values for all T, everything else for S only.
        rotary_length: the row length that determines the rotary base; None: T.
        """
        config = self.config
        tokens_BT = tokens_BT.long()
        precision = self.precision
        length = tokens_BT.shape[1]
        assert last is None or 1 <= last <= length, f"the last {last} of {length} positions"
        base = ntk_base(
            config.rope_base,
            rotary_length or length,
            reference_length=config.rope_reference_length,
            rope_dims=config.rope_dims,
        )
        rotation = rotation_tables(length, base, config.rope_dims, tokens_BT.device, config.rope_frequency_dtype)

        e_BTD = self.tok_emb(tokens_BT, precision.linear)
        if config.bigram_buckets:
            e_BTD = e_BTD + self.bigram(bigram_bucket(tokens_BT, config.bigram_buckets), precision.linear)
        e_BTD = F.rms_norm(e_BTD.to(precision.residual), (config.width,), eps=config.norm_eps_bf16_input)
        x_BTD = x0_BTD = self.smear(e_BTD) if config.smear == "channels" else e_BTD

        value_embeddings = self._value_embeddings(tokens_BT, precision)
        first_v_BTGK: Tensor | None = None
        skips: list[Tensor] = []
        blocks = self.block_list
        order = config.physical_layers if self.loops else range(config.layers)
        for place, physical in enumerate(order):
            number = physical if config.recurrence_shares == "blocks" else place
            step_up = place - len(order) // 2
            if step_up >= 0 and skips:
                # Last in, first out; the first skip equals x itself. Before the block's mix.
                # Nothing here keeps a name: it would stay in memory through the block.
                w_D = self.skip_weights[step_up].to(x_BTD.dtype)
                if config.skip_gates:  # g x + (1 - g) w k
                    g_D = torch.sigmoid(self.skip_gates[step_up].to(x_BTD.dtype))
                    x_BTD = torch.lerp(w_D * skips.pop(), x_BTD, g_D)
                else:
                    x_BTD = x_BTD + w_D * skips.pop()
            x_BTD, own_v_BTGK = blocks[number](
                x_BTD,
                x0_BTD,
                blocks[physical],
                rotation,
                first_v_BTGK,
                value_embeddings.get(number),
                precision,
                last if place == len(order) - 1 else None,
            )
            if place == 0:
                first_v_BTGK = own_v_BTGK
            if step_up < 0:
                skips.append(x_BTD)
        # The last block reduced x to the S requested positions.
        return F.rms_norm(x_BTD, (config.width,), eps=stream_norm_eps(config))

    def _value_embeddings(self, tokens_BT: Tensor, precision: Precision) -> dict[int, Tensor]:
        if self.ve_shared is None:
            return {}
        shared_BTV = self.ve_shared(tokens_BT, precision.linear)
        layers = self.config.value_embedding_layers
        return {layer: shared_BTV * c.to(shared_BTV.dtype) for layer, c in zip(layers, self.ve_layer_scales)}

    def logits(self, h: Tensor, rounding: LogitRounding = "once") -> Tensor:
        """Softcapped float32 logits [..., V] of hidden states [..., D]; for `rounding` see `softcapped`."""
        dtype = self.precision.linear
        z = F.linear(h.to(dtype), self.tok_emb.weight.to(dtype))
        if self.head_adapter is not None:
            z = z + self.head_adapter.of(h.to(dtype))
        return softcapped(z, self.config.logit_softcap, rounding)

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor, rounding: LogitRounding = "none") -> Tensor:
        """Mean cross-entropy in nats per target, a float32 scalar; target t is the token that follows token t.

        rounding: "none" as in the compiled training step, "each" as in the test-time training of #745 and #761.
        """
        logits_NV = self.logits(self.hidden(tokens_BT), rounding).flatten(0, 1)
        return F.cross_entropy(logits_NV, targets_BT.long().flatten())
