"""What the quantizer takes for granted of its plans."""

from dataclasses import replace

import pytest
import torch

from pgolf.pack.config import CompressConfig
from pgolf.pack.downgrade import rung_plan
from pgolf.pack.quantizer import Quantizer
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
