import pytest
from pydantic import ValidationError

from pgolf.model.config import ModelConfig
from pgolf.train.config import TrainConfig


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
        (
            {"recurrence": (4, 6)},
            r"recurrence \(4, 6\) has gaps or is out of order.* consecutive layers, e.g. \(4, 5\)",
        ),
        ({"recurrence": (5, 4)}, r"recurrence \(5, 4\) has gaps or is out of order"),
        ({"recurrence": (4, 4)}, r"recurrence \(4, 4\) has gaps or is out of order"),
        ({"recurrence": (10, 11)}, r"recurrence \(10, 11\) must lie within 0..10, the physical layers"),
        ({"recurrence": (-1, 0)}, r"recurrence \(-1, 0\) must lie within 0..10"),
        ({"recurrence": (4, 5), "xsa_layers": (12, 13)}, r"xsa_layers \(12, 13\) must rise strictly within 0..12"),
        ({"recurrence": (3, 4, 5), "recurrence_passes": 0}, "recurrence_passes\n.*greater than or equal to 1"),
        ({"recurrence": (3, 5), "recurrence_shares": "blocks"}, r"recurrence \(3, 5\) has gaps"),
        (
            {"recurrence": (3, 4, 5), "recurrence_shares": "blocks", "xsa_layers": (10, 11)},
            r"xsa_layers \(10, 11\) must rise strictly within 0..10, the physical layers",
        ),
        ({"parallel_from": 11}, r"parallel_from 11 must lie within 0..10, the executed layers; null: none is parallel"),
        (
            {"recurrence": (3, 4, 5), "recurrence_shares": "blocks", "parallel_from": 11},
            r"parallel_from 11 must lie within 0..10, the physical layers",
        ),
        ({"parallel_from": -1}, "parallel_from\n.*greater than or equal to 0"),
        ({"bigram_buckets": 1}, "bigram_buckets 1 has no row but that of first positions; write 2 or more, or 0: no"),
        ({"wdith": 512}, "Extra inputs are not permitted"),
    ],
)
def test_fields_that_do_not_fit_are_refused_with_the_numbers(fields, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**fields)


@pytest.mark.parametrize(
    ("recurrence", "passes", "order"),
    [
        ((), 2, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
        ((4, 5), 2, (0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10)),
        ((0,), 2, (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
        ((9, 10), 2, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10)),
        ((3, 4, 5), 3, (0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10)),
        ((4, 5), 1, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    ],
)
def test_recurring_layers_run_again_right_after_the_last_of_them(recurrence, passes, order):
    config = ModelConfig(recurrence=recurrence, recurrence_passes=passes)
    assert config.physical_layers == order
    assert (config.executed_layers, config.encoder_layers) == (len(order), len(order) // 2)
    assert config.xsa_layer_set == set(range(len(order)))
    shared = ModelConfig(recurrence=recurrence, recurrence_passes=passes, recurrence_shares="blocks")
    assert (shared.physical_layers, shared.blocks, shared.xsa_layer_set) == (order, 11, set(range(11)))


def test_a_config_survives_json():
    config = ModelConfig(recurrence=(4, 5), value_embedding_layers=(9, 10), xsa_layers=(), norm_eps_bf16_input=2**-7)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("field", ["width", "layers", "mlp_width", "bigram_buckets", "rope_reference_length"])
@pytest.mark.parametrize("size", [1 << 30, 10**4000])
def test_a_size_that_no_network_has_is_refused_before_anything_is_reckoned_with_it(field, size):
    with pytest.raises(ValidationError, match="less than or equal to"):
        ModelConfig(**{field: size})


def test_a_number_of_more_than_63_bits_is_refused_in_any_config():
    for train in ({"steps": 1 << 63}, {"steps": 10**4000}):
        with pytest.raises(ValidationError, match=r"steps has [0-9,]+ bits, a number has at most 63"):
            TrainConfig(**train)
