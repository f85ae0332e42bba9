"""A training step of every system at full size on a fake GPU, as one of eight ranks."""

import pytest

from pgolf.model.flops import attention_multiply_adds, matrix_multiply_adds
from pgolf.recipes.catalog import recipe_named
from tests.fake_gpu.child import traced
from tests.fake_gpu.documented import number, table

SYSTEMS = ("pr715", "pr745", "pr792", "pr1493")
MIB = 1 << 20
TOKENS = 786_432 // 8

# Elements, from the parameter counts of the published logs: the bfloat16 tables; all else but the value mix of layer 0,
# which has no gradient; the matrices that Muon steps, or its banks padded to a multiple of 8 matrices.
ALL_REDUCE, SCATTER, GATHER = "allreduce", "reduce_scatter_base", "allgather_base"
LOSS_AND_NORM = (ALL_REDUCE, "cuda", "float32", 2, 8)
CLOCK_AND_END = (ALL_REDUCE, "cpu", "float64", 2, 8)
BANKS = (24 * 512 * 512, 24 * 256 * 512, 16 * 1536 * 512, 16 * 512 * 1536)
COLLECTIVES = {
    "pr715": [
        (ALL_REDUCE, "cuda", "bfloat16", 1_048_576, 8),
        (ALL_REDUCE, "cuda", "float32", 27_137_223 - 1_048_576 - 2, 8),
        LOSS_AND_NORM,
        (ALL_REDUCE, "cuda", "bfloat16", 25_952_256 + 65_536, 8),
        CLOCK_AND_END,
    ],
    "pr745": [
        (ALL_REDUCE, "cuda", "bfloat16", 917_504, 8),
        (ALL_REDUCE, "cuda", "float32", 27_051_758 - 917_504 - 25_952_256 - 2, 8),
        LOSS_AND_NORM,
        *((name, "cuda", "bfloat16", size, 8) for size in BANKS for name in (SCATTER, GATHER)),
        CLOCK_AND_END,
    ],
    "pr792": [
        (ALL_REDUCE, "cuda", "bfloat16", 917_504, 8),
        (ALL_REDUCE, "cuda", "float32", 26_993_756 - 917_504, 8),
        LOSS_AND_NORM,
        (ALL_REDUCE, "cuda", "bfloat16", 25_952_256 + 65_536 + 32_768, 8),
        CLOCK_AND_END,
    ],
    "pr1493": [
        (ALL_REDUCE, "cuda", "bfloat16", 4_194_304, 8),
        (ALL_REDUCE, "cuda", "float32", 35_944_536 - 4_194_304, 8),
        LOSS_AND_NORM,
        (ALL_REDUCE, "cuda", "bfloat16", 31_719_424, 8),
        CLOCK_AND_END,
    ],
}
WAITED = ["train.loop._Launched.finished"]
READ = 2 * [["train.loop._finite", "cpu"]] + 2 * [["ranks.group.Ranks.largest", "cpu"]]


# Operators that raise on CUDA under deterministic algorithms, by the beginnings of their names. Source: the calls of
# alertNotDeterministic in ATen; torch.use_deterministic_algorithms lists them by their public names. Left out are those
# that do so for some arguments alone, none of them a step's: embedding bags with mode "max", resize_ of quantized ones.
REFUSING = (
    *("avg_pool3d_backward", "_adaptive_avg_pool", "adaptive_max_pool", "fractional_max_pool", "max_unpool"),
    *("upsample_", "grid_sampler_", "reflection_pad", "nll_loss2d", "_ctc_loss_backward", "put_", "histc"),
    *("bincount", "kthvalue", "median", "nanmedian", "cumsum", "cumprod", "scatter_reduce"),
    *("_efficient_attention_backward", "_scaled_dot_product_efficient_attention_backward"),
    "_scaled_dot_product_cudnn_attention_backward",
)


@pytest.fixture(scope="module")
def found():
    return traced("training_trace")


@pytest.mark.parametrize("name", ["pr638", "pr761"])
def test_the_other_two_systems_have_the_shapes_of_715(name):
    """So its trace is theirs."""
    mine, other = recipe_named(name), recipe_named("pr715")
    assert mine.model == other.model.model_copy(update={"mlp_slope": mine.model.mlp_slope})
    stop = {"steps", "clock_limit_s", "warmdown_steps"}
    assert mine.train.model_dump(exclude=stop) == other.train.model_dump(exclude=stop)


@pytest.mark.parametrize("name", SYSTEMS)
def test_both_ends_of_the_node_take_part_in_the_same_collectives(found, name):
    """A rank that asks for one more, or for another size, would wait for the others forever."""
    first = found["systems"][name]["collectives"]
    assert [tuple(each) for each in first] == COLLECTIVES[name]
    if name in found["last rank"]:  # the optimizers of the others are those of #715
        assert found["last rank"][name]["collectives"] == first
    sent_bytes = sum(each[3] * (2 if each[2] == "bfloat16" else 4) for each in COLLECTIVES[name][:-1])
    documented = table("Collectives of a step")[f"#{name[2:]}"]
    assert (len(COLLECTIVES[name]) - 1, sent_bytes / MIB) == (
        number(documented[0]),
        pytest.approx(number(documented[1]), abs=0.05),
    )


