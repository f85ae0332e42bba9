"""Calibration at full size on a fake GPU."""

import pytest

from pgolf.recipes.catalog import recipe_named
from tests.fake_gpu.child import traced
from tests.fake_gpu.documented import number, table

FLASH = "_scaled_dot_product_flash_attention"


@pytest.fixture(scope="module")
def found():
    return traced("calibration_trace")


@pytest.mark.parametrize(("system", "layers", "maps"), [("pr745", 13, 68), ("pr792", 11, 68), ("pr1493", 17, 67)])
def test_hessians_are_summed_on_the_device_and_end_on_the_host(found, system, layers, maps):
    trace = found[system]
    assert (trace["read_back"], trace["waits"], trace["collectives"]) == ([], [], [])
    assert len(trace["means"]) == maps
    for name, (device, dtype, rows, columns) in trace["means"].items():
        inputs = 128 if name.startswith(("bigram", "ve_shared")) else 512
        if name.endswith("mlp.proj.weight"):
            inputs = recipe_named(system).model.mlp_width
        assert (device, dtype, rows, columns) == ("cpu", "torch.float32", inputs, inputs), name
    assert trace["operators"][f"{FLASH}.default"] == layers


def test_the_losss_curvature_waits_once_per_table_and_part(found):
    """`bincount` asks the device for the largest token: two tables in each of two parts of 8 rows."""
    trace = found["sensitivities"]
    assert trace["read_back"] == []
    assert trace["waits"] == 4 * ["quant.sensitivity.Sensitivities._watch_table.<locals>.hook"]
    assert trace["operators"][f"{FLASH}_backward.default"] == 2 * 11
    assert trace["means"]["tok_emb.weight.rows"] == ["cpu", "torch.float32", 1024]


@pytest.mark.parametrize("name", ["pr745", "pr792", "pr1493"])
def test_memory_of_a_batch(found, name):
    documented = number(table("Memory of what runs uncompiled")[f"calibration #{name[2:]}"][1])
    assert found[name]["peak_bytes"] / 2**20 == pytest.approx(documented, rel=0.01)
