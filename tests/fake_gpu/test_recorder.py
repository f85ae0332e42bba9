"""What a trace on the fake node finds: one fault after another in a step that is otherwise the product's."""

import pytest

from tests.fake_gpu.child import traced


@pytest.fixture(scope="module")
def found():
    return traced("faults_trace")


def test_the_sound_step_has_none_of_them(found):
    sound = found["none"]
    assert (sound["waits"], sound["equal"]) == (["train.loop._Launched.finished"], True)
    assert found["world"] == [3, 8, 3]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("read_on_the_device", "reads a value of a torch.bool tensor on cuda:0"),
        ("branch_in_the_loss", "reads a value of a torch.bool tensor on cuda:0"),
        ("average_on_the_host", "_foreach_add_.List of tensors on ['cpu', 'cuda:0']"),
        ("wrong_dtype", "mm.default of {torch."),
    ],
)
def test_faults_that_end_a_trace(found, fault, said):
    assert said in found[fault]["error"]


def test_faults_that_a_trace_lists(found):
    assert len(found["blocking_copy"]["waits"]) == 2
    assert found["one_rank_alone"]["equal"] is False
    logits_bytes = 48 * 2048 * 1024 * 4
    assert found["two_copies_of_the_logits"]["peak_bytes"] >= found["none"]["peak_bytes"] + logits_bytes


def test_memory_is_counted_by_storage_in_blocks_of_512_bytes_and_freed(found):
    assert found["memory"] == [4096, 4096, 4608, 512, 4608]
