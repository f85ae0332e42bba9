"""The other checks, each with the fault that it is for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pgolf.model import attention, kernels
from pgolf.quant.hessian import InputHessians
from pgolf.ranks.group import Ranks
from pgolf.recipes.systems import pr715, pr792, tiny
from pgolf.selftest import (
    attention_check,
    compiled_check,
    equal_ranks_check,
    evaluation_check,
    full_size,
    full_step_check,
    hessian_check,
    resumed_check,
    shared_score_check,
)
from pgolf.selftest.check import Check, Place, Verdict
from pgolf.selftest.checks import all_checks
from pgolf.selftest.exercised import exercised_network
from pgolf.train.checkpoints import Checkpoints
from tests.selftest.test_formats import on_cuda


@pytest.fixture
def alone(tmp_path) -> Place:
    """The only rank, on a CPU."""
    return Place(Ranks(), torch.device("cpu"), tmp_path)


def test_every_check_has_its_own_name_and_says_what_it_proves_what_a_failure_means_and_what_to_do():
    checks = all_checks()
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.proves and check.means and check.remedy for check in checks)
    assert [check.name for check in checks if check.needs_gpu and check.name.startswith("step")] == [
        "step pr715",
        "step pr745",
        "step pr792",
    ]
    assert not [check for check in all_checks(toy=True) if check.name.startswith("step") and check.needs_gpu]


@pytest.mark.parametrize(
    ("needs", "on_gpu", "ranks", "why"),
    [
        ({"needs_gpu": True}, False, 2, "skipped: no GPU"),
        ({"needs_gpu": True}, True, 1, None),
        ({"needs_ranks": True}, True, 1, "skipped: it takes two ranks, and there is one device"),
        ({"needs_ranks": True}, False, 2, None),
    ],
)
def test_what_cannot_run_here_is_skipped_and_not_passed(needs, on_gpu, ranks, why):
    check = Check(name="a", proves="b", measure=dict, judge=lambda _: Verdict(True, ""), means="c", remedy="d", **needs)
    assert check.cannot_run(on_gpu=on_gpu, ranks=ranks) == why


SIZES = [(full.__name__, tiny(full()).model, 128, 32) for full in (pr715, pr792)]


def test_attention_names_the_kernel_of_every_shape_and_keeps_to_its_limit(alone, monkeypatch):
    monkeypatch.setattr(attention_check, "precision_for", on_cuda)
    numbers = attention_check.measure(alone, SIZES)
    assert attention_check.judge([numbers]).passed
    assert 0 < numbers["error"] < numbers["limit"]
    assert {
        numbers["kernels"][f"{name} {shape}"] for name in ("pr715", "pr792") for shape in ("training", "window")
    } == {"flash"}
    with sdpa_kernel(SDPBackend.MATH):
        slow = attention_check.measure(alone, SIZES)
    verdict = attention_check.judge([slow])
    assert not verdict.passed
    assert "without a fused kernel: pr715 training, pr715 window" in verdict.said
    assert not attention_check.judge([numbers, {**numbers, "kernels": {}}]).passed


def test_no_suffix_is_asked_for_in_float32_which_the_kernel_of_suffixes_cannot_do(alone, monkeypatch):
    monkeypatch.setattr(attention_check, "precision_for", on_cuda)
    asked = []

    def noted(q, k, v):
        asked.append((q.dtype, q.shape[2] < k.shape[2]))
        return kernels.causal_attention(q, k, v)

    monkeypatch.setattr(attention, "causal_attention", noted)
    assert attention_check.judge([attention_check.measure(alone, SIZES)]).passed
    assert {(torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False)} == set(asked)


def test_attention_that_looks_ahead_fails(alone, monkeypatch):
    monkeypatch.setattr(attention_check, "precision_for", on_cuda)
    exact = F.scaled_dot_product_attention

    def looks_ahead(q, *given, is_causal=False, **options):
        return exact(q, *given, is_causal=is_causal and q.dtype == torch.float32, **options)

    faulty = SimpleNamespace(**{**vars(F), "scaled_dot_product_attention": looks_ahead})
    monkeypatch.setattr(kernels, "F", faulty)
    verdict = attention_check.judge([attention_check.measure(alone, SIZES)])
    assert not verdict.passed


def test_hessians_summed_in_bfloat16_fail(alone, monkeypatch):
    assert hessian_check.judge([hessian_check.measure(alone)]).passed
    exact = InputHessians._product
    monkeypatch.setattr(InputHessians, "_product", lambda self, x: exact(self, x).bfloat16().float())
    verdict = hessian_check.judge([hessian_check.measure(alone)])
    assert not verdict.passed
    assert "pr7" in verdict.said


def test_one_bit_of_one_rank_is_found_and_named():
    state = exercised_network(tiny(pr715()).model).state_dict()
    right = {"steps": 20, "digests": equal_ranks_check.digests_of(state), "heard": True}
    assert equal_ranks_check.judge([right, right]).passed
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["blocks.7.attn.c_v.weight"].view(torch.int32)[3, 4] ^= 1
    wrong = {**right, "digests": equal_ranks_check.digests_of(changed)}
    verdict = equal_ranks_check.judge([right, right, wrong])
    assert not verdict.passed
    assert "1 tensors differ from rank 0's on ranks 2" in verdict.said
    assert "blocks.7.attn.c_v.weight" in verdict.said
    assert not equal_ranks_check.judge([right, {**right, "heard": False}]).passed


def test_digests_are_compared_by_what_the_ranks_tell_each_other():
    class Told(Ranks):
        def largest(self, *values):
            return (values[0] + 1, *values[1:])

    assert equal_ranks_check.heard_by_all(Ranks(), {"a": "b"})
    assert not equal_ranks_check.heard_by_all(Told(), {"a": "b"})


def test_a_training_resumed_without_its_momenta_fails(alone, monkeypatch):
    monkeypatch.setattr(resumed_check, "STEPS", 3)
    right = resumed_check.measure(alone)
    assert resumed_check.judge([right]).passed
    load = Checkpoints._load

    def forgets(self, state):
        load(self, state)
        for tensor in state.own.values():
            tensor.zero_()

    monkeypatch.setattr(Checkpoints, "_load", forgets)
    verdict = resumed_check.judge([resumed_check.measure(replace(alone, folder=alone.folder / "resumed"))])
    assert not verdict.passed
    assert "differ on rank 0" in verdict.said
    assert not resumed_check.judge([{**right, "resumed_at": None}]).passed
    assert not resumed_check.judge([right, {**right, "losses_equal": False}]).passed


def test_a_share_that_leaves_records_out_fails(alone, monkeypatch):
    right = shared_score_check.measure(alone)
    assert shared_score_check.judge([right]).passed
    whole = shared_score_check.window_pieces

    def without_the_last(*given, ranks=None):
        pieces = list(whole(*given) if ranks is None else whole(*given, ranks=ranks))
        return pieces if ranks is None else pieces[:-1]

    monkeypatch.setattr(shared_score_check, "window_pieces", without_the_last)
    wrong = shared_score_check.measure(alone)
    assert wrong["missing"] == wrong["differing"] > 0
    assert not shared_score_check.judge([wrong]).passed
    assert not shared_score_check.judge([right, {**right, "loss_nats": 0.0}]).passed


def small():
    """A twin of one row per step."""
    recipe = tiny(pr715())
    train = recipe.train.model_copy(update={"spans_per_step": 1, "tokens_per_step": recipe.train.sequence_length})
    return recipe.model_copy(update={"train": train})


def test_a_compiled_network_of_another_slope_fails(alone, monkeypatch):
    full_size.full_size.cache_clear()
    right = compiled_check.measure(alone, small)
    assert compiled_check.judge([right]).passed
    system = full_size.full_size(small, alone)

    def of_another_slope(tokens, targets):
        for block in system.model.block_list:
            block.mlp.slope = 0.9
        loss = system.model.loss(tokens, targets)
        for block in system.model.block_list:
            block.mlp.slope = 0.5
        return loss

    monkeypatch.setattr(compiled_check, "full_size", lambda *_: replace(system, loss=of_another_slope))
    wrong = compiled_check.measure(alone, small)
    full_size.full_size.cache_clear()
    verdict = compiled_check.judge([right, wrong])
    assert not verdict.passed
    assert system.model.state_dict()["tok_emb.weight"].equal(system.initial["tok_emb.weight"])


STEP = {
    "published": "pr715",
    "toy": False,
    "ranks": 8,
    "steps_ms": [100.0, 107.0, 120.0],
    "tokens_per_step": 786_432,
    "flops_per_step": 8 * 0.107 * 400e12,
    "matrix_flops": 800e12,
    "data_sheet_flops": 1000e12,
    "peak_bytes": 22 * 2**30,
}


def test_a_step_says_whether_600_s_suffice_with_its_utilization_of_both_rates():
    found = full_step_check.judge([STEP, {**STEP, "peak_bytes": 23 * 2**30, "matrix_flops": 1000e12}])
    assert found.passed  # 107 ms · 5,585 = 598 s
    assert "MFU 50 % of the matrix rate measured here, 40 % of the data sheet" in found.said
    assert "23.0 GiB (published 21.9)" in found.said
    assert "5,585 steps (published, 107.4 ms) take 598 of 600 s" in found.said
    assert not full_step_check.judge([{**STEP, "steps_ms": [108.0]}]).passed


def test_on_one_gpu_the_step_is_held_against_eight_that_share_it():
    alone = {**STEP, "ranks": 1, "steps_ms": [8 * 107.0]}
    found = full_step_check.judge([alone])
    assert found.passed
    assert "on 8 without loss 107.0 ms" in found.said
    assert not full_step_check.judge([{**alone, "steps_ms": [8 * 108.0]}]).passed
    assert full_step_check.judge([{**alone, "toy": True, "steps_ms": [8 * 108.0]}]).passed is None


def test_an_evaluation_counts_all_windows_and_all_chunks_that_are_learned():
    numbers = {"published": "pr745", "toy": False, "ranks": 8, "batch_windows": 32, "batches": 8, "windows": 256}
    numbers |= {"score_s": 0.8, "val_windows": 969_088, "learn_chunk_s": 0.1, "val_chunks": 1_892}
    # 969,088 / 256 · 0.8 s / 8 = 378.55 s of windows, 189.2 s of learning
    found = evaluation_check.judge([numbers])
    assert found.passed
    assert "568 of 600 s" in found.said
    assert not evaluation_check.judge([{**numbers, "learn_chunk_s": 0.12}]).passed
    assert not evaluation_check.judge([{**numbers, "score_s": 0.9}]).passed
    assert evaluation_check.judge([{**numbers, "ranks": 1}]).passed  # a chunk is then divided among eight
