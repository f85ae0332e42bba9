"""Test-time training against its definition, and the theorem that score_first is causal and adapt_first is not."""

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from pgolf.errors import ConfigError, NonFiniteLoss
from pgolf.eval import ttt as ttt_module
from pgolf.eval.config import ScoreConfig
from pgolf.eval.scoring import window_pieces
from pgolf.eval.trace import Trace
from pgolf.eval.ttt import Learner, learning_rate, row_parts
from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import plan_windows
from pgolf.model.checkpoint import build_model
from pgolf.model.gpt import GPT
from pgolf.model.untie import untie
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from tests.eval.traces import stream_for, trace_of
from tests.oracles import plain_ttt as oracle

WINDOW, STRIDE = 24, 8
CHUNK, ROW = 48, 12
LAYOUT = {"window": WINDOW, "stride": STRIDE, "tail": "repeat", "batch_windows": 3}
# A rate and a clip at which every update shows: the published 0.002 is for a trained network.
SGD = {"chunk_tokens": CHUNK, "sequence_length": ROW, "groups": 3, "lr": 0.02, "clip_norm": 0.5}
ADAMW = {**SGD, "optimizer": "adamw", "lr": 1e-3, "lr_schedule": "constant", "order": "adapt_first", "epochs": 2}
# A few updates in float32 and losses of about 10 nats.
SAME_NATS = 1e-5


def random_tokens(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, 340, count).astype(np.uint16)


@pytest.fixture(scope="module")
def float_network(toy_network) -> GPT:
    """The same network with tables in float32, so that all of it can be compared tightly."""
    model = copy.deepcopy(toy_network)
    for table in (model.tok_emb, model.bigram.embed):
        table.weight = torch.nn.Parameter(table.weight.detach().float())
    return model


def adapted(network, tokens, *, threads=1, **ttt) -> tuple[Trace, GPT]:
    """The trace of a copy of the network that learns, and the copy afterwards."""
    model = copy.deepcopy(network)
    config = ScoreConfig(**LAYOUT, ttt=TttConfig(**ttt))
    learner = Learner(model, tokens, config.ttt, threads=threads)
    if not config.causal:
        for chunk in range(learner.chunks):
            learner.learn(chunk)
    plan = plan_windows(len(tokens) - 1, window=WINDOW, stride=STRIDE, tail="repeat")
    stream = stream_for(model, tokens)
    return trace_of(window_pieces(model, stream, plan, config, learner=learner, threads=threads), plan), model


def test_the_seconds_of_learning_begin_and_end_when_the_device_is_done(float_network, monkeypatch):
    tokens, events, config = random_tokens(2 * CHUNK + 1), [], TttConfig(**SGD)
    learner = Learner(copy.deepcopy(float_network), tokens, config, threads=1)
    monkeypatch.setattr(ttt_module, "seconds_when_done", lambda _device: events.append("done") or float(len(events)))
    monkeypatch.setattr(learner._optimizer, "step", lambda: events.append("step"))
    learner.learn(0)
    assert events == ["done", *["step"] * config.epochs, "done"]
    assert learner.wall_s == len(events) - 1


def unadapted(network, tokens) -> Trace:
    plan = plan_windows(len(tokens) - 1, window=WINDOW, stride=STRIDE, tail="repeat")
    return trace_of(window_pieces(network, stream_for(network, tokens), plan, ScoreConfig(**LAYOUT)), plan)


class Logits(torch.nn.Module):
    """Tokens to logits, so that weights can be handed in by name."""

    def __init__(self, gpt):
        super().__init__()
        self.gpt = gpt

    def forward(self, tokens_BT):
        return self.gpt.logits(self.gpt.hidden(tokens_BT))


def as_plain_functions(network, *, projection_bits=None):
    """The network as the oracle wants it: mean loss and log-probabilities as functions of weights by name."""
    module = Logits(network)

    def logits(weights, rows):
        named = {f"gpt.{name}": weight for name, weight in weights.items()}
        return functional_call(module, named, (torch.tensor(rows),))

    def loss(weights, inputs, targets):
        if projection_bits is not None:
            W, top = weights["bigram.proj.weight"], 2 ** (projection_bits - 1) - 1
            step = W.detach().abs().amax(1, keepdim=True).clamp_min(1) / top
            rounded = (W.detach() / step).round().clamp(-top - 1, top) * step
            weights = {**weights, "bigram.proj.weight": W + (rounded - W.detach())}
        return F.cross_entropy(logits(weights, inputs).flatten(0, 1), torch.tensor(targets).flatten())

    def score(weights, row):
        with torch.no_grad():
            return torch.log_softmax(logits(weights, [row])[0].double(), dim=-1)

    return loss, score


