"""The collectives check, with the other rank's part played here: what it sends is known from its seed."""

import pytest
import torch

from pgolf.ranks.group import Ranks
from pgolf.selftest import collectives_check as check
from pgolf.selftest.check import Place
from pgolf.selftest.collectives_check import judge, measure

CPU = torch.device("cpu")
OTHER = 1


class Played(Ranks):
    """Rank 0 of two. dtype: what its sums are computed in; None: in that of the tensor."""

    dtype = None

    def __init__(self):
        super().__init__(0, 2)

    def _other(self, like):
        return check._drawn(OTHER, 2).to(like.dtype)

    def sum(self, tensor):
        how = self.dtype or tensor.dtype
        tensor.copy_((tensor.to(how) + self._other(tensor).to(how)).to(tensor.dtype))

    def mean_gradients(self, parameters):
        for parameter in parameters:
            self.sum(parameter.grad)
            parameter.grad /= 2

    def mean_part(self, stack):
        self.sum(stack)
        return self.part(stack) / 2

    def gather(self, part):
        return torch.cat([part, self._other(part)[len(part) :]])

    def share(self, tensor, owner):
        if owner == OTHER:
            tensor.copy_(self._other(tensor))

    def largest(self, *values):
        return (max(values[0], 1.0), max(values[1], -1.0))


class SumsInBfloat16(Played):
    dtype = torch.bfloat16


class SharesItsOwn(Played):
    def share(self, tensor, owner):
        pass


class GathersInAnotherOrder(Played):
    def gather(self, part):
        return torch.cat([self._other(part)[len(part) :], part])


class ForgetsToDivide(Played):
    def mean_part(self, stack):
        self.sum(stack)
        return self.part(stack)


class ScattersInBfloat16(Played):
    def mean_part(self, stack):
        return super().mean_part(stack.bfloat16()).to(stack.dtype)


def verdict(ranks):
    return judge([measure(Place(ranks, CPU, None))] * 2)


def test_right_sums_pass():
    assert verdict(Played()).passed


@pytest.mark.parametrize(
    ("ranks", "named"),
    [
        (SumsInBfloat16, "in float32"),
        (SharesItsOwn, "broadcast from rank 1"),
        (GathersInAnotherOrder, "gather"),
        (ForgetsToDivide, "reduce-scatter"),
        (ScattersInBfloat16, "reduce-scatter in float32"),
    ],
)
def test_a_wrong_operation_fails_and_is_named(ranks, named):
    found = verdict(ranks())
    assert not found.passed
    assert named in found.said