def test_no_operator_of_a_step_refuses_deterministic_mode_in_which_recipes_that_stop_by_steps_train(found):
    operators = {name for trace in found["systems"].values() for name in trace["operators"]}
    operators |= set(found["options"]["operators"])
    assert {"nll_loss_forward.default", "embedding_dense_backward.default"} < operators
    assert [name for name in operators if name.startswith(REFUSING)] == []


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_step_reads_values_back_in_one_place_after_one_wait(found, name):
    """Loss and norm are copied without blocking and read when the step's event has passed; a trace that reads a value
    on the device fails at once.
    """
    for rank in ("systems", "last rank"):
        step = found[rank].get(name)
        assert step is None or (step["waits"], step["read_back"]) == (WAITED, READ)


@pytest.mark.parametrize("name", SYSTEMS)
def test_at_the_end_the_ranks_compare_two_numbers_of_every_tensor_and_read_one_answer(found, name):
    (end,) = found["systems"][name]["compared"]
    ((operation, *where, elements, ranks),) = end["collectives"]
    assert (operation, where, ranks) == (GATHER, ["cuda", "int64"], 8)
    assert elements % (2 * 8) == 0
    assert end["read_back"] == [["ranks.agreement.refuse_difference", "cuda"]]
    last = found["last rank"].get(name)
    assert last is None or last["compared"] == [end]


@pytest.mark.parametrize("name", SYSTEMS)
def test_attention_is_flash_attention_in_both_directions(found, name):
    layers = recipe_named(name).model.executed_layers
    kernels = {each: count for each, count in found["systems"][name]["operators"].items() if "attention" in each}
    flash = "_scaled_dot_product_flash_attention"
    assert kernels == {f"{flash}.default": layers, f"{flash}_backward.default": layers}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_models_arithmetic_is_what_torch_counts_at_full_size(found, name):
    """torch counts the whole square of an attention, twice what is causal, and the scores that flash attention's
    backward pass computes again: 5 products instead of 4.
    """
    model, counted = recipe_named(name).model, found["systems"][name]["flops"]
    matrices, causal = 2 * TOKENS * matrix_multiply_adds(model), 2 * TOKENS * attention_multiply_adds(model, 2048)
    assert counted["mm"] + counted.get("addmm", 0) == 3 * matrices
    forward = counted["_scaled_dot_product_flash_attention"]
    assert forward * (2048 + 1) == 2 * 2048 * causal
    assert counted["_scaled_dot_product_flash_attention_backward"] * 2 == forward * 5
    muon = counted["bmm"] + counted.get("baddbmm", 0)
    documented = table("Arithmetic of a step")[f"#{name[2:]}"]
    teraflops = [3 * matrices / 1e12, 3 * causal / 1e12, 3 * forward / 1e12 * 7 / 6, muon / 1e12]
    assert [number(cell) for cell in documented[:4]] == pytest.approx(teraflops, abs=0.005)


@pytest.mark.parametrize("name", SYSTEMS)
def test_memory_without_the_compiler(found, name):
    """Weights have the bytes of the published state files; the rest is what docs/gpu.md says."""
    raw = {"pr715": 106_451_740, "pr745": 106_372_024, "pr792": 106_140_016, "pr1493": 135_389_536}[name]
    traced_bytes = found["systems"][name]
    assert raw <= traced_bytes["weights_bytes"] < raw + 512 * 250  # every tensor is rounded up to 512
    documented = [number(cell) for cell in table("Memory of a training step")[f"#{name[2:]}"][:2]]
    assert documented == pytest.approx([traced_bytes[key] / MIB for key in ("state_bytes", "peak_bytes")], rel=0.01)


def test_priming_exchanges_what_a_step_does_and_leaves_nothing(found):
    """All but the loss and the clock, which nobody asks for; late QAT adds a pass without a step."""
    primed = found["options"]["priming"]
    assert [tuple(each) for each in primed["collectives"]] == [
        each for each in COLLECTIVES["pr745"] if each not in (LOSS_AND_NORM, CLOCK_AND_END)
    ]
    assert (primed["read_back"], primed["waits"], primed["left_bytes"]) == ([], [], 0)


def test_rounding_penalty_and_snapshots_read_nothing_back(found):
    """Late QAT, CROWN-Q and the mean of snapshots of the average, in a step with a checkpoint behind it."""
    step = found["options"]["step and checkpoint"]
    assert [tuple(each) for each in step["collectives"]] == COLLECTIVES["pr745"]
    assert (step["read_back"], step["waits"]) == (READ, [*WAITED, "train.checkpoints.Checkpoints.keep"])
    # Six matrices in eleven layers, in two passes of priming and two steps, recurrent ones twice: all rounded.
    assert found["options"]["operators"]["round.default"] == 3 * 6 * 13


def test_the_ranks_confirm_a_checkpoint_on_the_host(found):
    """In the next step: whether all have written, then size and digest of each file."""
    extra = [each for each in found["options"]["last step"]["collectives"] if tuple(each) not in COLLECTIVES["pr745"]]
    assert extra == [[ALL_REDUCE, "cpu", "float64", 1, 8], [GATHER, "cpu", "uint8", 8 * (8 + 32), 8]]


def test_the_ranks_copy_every_tensor_of_the_state_once_to_the_host(found):
    parts = found["parts"]
    shared, copied = parts["0"]["shared"], {}
    for rank, part in parts.items():
        assert part["shared"] == shared
        for name, (device, size_bytes) in part["copied"].items():
            assert device == "cpu"
            if name.startswith("own."):
                assert size_bytes == parts[rank]["own"][name.removeprefix("own.")]
            else:
                assert name not in copied, "written by two ranks"
                copied[name] = size_bytes
    assert copied == {f"shared.{name}": size_bytes for name, size_bytes in shared.items()}
