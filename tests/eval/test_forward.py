"""The path of the score stage against all logits at all positions, for every family of networks."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pgolf.eval import forward as forward_module
from pgolf.eval.chunks import WindowBatch
from pgolf.eval.config import ScoreConfig
from pgolf.eval.forward import WindowPass, windows_at_a_time
from pgolf.eval.scoring import window_pieces
from pgolf.eval.ttt_config import BatchMeansConfig
from pgolf.eval.windows import plan_windows
from pgolf.model.config import ModelConfig
from pgolf.recipes.catalog import recipe_named
from tests.eval.traces import stream_for, trace_of
from tests.model.networks import SMALL, SMALL_715, SMALL_745, perturbed_model, some_tokens
from tests.oracles.plain_network import logits_by_definition

SAME_NATS = 1e-5
TINY = ("pr638-tiny", "pr715-tiny", "pr745-tiny", "pr761-tiny", "pr792-tiny")


def stream(count: int, vocab_size: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, vocab_size, count).astype(np.uint16)


def scored(model, tokens, config, threads=1):
    plan = plan_windows(len(tokens) - 1, window=config.window, stride=config.stride, tail=config.tail)
    return trace_of(window_pieces(model, stream_for(model, tokens), plan, config, threads=threads), plan)


@torch.no_grad()
def by_all_logits(model, tokens, config):
    """(target, loss, entropy) of every window in turn: all hidden states, all logits, all positions, then the last."""
    records, N, T = [], len(tokens) - 1, config.window
    for start in range(0, N, config.stride):
        end = min(start + T, N)
        row = torch.zeros(1, T, dtype=torch.long)
        row[0, : end - start] = torch.from_numpy(tokens[start:end].astype(np.int64))
        logp = torch.log_softmax(model.logits(model.hidden(row)), dim=-1)[0].double()
        entropy = -(logp.exp() * logp).sum(-1)
        first = start if start == 0 else max(end - config.stride, start)
        for p in range(first, end):
            records.append((p + 1, -float(logp[p - start, tokens[p + 1]]), float(entropy[p - start])))
    return records


def assert_same(trace, records):
    target, loss, entropy = (np.array(column) for column in zip(*records, strict=True))
    np.testing.assert_array_equal(trace.target, target)
    np.testing.assert_allclose(trace.loss_nats, loss, rtol=0, atol=SAME_NATS)
    np.testing.assert_allclose(trace.entropy_nats, entropy, rtol=0, atol=SAME_NATS)


@pytest.mark.parametrize(("name", "stride"), [*((name, 48) for name in TINY), ("pr745-tiny", 128)])
def test_the_trace_of_every_tiny_system_is_that_of_all_logits(name, stride):
    recipe = recipe_named(name)
    model = perturbed_model(recipe.model).eval()
    with torch.no_grad():  # the noise of perturbed_model is for narrower networks: here losses would be 30 nats
        for parameter in model.parameters():
            parameter.mul_(0.5)
    config = ScoreConfig(window=128, stride=stride, tail="repeat")
    tokens = stream(3 * 128 + 1, recipe.model.vocab_size)
    assert_same(scored(model, tokens, config), by_all_logits(model, tokens, config))


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("last", [1, 4, 12])
def test_the_last_hidden_states_are_those_of_the_whole_rows(config, last):
    model, tokens = perturbed_model(config), some_tokens(3, 12, config.vocab_size)
    with torch.no_grad():
        torch.testing.assert_close(
            model.hidden(tokens, last=last), model.hidden(tokens)[:, -last:], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_the_last_logits_are_those_of_the_definition(config):
    model, tokens = perturbed_model(config), some_tokens(1, 10, config.vocab_size)
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        found = model.logits(model.hidden(tokens, last=3))[0].double().numpy()
    np.testing.assert_allclose(found, logits_by_definition(config, state, tokens[0].tolist())[-3:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [SMALL_715, SMALL_745], ids=["715", "745"])
def test_gradients_through_the_last_states_are_those_through_all(config):
    model, tokens = perturbed_model(config), some_tokens(2, 9, config.vocab_size)
    weight = torch.randn(2, 4, config.width, generator=torch.Generator().manual_seed(2))
    parameters = list(model.parameters())
    found, expected = (
        torch.autograd.grad((states * weight).sum(), parameters, materialize_grads=True)
        for states in (model.hidden(tokens, last=4), model.hidden(tokens)[:, -4:])
    )
    for ours, plain in zip(found, expected, strict=True):
        scale = float(plain.abs().max())
        tolerance = 2**-7 if plain.dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance * scale + 1e-12)


def test_a_row_that_is_shorter_than_its_rotary_length_has_the_states_of_the_padded_row():
    model, tokens = perturbed_model(SMALL_715), some_tokens(2, 20, SMALL_715.vocab_size)
    with torch.no_grad():
        short = model.hidden(tokens[:, :9], rotary_length=20)
        torch.testing.assert_close(short, model.hidden(tokens)[:, :9], rtol=1e-5, atol=1e-5)


class Recorded:
    """Calls of the last block's MLP and of the head, by the number of positions they get."""

    def __init__(self, model, monkeypatch):
        self.head, self.mlp = [], []
        logits = model.logits
        monkeypatch.setattr(model, "logits", lambda h, rounding: (self.head.append(h.shape[0]), logits(h, rounding))[1])
        physical = model.config.physical_layers[-1]
        model.blocks[physical].mlp.register_forward_hook(lambda _m, args, _o: self.mlp.append(args[0].shape[1]))


