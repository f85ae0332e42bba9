"""Digests of tensors: what they tell apart. Under torchrun: tests/ranks/test_lost_ranks.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import RanksDiffer
from pgolf.ranks.agreement import _digest, refuse_difference
from pgolf.ranks.group import Ranks

FORMATS = {
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
    torch.int64: torch.int64,
}


@given(st.sampled_from(list(FORMATS)), st.integers(1, 40), st.data())
def test_any_one_bit_and_any_two_exchanged_values_change_the_digest(dtype, size, data):
    tensor = torch.arange(size).to(dtype)
    place = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 8 * tensor.element_size() - 2))
    changed = tensor.clone()
    changed.view(FORMATS[dtype])[place] ^= 1 << bit
    assert not torch.equal(_digest(changed), _digest(tensor))
    if size > 1:
        other = (place + data.draw(st.integers(1, size - 1))) % size
        exchanged = tensor.clone()
        exchanged[[place, other]] = tensor[[other, place]]
        assert not torch.equal(_digest(exchanged), _digest(tensor))
    assert torch.equal(_digest(tensor.clone()), _digest(tensor))


class Beside(Ranks):
    """Rank 0 of four, the others of which hold other tensors."""

    def holding(self, *others):
        object.__setattr__(self, "others", others)
        return self

    def gather(self, part):
        return torch.cat([part, *(torch.stack([_digest(each) for each in other])[None] for other in self.others)])


class Open(Beside):
    __slots__ = ("others",)


def test_the_first_tensor_that_differs_is_named_with_the_ranks_on_either_side():
    ones, nan, none = torch.ones(3), torch.tensor(float("nan")), torch.empty(0)
    named = {"ones": ones, "nan": nan, "none": none}
    equal = (ones.clone(), nan.clone(), none)
    refuse_difference(named, Open(0, 4).holding(equal, equal, equal), "now")
    other = (ones, -nan, none)
    with pytest.raises(RanksDiffer, match=r"^now: nan of ranks 1, 3 differs from that of ranks 0, 2, and"):
        refuse_difference(named, Open(0, 4).holding(other, equal, other), "now")
    with pytest.raises(RanksDiffer, match=r"^now: ones of rank 3 differs from that of ranks 0, 1, 2, and"):
        refuse_difference(named, Open(0, 4).holding(equal, equal, (ones * 2, -nan, none)), "now")
