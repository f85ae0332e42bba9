"""Names that wrappers of torch put before a network's own: those that torch itself makes, in every nesting."""

import pytest
import torch
from torch import nn

from pgolf.errors import DataError
from pgolf.model.published import from_published, to_published
from pgolf.model.wrapper_names import without_wrappers
from tests.model.networks import SMALL, perturbed_model


def compiled(module):
    return torch.compile(module, backend="eager")  # compiles at its first call, which never comes


def blocks_compiled(module):
    for layer, block in enumerate(module.blocks):
        module.blocks[layer] = compiled(block)
    return module


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (compiled, ("_orig_mod.",)),
        (nn.DataParallel, ("module.",)),  # names as DistributedDataParallel does, and needs no process group
        (lambda module: nn.DataParallel(compiled(module)), ("module.", "_orig_mod.")),
        (lambda module: compiled(nn.DataParallel(module)), ("_orig_mod.", "module.")),
        (blocks_compiled, ("_orig_mod.",)),
        (lambda module: module, ()),
    ],
)
@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL.keys())
def test_a_wrapped_networks_state_is_the_networks_own(config, wrapped, said):
    own = perturbed_model(config).state_dict()
    bare, dropped = without_wrappers(wrapped(perturbed_model(config)).state_dict())
    assert dropped == said
    assert list(bare) == list(own)
    assert all(torch.equal(bare[name], own[name]) for name in own)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_fsdp_wrapped_module."])
def test_published_banks_may_be_wrapped_too(prefix):
    config = SMALL["745"]
    own = perturbed_model(config).state_dict()
    published = {prefix + name: tensor for name, tensor in to_published(config, own).items()}
    state = from_published(config, without_wrappers(published)[0])
    assert all(torch.equal(state[name], own[name]) for name in own)


def test_two_states_in_one_file_are_refused_by_both_names():
    with pytest.raises(DataError, match=r"a\.weight and module\.a\.weight are both a\.weight"):
        without_wrappers({"a.weight": 1, "module.a.weight": 2})
    with pytest.raises(DataError, match="two states in one"):
        without_wrappers({"_orig_mod.a": 1, "module.a": 2})


def test_a_name_that_only_begins_alike_is_left_alone():
    assert without_wrappers({"modules.a": 1, "a._orig_module": 2}) == ({"modules.a": 1, "a._orig_module": 2}, ())
