"""Sizes by arithmetic against those printed in the published logs, and against the network itself."""

import pytest
import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.parameter_count import parameter_count
from pgolf.model.untie import untie
from tests.model.networks import PUBLISHED, SMALL


@pytest.mark.parametrize(
    ("name", "parameters", "tensors", "size_bytes"),
    [
        ("715", 27_137_223, 149, 106_451_740),
        ("745", 27_051_758, 106 - 4 + 66, 106_372_024),  # its four banks hold the matrices of eleven layers
        ("792", 26_993_756, 121, 106_140_016),
        ("1493", 35_944_536, 1 + 2 + 11 * (4 + 6), 2 * 8192 * 512 + 4 * (35_944_536 - 8192 * 512)),
    ],
)
def test_published_sizes_come_out(name, parameters, tensors, size_bytes):
    """Parameters as printed in the logs; tensors and their bytes as in the state files, where tables are bfloat16."""
    config = PUBLISHED[name]
    with torch.device("meta"):
        model = GPT(config)
    assert parameter_count(config) == parameters
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == tensors
    assert sum(p.numel() * p.element_size() for p in model.parameters()) == size_bytes


def test_untied_745_has_the_published_number_of_trainable_parameters():
    """Two more layers of matrices: 27,051,758 + 2 · 2,359,296; the small tensors were untied all along."""
    config = PUBLISHED["745"]
    with torch.device("meta"):
        state = GPT(config).state_dict()
    untied_config, untied = untie(config, state)
    assert parameter_count(untied_config) == 31_770_350
    assert sum(tensor.numel() for tensor in untied.values()) == 31_770_350


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL.keys())
def test_the_arithmetic_equals_the_network_at_other_sizes(config):
    for fields in ({}, {"layers": 6, "value_embedding_layers": ()}, {"mlp_width": 7, "width": 36, "rope_dims": 4}):
        other = ModelConfig.model_validate(config.model_dump() | fields)
        assert parameter_count(other) == sum(p.numel() for p in GPT(other).parameters())
