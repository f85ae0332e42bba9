"""Test-time training at full size on a fake GPU."""

import pytest

from tests.fake_gpu.child import traced
from tests.fake_gpu.documented import number, table

TIMED = "ranks.devices.seconds_when_done"  # around the learning of a chunk
FLASH = "_scaled_dot_product_flash_attention"
CLIPPING, ADAM = ["eval.ttt.Learner.learn", "cuda"], ["eval.ttt.Learner.learn", "cpu"]


@pytest.fixture(scope="module")
def found():
    return traced("learning_trace")


def kernels(trace):
    return {each: count for each, count in trace["operators"].items() if "attention" in each}


def test_all_ranks_broadcast_the_gradients_of_their_parts_in_one_order(found):
    """Eight parts of the published chunk, one per rank; #745 learns 31,770,350 parameters, as its log says."""
    first, last, other = found["pr745"], found["pr745, last rank"], found["pr761"]
    assert first["collectives"] == 8 * [["broadcast", "cuda", "float32", 31_770_350, 8]] == last["collectives"]
    # All that #1493 has, in groups of two rows.
    assert found["pr1493"]["collectives"] == 8 * [["broadcast", "cuda", "float32", 35_944_536, 8]]
    # #761 without its first two blocks; the value mix of block 0 is frozen with it.
    frozen = 2 * (2_359_296 + 6_162)
    assert other["collectives"] == 8 * [["broadcast", "cuda", "float32", 27_137_223 - frozen, 8]]


@pytest.mark.parametrize(("name", "layers"), [("pr745", 13), ("pr745, last rank", 13), ("pr761", 11), ("pr1493", 17)])
def test_a_step_reads_back_the_norm_alone(found, name, layers):
    """And AdamW its own counters on the host, one per parameter. The host waits for one copy of tokens per part."""
    reads = found[name]["read_back"]
    assert reads[0] == CLIPPING
    assert reads[1:] == [ADAM] * (123 if name == "pr761" else 0)
    assert found[name]["waits"] == [TIMED, "eval.ttt.Learner._gradients", TIMED]
    assert kernels(found[name]) == {f"{FLASH}.default": layers, f"{FLASH}_backward.default": layers}


def test_adapters_learn_a_document_without_reading_back(found):
    """Two chunks and one with a whole window before it: three passes forward, two backward; 67 adapters of two factors,
    whose AdamW counts on the host.
    """
    lora = found["lora"]
    assert lora["read_back"] == [["eval.lora.DocumentPass._columns", "cpu"]] * 2 * 67
    assert lora["waits"] == ["eval.forward._pipelined_copies"]
    assert kernels(lora) == {f"{FLASH}.default": 3 * 11, f"{FLASH}_backward.default": 2 * 11}
    sides = 11 * (2 * (512 + 512) + 2 * (512 + 256) + 2 * (512 + 1536)) + 512 + 1024
    assert lora["learned"] == 96 * sides


@pytest.mark.parametrize(
    ("name", "row"),
    [("pr745", "learning #745"), ("pr761", "learning #761"), ("pr1493", "learning #1493"), ("lora", "LoRA")],
)
def test_memory_of_a_step(found, name, row):
    documented = number(table("Memory of what runs uncompiled")[row][1])
    assert found[name]["peak_bytes"] / 2**20 == pytest.approx(documented, rel=0.01)