def test_only_scored_positions_reach_the_last_mlp_and_the_head(monkeypatch):
    model = perturbed_model(SMALL_715).eval()
    seen = Recorded(model, monkeypatch)
    config = ScoreConfig(window=16, stride=4, batch_windows=2)
    scored(model, stream(49, 23), config)
    # Window 0 is scored whole, so its batch is; all others only at their last 4 positions. 9 windows in 5 batches.
    assert seen.mlp == [16, 4, 4, 4, 4]
    assert seen.head == [16 + 4, 8, 8, 8, 4]


def test_a_stride_as_long_as_the_window_computes_every_position_once(monkeypatch):
    model = perturbed_model(SMALL_715).eval()
    seen = Recorded(model, monkeypatch)
    scored(model, stream(65, 23), ScoreConfig(window=16, stride=16, batch_windows=2))
    assert (seen.mlp, seen.head) == ([16, 16], [32, 32])


def test_batches_hold_what_the_allowance_holds_whatever_the_machine():
    full = ModelConfig()
    at_a_time = {kind: windows_at_a_time(ScoreConfig(), full, kind) for kind in ("cpu", "cuda")}
    # About 12,700 scalars a position: 104 MB a window in float32, 52 MB in bfloat16.
    assert at_a_time == {"cpu": 1, "cuda": 160}
    # 6,656 of them are the residual stream, which some systems keep in float32: 81 MB a window.
    wide_stream = ModelConfig(residual_dtype="float32")
    assert windows_at_a_time(ScoreConfig(), wide_stream, "cuda") == 106
    assert windows_at_a_time(ScoreConfig(window=128, stride=64), full, "cpu") == 15
    assert windows_at_a_time(ScoreConfig(batch_windows=32), full, "cuda") == 32


def test_hints_have_the_log_probabilities_of_the_network_and_nothing_else_moves():
    model = perturbed_model(SMALL_715).eval()
    tokens, config = stream(49, 23), ScoreConfig(window=16, stride=4, batch_windows=3, tail="repeat")
    plan = plan_windows(48, window=16, stride=4, tail="repeat")
    hints = np.random.default_rng(5).integers(-1, 23, (plan.records, 2)).astype(np.int32)
    hints[:, 1] = tokens[plan.record_targets()]
    plain = scored(model, tokens, config)
    for means in (None, BatchMeansConfig(chunk_tokens=16, ranks=2, windows=2)):
        asked = config.model_copy(update={"batch_means": means})
        pieces = window_pieces(model, stream_for(model, tokens, hints), plan, asked)
        trace = trace_of(pieces, plan, (7, 9))
        np.testing.assert_allclose(trace.loss_nats, plain.loss_nats, rtol=0, atol=SAME_NATS)
        np.testing.assert_array_equal(trace.hint_logp[9], -trace.loss_nats)
        np.testing.assert_array_equal(trace.hint_logp[7] == 0, hints[:, 0] == -1)
        for record in range(0, plan.records, 3):  # the loss the target would have, were it the hinted token
            if hints[record, 0] < 0:
                continue
            other = tokens.copy()
            other[plan.record_targets()[record]] = hints[record, 0]
            expected = scored(model, other, config).loss_nats[record]
            assert trace.hint_logp[7][record] == pytest.approx(-expected, abs=SAME_NATS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_batch_loop_never_waits_for_the_device_and_uses_a_fused_kernel():
    config = ScoreConfig(window=256, stride=64, batch_windows=4, tail="repeat")
    model = perturbed_model(recipe_named("pr715-tiny").model).eval().to("cuda")
    tokens = stream(6 * 256 + 1, 512)
    plan = plan_windows(len(tokens) - 1, window=256, stride=64, tail="repeat")
    hints = np.random.default_rng(5).integers(-1, 512, (plan.records, 2)).astype(np.int32)
    on_device = stream_for(model, tokens, hints)
    forward = WindowPass(model, on_device, plan, config)
    batches = [WindowBatch(0, 0, i, range(first, first + 4)) for i, first in enumerate(range(0, plan.windows - 3, 4))]
    list(forward.run(batches, threads=1))  # allocates what is allocated once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
            found = list(forward.run(batches, threads=1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(found) == len(batches)
    assert all(np.isfinite(columns).all() for columns in found)


def test_results_that_travel_late_arrive_in_order_and_once(monkeypatch):
    """The ring of buffers that CUDA's results go through, with buffers of this machine's own memory."""

    class Slot:
        def send(self, tensor):
            self.sent = tensor

        def read(self):
            return self.sent.numpy().copy()

    monkeypatch.setattr(forward_module, "_Slot", Slot)
    launched = []

    def results():
        for index in range(11):
            launched.append(index)
            yield torch.tensor([float(index)])

    read = []
    for columns in forward_module._pipelined_copies(results()):
        read.append(float(columns[0]))
        assert len(launched) == min(11, len(read) + 4)  # four batches are always ahead
    assert read == list(range(11))