def assert_same(trace, records):
    target, loss, entropy = (np.array(column) for column in zip(*records))
    np.testing.assert_array_equal(trace.target, target)
    np.testing.assert_allclose(trace.loss_nats, loss, rtol=0, atol=SAME_NATS)
    np.testing.assert_allclose(trace.entropy_nats, entropy, rtol=0, atol=SAME_NATS)


def scored_then_learned(network, tokens):
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    return oracle.score_then_learn(
        *as_plain_functions(network, projection_bits=6), weights, list(weights), tokens.tolist(),
        window=WINDOW, stride=STRIDE, C=CHUNK, S=ROW, groups=3, epochs=1,
        optimizer=oracle.Optimizer("sgd", momentum=0.9), lr=0.02, clip_norm=0.5,
    )  # fmt: skip


def test_score_first_equals_its_definition_chunk_by_chunk(float_network):
    tokens = random_tokens(4 * CHUNK + WINDOW + 1)
    trace, _ = adapted(float_network, tokens, **SGD, projection_bits=6)
    assert_same(trace, scored_then_learned(float_network, tokens))
    plain = unadapted(float_network, tokens)
    np.testing.assert_array_equal(trace.loss_nats[:CHUNK], plain.loss_nats[:CHUNK])
    assert np.abs(trace.loss_nats - plain.loss_nats)[CHUNK:].mean() > 0.02


def test_score_first_equals_its_definition_with_bfloat16_tables(toy_network):
    tokens = random_tokens(4 * CHUNK + WINDOW + 1)
    trace, model = adapted(toy_network, tokens, **SGD, projection_bits=6)
    losses = np.array([loss for _, loss, _ in scored_then_learned(toy_network, tokens)])
    # The last bit of a float32 sum may move an entry of a table by a bfloat16 step, 0.4 % of it, and so a few losses by
    # up to hundredths; a wrong update moves all of them.
    assert np.abs(trace.loss_nats - losses).mean() < 2e-4
    assert np.abs(trace.loss_nats - unadapted(toy_network, tokens).loss_nats).mean() > 0.02
    assert model.tok_emb.weight.dtype == torch.bfloat16


def test_adapt_first_equals_its_definition(float_network):
    tokens = random_tokens(3 * CHUNK + WINDOW + 1)
    trace, _ = adapted(float_network, tokens, **ADAMW, frozen_blocks=1)
    weights = {name: weight.detach().clone() for name, weight in float_network.named_parameters()}
    learnable = [name for name in weights if not name.startswith("blocks.0.")]
    records = oracle.learn_then_score(
        *as_plain_functions(float_network), weights, learnable, tokens.tolist(),
        window=WINDOW, stride=STRIDE, C=CHUNK, S=ROW, groups=3, epochs=2,
        optimizer=oracle.Optimizer("adamw"), lr=1e-3, clip_norm=0.5,
    )  # fmt: skip
    assert_same(trace, records)
    assert np.abs(trace.loss_nats - unadapted(float_network, tokens).loss_nats).mean() > 1000 * SAME_NATS


def test_the_causal_761_scores_every_chunk_before_its_update(float_network):
    """Its optimizer, rate, epochs and frozen blocks in the order of #745: one override of the recipe."""
    tokens = random_tokens(3 * CHUNK + WINDOW + 1)
    trace, _ = adapted(float_network, tokens, **{**ADAMW, "order": "score_first"}, frozen_blocks=1)
    weights = {name: weight.detach().clone() for name, weight in float_network.named_parameters()}
    records = oracle.score_then_learn(
        *as_plain_functions(float_network), weights, [n for n in weights if not n.startswith("blocks.0.")],
        tokens.tolist(), window=WINDOW, stride=STRIDE, C=CHUNK, S=ROW, groups=3, epochs=2,
        optimizer=oracle.Optimizer("adamw"), lr=1e-3, clip_norm=0.5, constant=True,
    )  # fmt: skip
    assert_same(trace, records)
    np.testing.assert_array_equal(trace.loss_nats[:CHUNK], unadapted(float_network, tokens).loss_nats[:CHUNK])

    published = recipe_named("pr761").score.ttt
    causal = apply_overrides(recipe_named("pr761"), ["score.ttt.order=score_first"]).score
    assert causal.causal
    assert causal.ttt == published.model_copy(update={"order": "score_first"})
    assert (causal.ttt.optimizer, causal.ttt.epochs, causal.ttt.lr_schedule) == ("adamw", 4, "constant")


