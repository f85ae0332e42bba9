import pytest
from pydantic import ValidationError

from pgolf.model.config import ModelConfig


def test_the_defaults_are_those_of_715():
    config = ModelConfig()
    assert (config.head_dim, config.kv_width, config.encoder_layers) == (64, 256, 5)
    assert config.xsa_layer_set == set(range(11))
    assert (config.mlp_slope, config.bigram_buckets, config.norm_eps_bf16_input) == (0.5, 4096, 2**-23)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 500}, "width 500 is not a multiple of heads 8"),
        ({"kv_heads": 3}, "heads 8 is not a multiple of kv_heads 3"),
        ({"rope_dims": 15}, "rope_dims 15 must be even"),
        ({"rope_dims": 66}, "at most a head's width / heads = 64"),
        ({"value_embedding_layers": (9, 11)}, r"value_embedding_layers \(9, 11\) must rise strictly within 0..10"),
        ({"xsa_layers": (3, 2)}, r"xsa_layers \(3, 2\) must rise"),
        ({"wdith": 512}, "Extra inputs are not permitted"),
    ],
)
def test_fields_that_do_not_fit_are_refused_with_the_numbers(fields, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**fields)


def test_a_config_survives_json():
    config = ModelConfig(value_embedding_layers=(9, 10), xsa_layers=(), norm_eps_bf16_input=2**-7)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
