"""#1493 against numbers of the original program, run on a CPU in float32 on weights that are given by formula."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pgolf.model import attention, gpt
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.model.rope import rotation_tables
from tests.model.networks import PUBLISHED_1493
from tests.oracles.filled import filled, stream

CHECKED = ModelConfig.model_validate(
    PUBLISHED_1493.model_dump()
    | {"vocab_size": 1024, "width": 128, "heads": 2, "kv_heads": 1, "mlp_width": 512, "rope_frequency_dtype": "float32"}
)
ROWS_BT = torch.from_numpy(np.stack([stream(60 + 311 * row + np.arange(65)) for row in range(2)]))


def logits_of(model):
    with torch.no_grad():
        return model.logits(model.hidden(ROWS_BT[:, :-1]))


@pytest.mark.parametrize(
    ("loops", "nats", "first_four", "sum_of_squares"),
    [
        (False, 7.124739, [0.047550, -0.660113, 0.974626, -0.588606], 54429.387),
        (True, 7.129091, [0.045687, -0.683672, 0.972658, -0.578011], 54412.315),
    ],
    ids=["without loops", "looped"],
)
def test_logits_are_those_of_the_original_program(loops, nats, first_four, sum_of_squares):
    model = filled(GPT(CHECKED))
    model.loops = loops
    logits_BTV = logits_of(model)
    assert logits_BTV[0, 63, :4].tolist() == pytest.approx(first_four, abs=5e-5)
    assert F.cross_entropy(logits_BTV.flatten(0, 1), ROWS_BT[:, 1:].flatten()).item() == pytest.approx(nats, abs=1e-5)
    # Each logit is off by 5e-5 at most, and they have any sign: 131,072 of them, of order 0.6.
    assert logits_BTV.double().square().sum().item() == pytest.approx(sum_of_squares, abs=0.02)


def changed(**fields):
    return lambda _patch: filled(GPT(CHECKED.model_copy(update=fields)))


def in_another_order(*order):
    def made(patch):
        patch.setattr(ModelConfig, "physical_layers", order)
        return filled(GPT(CHECKED))

    return made


def with_gates_swapped(patch):
    lerp = torch.lerp
    patch.setattr(torch, "lerp", lambda skip, x, g: lerp(x, skip, g))
    return filled(GPT(CHECKED))


def with_skips_added(patch):
    patch.setattr(torch, "lerp", lambda skip, x, g: x + skip)
    return filled(GPT(CHECKED))


def with_scales_by_place(patch):
    model, places = filled(GPT(CHECKED)), iter(range(17))

    def at_its_place(block, z_BTD, *others, forward=gpt.Block.forward):
        block.norm_scale = (next(places) + 1) ** -0.5
        return forward(block, z_BTD, *others)

    patch.setattr(gpt.Block, "forward", at_its_place)
    return model


def with_rotation_of_neighbours(patch):
    def rotate(x_BHTK, cos_TP, sin_TP):
        P = cos_TP.shape[1]
        a, b, rest = x_BHTK[..., 0 : 2 * P : 2], x_BHTK[..., 1 : 2 * P : 2], x_BHTK[..., 2 * P :]
        turned = torch.stack((a * cos_TP + b * sin_TP, b * cos_TP - a * sin_TP), dim=-1).flatten(-2)
        return torch.cat((turned, rest), dim=-1)

    patch.setattr(attention, "rotate", rotate)
    return filled(GPT(CHECKED))


MISTAKES = {
    "each layer in a row, 3 3 3 4 4 4 5 5 5": in_another_order(0, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 7, 8, 9, 10),
    "two passes": changed(recurrence_passes=2),
    "the gate on the skip instead of the stream": with_gates_swapped,
    "a sum instead of the gate": with_skips_added,
    "the scale of a block by its place": with_scales_by_place,
    "parallel one layer too early": changed(parallel_from=6),
    "parallel one layer too late": changed(parallel_from=8),
    "no parallel layers": changed(parallel_from=None),
    "no scale by depth": changed(ln_scale=False),
    "exclusion in all layers but the last": changed(xsa_layers=tuple(range(10))),
    "an epsilon of 1e-5": changed(norm_eps_bf16_input=1e-5),
    "another slope": changed(mlp_slope=0.25),
    "neighbouring channels rotated": with_rotation_of_neighbours,
    "a rotary base raised for long rows": changed(rope_reference_length=32),
    "a smaller cap": changed(logit_softcap=15.0),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_every_single_mistake_shows_in_the_logits(mistake, monkeypatch):
    right = logits_of(filled(GPT(CHECKED)))
    wrong = logits_of(mistake(monkeypatch))
    assert (wrong - right).abs().max().item() > 1.5e-3


def test_initial_weights_are_those_of_the_original_program_at_full_size():
    state = initial_model(PUBLISHED_1493, 42).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 35_944_536
    table = state["tok_emb.weight"]
    assert table.dtype == torch.bfloat16
    assert f"{table.double().sum().item():.6f}" == "-9.958055"
    for tensor, first_three in (
        (table, (-0.00104523, -0.000124931, 0.0117798)),
        (state["blocks.0.attn.c_q.weight"], (-0.0197754, 0.00830078, -0.00311279)),
        (state["blocks.10.mlp.fc.weight"], (-0.0127563, -0.012451, 0.00445557)),
    ):
        assert tensor[0, :3].tolist() == pytest.approx(
            first_three, rel=2e-5
        )  # bfloat16 values are 2^-8 of themselves apart
    assert state["blocks.3.attn.q_gain"].tolist() == [5.25] * 8
    assert not state["skip_gates"].any()
    assert (state["skip_weights"] == 1).all()


def test_its_rotary_frequencies_are_bfloat16_and_its_positions_exact():
    """The angle of position t is t times the rounded frequency: at 2047 the second one is 0.37 off the exact angle."""
    frequencies = (
        *(1, 0.31640625, 0.10009765625, 0.03173828125, 0.010009765625),
        *(0.0031585693359375, 0.00099945068359375, 0.000316619873046875),
    )
    cos_TP, sin_TP = rotation_tables(2048, 10_000.0, 16, torch.device("cpu"), "bfloat16")
    for t in (0, 1, 1025, 2047):
        for pair, frequency in enumerate(frequencies):
            # float32 angles up to 2047 are good to 1e-4
            assert cos_TP[t, pair].item() == pytest.approx(math.cos(t * frequency), abs=2e-4)
            assert sin_TP[t, pair].item() == pytest.approx(math.sin(t * frequency), abs=2e-4)
    assert abs(2047 * (10_000 ** (-1 / 8) - frequencies[1])) == pytest.approx(0.37, abs=0.01)
