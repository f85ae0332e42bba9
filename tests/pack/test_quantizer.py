"""What the quantizer takes for granted of its plans."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pgolf.pack.config import CompressConfig, SdclipK
from pgolf.pack.downgrade import rung_plan
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan
from pgolf.pack.sdclip import grids_at
from pgolf.quant.rounding import Quantized
from tests.pack.network import FP16_MAX_ELEMENTS, SMALL, random_state


def quantizer() -> Quantizer:
    return Quantizer(CompressConfig(fp16_max_elements=FP16_MAX_ELEMENTS), random_state(), {}, 1)


@pytest.mark.parametrize("first", [True, False])
def test_a_plan_for_other_tensors_is_refused_whether_or_not_another_came_before(first):
    ours = quantizer()
    plan = rung_plan(ours, ())
    if not first:
        ours.stored(plan)
    fewer = replace(plan, grids={name: bits for name, bits in plan.grids.items() if name != "tok_emb.weight"})
    with pytest.raises(AssertionError, match=r"grids for 25 tensors, every plan for the same 26: tok_emb\.weight too"):
        ours.stored(fewer)
    with pytest.raises(AssertionError, match=r"grids for 27 tensors, .*: smear\.gate too many or missing"):
        ours.stored(replace(plan, grids={**plan.grids, "smear.gate": 6}))


def test_one_quantizer_stores_every_plan_as_a_new_one_would():
    ours = quantizer()
    for layers in ((), (1,), (2, 1), tuple(range(SMALL.layers)), ()):
        stored, alone = ours.stored(rung_plan(ours, layers)), quantizer().stored(rung_plan(ours, layers))
        assert list(stored) == list(alone) == list(ours.state)
        for name, value in stored.items():
            if isinstance(value, Quantized):
                assert torch.equal(value.codes, alone[name].codes)
                assert torch.equal(value.scale, alone[name].scale)
            else:
                assert torch.equal(value, alone[name])


def _matrix(kind: str, rows: int, columns: int) -> torch.Tensor:
    r, c = np.arange(rows, dtype=np.float64)[:, None], np.arange(columns, dtype=np.float64)[None]
    u = np.sin(1.1 * c + 0.0059 * r * c + 0.13 * r * r + 0.5)
    if kind == "body":
        w = 0.04 * u / (1.02 - u * u) ** 0.5 * (0.3 + ((r * 13) % 31) / 20)
    else:
        w = np.where(c == (r * 11) % columns, np.where(r % 2 == 0, 0.9, -1.4), 0.05 * u * (0.4 + ((r * 7) % 23) / 8))
    return torch.from_numpy(w.astype(np.float32))


def _inputs(k: int, positions: int, columns: int) -> np.ndarray:
    i, c = np.arange(positions, dtype=np.float64)[:, None], np.arange(columns, dtype=np.float64)[None]
    b = np.sin(0.27 * c + 0.019 * i * (c + 1) + 0.0023 * i * i + k) + 0.6 * np.sin(0.05 * i + 0.2 * (c % 7) + k)
    return (b * 0.3 * 1.006 ** ((c * 37) % 331)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("name", "matrix", "k", "bits", "codes", "largest", "scales", "mse", "layer_error"),
    [
        (
            *("blocks.0.attn.c_q.weight", ("body", 192, 128), 12.85, 6),
            *(-319, 8, (0.012505, 0.039246, 0.066284), 2.08669e-4, 1263.551),
        ),
        (
            *("blocks.0.mlp.fc.weight", ("tail", 160, 320), 13.0, 6),
            *(-635, 31, (0.021912, 0.037903, 0.038269), 2.30717e-4, 2927.523),
        ),
        (
            *("tok_emb.weight", ("body", 256, 128), 20.0, 8),
            *(-442, 20, (0.004753, 0.014908, 0.025177), 3.03782e-5, 246.561),
        ),
        (
            *("tok_emb.weight", ("tail", 256, 192), 14.0, 7),
            *(-704, 62, (0.014771, 0.024597, 0.022247), 5.62367e-5, 699.594),
        ),
        (
            *("blocks.0.mlp.proj.weight", ("body", 192, 256), 11.5, 6),
            *(-220, 9, (0.011040, 0.034912, 0.059265), 1.66814e-4, 2075.782),
        ),
    ],
)
def test_fixed_clips_with_gptq_damped_once_give_the_codes_of_1493_and_1855(
    name, matrix, k, bits, codes, largest, scales, mse, layer_error
):
    """Check numbers made with the original quantizers, tables included."""
    W_RC = _matrix(*matrix)
    columns = W_RC.shape[1]
    H_CC = torch.from_numpy(
        (sum(X_NC.T @ X_NC for X_NC in (_inputs(j, 512, columns) for j in range(3))) / 3).astype(np.float32)
    )
    own = "table" if name.startswith("tok") else "mlp" if ".mlp." in name else "attention"
    config = CompressConfig(
        policy="sdclip",
        method="gptq_hessian",
        sdclip_k=SdclipK.model_validate({own: k}),
        downgrade_bits=None,
        matrix_bits=bits if own != "table" else 6,
        embedding_bits=bits if own == "table" else 8,
        fp16_max_elements=0,
    )
    ours = Quantizer(config, {name: W_RC}, {name: H_CC}, 1)
    assert config.sdclip_k is not None
    stored = ours.stored(Plan("", grids_at(config, {name: W_RC.std(dim=1)}, config.sdclip_k)))[name]
    assert isinstance(stored, Quantized)
    found_RC = stored.codes.double()
    # At most one code in ten thousand may differ by 1, on another machine.
    assert abs(int(found_RC.sum()) - codes) <= found_RC.numel() // 10_000
    assert int(found_RC.abs().max()) == largest
    assert stored.scale[:3].tolist() == pytest.approx(scales, abs=5e-7)
    gap_RC = W_RC.double() - found_RC * stored.scale.double()[:, None]
    assert float(gap_RC.square().mean()) == pytest.approx(mse, rel=1e-5)
    assert float(((gap_RC @ H_CC.double()) * gap_RC).sum()) == pytest.approx(layer_error, rel=1e-5)


def test_a_row_without_spread_has_the_smallest_scale_instead_of_none():
    """float16(1e-10) is 0, by which nothing can be divided."""
    state = {"blocks.0.mlp.fc.weight": torch.stack([torch.full((400,), 0.5), torch.zeros(400), torch.arange(400.0)])}
    config = CompressConfig(policy="sdclip", sdclip_k=SdclipK(), fp16_max_elements=0)
    std = {name: W_RC.std(dim=1) for name, W_RC in state.items()}
    grids = grids_at(config, std, SdclipK())
    assert grids["blocks.0.mlp.fc.weight"].scale.tolist()[:2] == [2.0**-24, 2.0**-24]
    (stored,) = Quantizer(config, state, {}, 1).stored(Plan("", grids)).values()
    assert isinstance(stored, Quantized)
    assert bool(torch.isfinite(stored.dequantize(torch.float32)).all())
    assert not stored.codes[1].any()
