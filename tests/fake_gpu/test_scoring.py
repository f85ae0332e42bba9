"""Scoring at full size on a fake GPU."""

import pytest

from tests.fake_gpu.child import traced
from tests.fake_gpu.documented import number, table

SYSTEMS = {"pr715": 11, "pr745": 13, "pr792": 11, "pr1493": 17}  # executed layers; #638, #761 are as #715


@pytest.fixture(scope="module")
def found():
    return traced("scoring_trace")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_layer_of_every_batch_is_flash_attention_also_for_the_last_positions(found, name):
    """The last block computes 64 of 2,048 queries of a window, and attention has no square of numbers anywhere."""
    operators = found[name]["operators"]
    kernels = {each: count for each, count in operators.items() if "attention" in each}
    batches = operators["cumsum.default"]
    assert batches > 1
    assert kernels == {"_scaled_dot_product_flash_attention.default": SYSTEMS[name] * batches}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_host_waits_only_for_results_already_sent(found, name):
    """Nothing is read back, and the one wait per batch is for the event behind its copy."""
    plan, copies = found[name]["waits"][:4], found[name]["waits"][4:]
    assert set(plan) == {"eval.forward.WindowPass.__init__.<locals>.<genexpr>"}
    assert copies == ["eval.forward._pipelined_copies"] * found[name]["operators"]["cumsum.default"]
    assert (found[name]["read_back"], found[name]["collectives"]) == ([], [])


@pytest.mark.parametrize("name", SYSTEMS)
def test_memory_of_a_batch(found, name):
    windows, peak_mib = (number(cell) for cell in table("Memory of what runs uncompiled")[f"scoring #{name[2:]}"])
    assert found[name]["windows"] == windows
    assert found[name]["peak_bytes"] / 2**20 == pytest.approx(peak_mib, rel=0.01)