@pytest.mark.parametrize("altered", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5, 4 * CHUNK])
def test_score_first_scores_no_target_otherwise_for_what_comes_after_it(toy_network, altered):
    tokens = random_tokens(4 * CHUNK + 1)
    changed = tokens.copy()
    changed[altered] = 4 + (int(tokens[altered]) - 3) % 296
    (before, _), (after, _) = (adapted(toy_network, stream, **SGD) for stream in (tokens, changed))
    earlier, up_to = before.target < altered, before.target <= altered
    np.testing.assert_array_equal(after.loss_nats[earlier], before.loss_nats[earlier])
    np.testing.assert_array_equal(after.entropy_nats[up_to], before.entropy_nats[up_to])
    assert after.loss_nats[before.target == altered].tolist() != before.loss_nats[before.target == altered].tolist()
    # A change in the last chunk is never learned; an earlier one moves all later chunks.
    later = before.target > (altered - 1) // CHUNK * CHUNK + CHUNK + WINDOW
    assert (after.loss_nats[later] != before.loss_nats[later]).sum() >= 0.9 * later.sum()


def test_adapt_first_scores_a_target_by_what_comes_after_it(toy_network):
    tokens = random_tokens(4 * CHUNK + 1)
    changed = tokens.copy()
    changed[3 * CHUNK] = 4 + (int(tokens[3 * CHUNK]) - 3) % 296
    (before, _), (after, _) = (adapted(toy_network, stream, **ADAMW) for stream in (tokens, changed))
    earlier = before.target < 3 * CHUNK
    assert (after.loss_nats[earlier] != before.loss_nats[earlier]).mean() > 0.9
    assert not ScoreConfig(ttt=TttConfig(**ADAMW)).causal
    assert ScoreConfig(ttt=TttConfig(**SGD)).causal


def test_adapt_first_lowers_the_loss_of_random_text_which_no_causal_score_can(toy_network):
    # Tokens drawn independently and uniformly: the best causal loss is ln 296 on average, whatever was read before.
    tokens = random_tokens(2 * CHUNK + 1)
    fast = {"chunk_tokens": 2 * CHUNK, "epochs": 10, "lr": 0.03, "clip_norm": 10.0}
    leaked, _ = adapted(toy_network, tokens, **{**ADAMW, **fast})
    assert leaked.loss_nats.mean() < 0.8 * np.log(296)


@pytest.mark.parametrize("ttt", [SGD, ADAMW], ids=["score_first", "adapt_first"])
def test_a_vanishing_rate_gives_the_unadapted_trace(toy_network, ttt):
    tokens = random_tokens(3 * CHUNK + 1)
    trace, _ = adapted(toy_network, tokens, **{**ttt, "lr": 1e-12})
    np.testing.assert_allclose(trace.loss_nats, unadapted(toy_network, tokens).loss_nats, rtol=0, atol=SAME_NATS)


@pytest.mark.parametrize("ttt", [SGD, ADAMW], ids=["score_first", "adapt_first"])
def test_number_of_threads_does_not_change_a_single_bit(toy_network, ttt):
    tokens = random_tokens(3 * CHUNK + 1)
    (one, _), (three, _) = (adapted(toy_network, tokens, threads=threads, **ttt) for threads in (1, 3))
    assert one.loss_nats.tobytes() == three.loss_nats.tobytes()


def test_frozen_blocks_stay_and_all_else_learns(toy_network):
    tokens = random_tokens(3 * CHUNK + 1)
    _, model = adapted(toy_network, tokens, **SGD, frozen_blocks=1)
    moved = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, toy_network.get_parameter(name))
    }
    kept = {name for name, _ in model.named_parameters()} - moved
    assert kept == {name for name, _ in model.named_parameters() if name.startswith("blocks.0.")}


def test_untied_copies_of_a_recurrent_layer_learn_apart(toy_network):
    config = toy_network.config.model_copy(update={"recurrence": (1,)})
    model = GPT(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    tokens = random_tokens(3 * CHUNK + 1)
    untied = build_model(*untie(config, model.state_dict()))
    together, tied_after = adapted(model.eval(), tokens, **SGD)
    apart, untied_after = adapted(untied, tokens, **SGD)
    np.testing.assert_allclose(apart.loss_nats[:CHUNK], together.loss_nats[:CHUNK], rtol=0, atol=SAME_NATS)
    assert np.abs(apart.loss_nats - together.loss_nats)[CHUNK:].max() > 100 * SAME_NATS
    before, first, second = (
        network.get_parameter(f"blocks.{layer}.mlp.fc.weight")
        for network, layer in ((untied, 1), (untied_after, 1), (untied_after, 2))
    )
    assert not torch.equal(first, before)
    assert not torch.equal(first, second)
    assert "blocks.2.mlp.fc.weight" not in dict(tied_after.named_parameters())


def test_rounded_projections_are_rounded_while_learning_only(toy_network):
    tokens = random_tokens(2 * CHUNK + 1)
    (plain, _), (rounded, model) = (adapted(toy_network, tokens, **SGD, projection_bits=bits) for bits in (None, 2))
    np.testing.assert_array_equal(rounded.loss_nats[:CHUNK], plain.loss_nats[:CHUNK])
    assert not np.array_equal(rounded.loss_nats, plain.loss_nats)
    assert [name for name, part in model.named_modules() if getattr(part, "fake_bits", None)] == ["bigram.proj"]


def test_text_of_one_chunk_is_scored_and_not_learned(toy_network):
    tokens = random_tokens(CHUNK + 1)
    trace, model = adapted(toy_network, tokens, **SGD)
    np.testing.assert_array_equal(trace.loss_nats, unadapted(toy_network, tokens).loss_nats)
    assert all(torch.equal(weight, toy_network.get_parameter(name)) for name, weight in model.named_parameters())


def test_rates_follow_half_a_cosine_or_stay():
    cosine = TttConfig()
    assert learning_rate(cosine, 0, 1893) == 0.002
    assert learning_rate(cosine, 946, 1893) == pytest.approx(0.001)
    assert learning_rate(cosine, 1892, 1893) == pytest.approx(0, abs=1e-18)
    assert learning_rate(cosine, 0, 1) == 0.002
    assert learning_rate(TttConfig(lr_schedule="constant", lr=1e-4), 400, 474) == 1e-4


@pytest.mark.parametrize(("rows", "groups"), [(16, 8), (64, 8), (12, 8), (3, 8), (5, 1)])
def test_parts_weigh_rows_as_the_mean_of_group_means_does(monkeypatch, rows, groups):
    config = TttConfig(groups=groups)
    monkeypatch.setattr(ttt_module, "POSITIONS_AT_A_TIME", 3 * config.sequence_length)
    by_row = {row: weight / len(part) for part, weight in row_parts(rows, config) for row in part}
    assert sorted(by_row) == list(range(rows))
    shares = [range(rows * r // groups, rows * (r + 1) // groups) for r in range(groups)]
    filled = [share for share in shares if share]
    assert by_row == pytest.approx({row: 1 / (len(share) * len(filled)) for share in filled for row in share})


def test_small_parts_learn_the_same(float_network, monkeypatch):
    tokens = random_tokens(3 * CHUNK + 1)
    whole, _ = adapted(float_network, tokens, **{**SGD, "groups": 1})
    monkeypatch.setattr(ttt_module, "POSITIONS_AT_A_TIME", 1)
    parts, _ = adapted(float_network, tokens, **{**SGD, "groups": 1})
    np.testing.assert_allclose(parts.loss_nats, whole.loss_nats, rtol=0, atol=SAME_NATS)


def test_freezing_every_block_is_refused_in_numbers(toy_network):
    with pytest.raises(
        ConfigError, match=r"ttt\.frozen_blocks 2 freezes all 2 blocks .*--set score\.ttt\.frozen_blocks=1 is the most"
    ):
        adapted(toy_network, random_tokens(2 * CHUNK + 1), frozen_blocks=2, **SGD)
    with pytest.raises(ConfigError, match=r"frozen_blocks 13 freezes all 13 blocks"):
        apply_overrides(recipe_named("pr745"), ["score.ttt.frozen_blocks=13"])


def test_learning_that_diverges_says_where_and_what_to_do(toy_network):
    with pytest.raises(NonFiniteLoss, match=r"learning chunk 1 .* lower score\.ttt\.lr \(now 1e\+38\)"):
        adapted(toy_network, random_tokens(4 * CHUNK + 1), **{**SGD, "lr": 1e38})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("ttt", [SGD, ADAMW], ids=["score_first", "adapt_first"])
def test_learning_in_bfloat16_on_cuda_stays_near_float32(toy_network, ttt):
    tokens = random_tokens(3 * CHUNK + 1)
    reference, _ = adapted(toy_network, tokens, **ttt)
    on_gpu, _ = adapted(copy.deepcopy(toy_network).to("cuda"), tokens, **ttt)
    np.testing.assert_array_equal(on_gpu.target, reference.target)
    # Eight bits of mantissa on logits of up to 30.
    assert np.mean(on_gpu.loss_nats) == pytest.approx(np.mean(reference.loss_nats), abs=0.05)
