"""Adapters per document against their definition, and the theorems: causal, and no document knows of another."""

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.func import functional_call

from pgolf.errors import NonFiniteLoss
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_borders, document_shares
from pgolf.eval.lora import DocumentPass
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.eval.windows import plan_windows
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from tests.eval.traces import stream_for, trace_of
from tests.oracles import plain_ttt as oracle

BOS, WINDOW = 1, 24
STARTS = (0, 31, 36, 90)
FAST = {"kind": "lora", "rank": 4, "chunk_targets": 7, "lr": 0.02}
# float32 through a few updates, on losses of about 10 nats.
SAME_NATS = 2e-5


def tokens_of(count=121, seed=3, starts=STARTS):
    tokens = np.random.default_rng(seed).integers(4, 340, count).astype(np.uint16)
    tokens[list(starts)] = BOS
    return tokens


def scored(network, tokens, *, threads=1, hints=None, orders=(), **ttt):
    config = ScoreConfig(window=WINDOW, stride=8, ttt=LoraConfig(**{**FAST, **ttt}))
    model = copy.deepcopy(network)
    documents = DocumentPass(model, stream_for(model, tokens, hints), document_borders(tokens, BOS), config)
    plan = plan_windows(len(tokens) - 1, window=WINDOW, stride=8)
    return trace_of(documents.pieces(ranks=Ranks(), threads=threads), plan, orders)


class FreeHead(torch.nn.Module):
    """The network with a head of its own, so that weights can be handed in by name."""

    def __init__(self, gpt):
        super().__init__()
        self.gpt = gpt

    def forward(self, head_VD, tokens_BT):
        cap = self.gpt.config.logit_softcap
        return cap * torch.tanh(self.gpt.hidden(tokens_BT) @ head_VD.T / cap)


NAMES = {
    "q": "attn.c_q", "k": "attn.c_k", "v": "attn.c_v", "proj": "attn.proj", "fc": "mlp.fc", "mlp_proj": "mlp.proj",
}  # fmt: skip


def by_definition(network, tokens, matrices, **settings):
    module = FreeHead(network)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    names = [
        f"blocks.{layer}.{NAMES[name]}.weight"
        for layer in range(network.config.layers)
        for name in matrices
        if name != "head"
    ]

    def logits(changed, head, row):
        named = {f"gpt.{name}": weight for name, weight in changed.items()}
        return functional_call(module, named, (head, torch.tensor([row])))[0]

    options = {"rank": 4, "epochs": 1, "lr": 0.02, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.5, "seed": 0}
    return oracle.adapted_per_document(
        logits, weights, weights["tok_emb.weight"].float(), names, tokens.tolist(), BOS,
        window=WINDOW, S=7, with_head="head" in matrices, **{**options, **settings},
    )  # fmt: skip


EVERY = ("q", "k", "v", "proj", "fc", "mlp_proj", "head")


@pytest.mark.parametrize(
    ("matrices", "settings"),
    [
        (EVERY, {}),
        (("head",), {"seed": 3}),
        (("v", "q"), {"epochs": 3, "weight_decay": 5.0, "betas": (0.8, 0.95), "eps": 1e-4, "rank": 2}),
    ],
    ids=["all maps", "head alone", "v and q, three epochs"],
)
def test_scores_equal_the_definition_document_by_document(toy_network, matrices, settings):
    tokens = tokens_of()
    given = dict(settings)
    beta1, beta2 = given.pop("betas", (0.9, 0.999))
    trace = scored(toy_network, tokens, matrices=matrices, beta1=beta1, beta2=beta2, **given)
    target, loss, entropy = map(np.array, zip(*by_definition(toy_network, tokens, matrices, **settings), strict=True))
    np.testing.assert_array_equal(trace.target, target)
    np.testing.assert_allclose(trace.loss_nats, loss, rtol=0, atol=SAME_NATS)
    np.testing.assert_allclose(trace.entropy_nats, entropy, rtol=0, atol=SAME_NATS)
    unlearned = scored(toy_network, tokens, lr=1e-12)
    assert np.abs(trace.loss_nats - unlearned.loss_nats).max() > 1000 * SAME_NATS
    # The first chunk of every document, and the document of one chunk, are scored by the packed weights.
    for start, stop in ((0, 7), (31, 36), (36, 43), (90, 97)):
        np.testing.assert_allclose(trace.loss_nats[start:stop], unlearned.loss_nats[start:stop], rtol=0, atol=SAME_NATS)


def test_adapters_of_a_recurrent_layer_serve_every_pass(toy_network):
    config = toy_network.config.model_copy(update={"recurrence": (1,)})
    model = initial_model(ModelConfig.model_validate(dict(config)), 3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    tokens = tokens_of(61, starts=(0, 31))
    trace = scored(model.eval(), tokens)
    records = by_definition(model, tokens, EVERY)
    np.testing.assert_allclose(trace.loss_nats, [loss for _, loss, _ in records], rtol=0, atol=5 * SAME_NATS)


@pytest.mark.parametrize("altered", [6, 7, 8, 33, 60, 89, 118])
def test_no_target_is_scored_otherwise_for_what_comes_after_it(toy_network, altered):
    tokens = tokens_of()
    changed = tokens.copy()
    changed[altered] = 4 + (int(tokens[altered]) - 3) % 296
    before, after = scored(toy_network, tokens), scored(toy_network, changed)
    # The loss of target k reads token k itself, its entropy only what stands before.
    np.testing.assert_array_equal(after.loss_nats[: altered - 1], before.loss_nats[: altered - 1])
    np.testing.assert_array_equal(after.entropy_nats[:altered], before.entropy_nats[:altered])
    assert after.loss_nats[altered - 1] != before.loss_nats[altered - 1]
    # What follows in the same document has learned it or reads it; the next document is as it was, bit for bit.
    stop = next(border for border in (*STARTS[1:], 120) if border > altered)
    if altered + 14 < stop:
        assert (after.loss_nats[altered + 7 : stop] != before.loss_nats[altered + 7 : stop]).all()
    np.testing.assert_array_equal(after.loss_nats[stop:], before.loss_nats[stop:])


@pytest.mark.parametrize("end", range(37, 44))
def test_no_target_is_scored_otherwise_for_where_its_document_ends(toy_network, end):
    """Longer than a window, so that its last chunk has to leave some of it out."""
    tokens = tokens_of(61, starts=(0,))
    ended = tokens.copy()
    ended[end] = BOS
    whole, shorter = scored(toy_network, tokens), scored(toy_network, ended)
    np.testing.assert_allclose(shorter.loss_nats[: end - 1], whole.loss_nats[: end - 1], rtol=0, atol=SAME_NATS)


def test_a_document_is_scored_as_if_it_were_alone(toy_network):
    tokens = tokens_of()
    whole, alone = scored(toy_network, tokens), scored(toy_network, tokens[36 : 90 + 1])
    np.testing.assert_array_equal(whole.loss_nats[36:90], alone.loss_nats)


def test_number_of_threads_does_not_change_a_single_bit(toy_network):
    one, three = (scored(toy_network, tokens_of(), threads=threads) for threads in (1, 3))
    assert one.loss_nats.tobytes() == three.loss_nats.tobytes()


def test_the_networks_own_weights_stay(toy_network):
    before = {name: weight.clone() for name, weight in toy_network.named_parameters()}
    model = copy.deepcopy(toy_network)
    config = ScoreConfig(window=WINDOW, stride=8, ttt=LoraConfig(**FAST))
    tokens = tokens_of()
    documents = DocumentPass(model, stream_for(model, tokens), document_borders(tokens, BOS), config)
    assert documents.steps == 4 + 0 + 7 + 4  # documents of 31, 5, 54 and 30 targets
    list(documents.pieces(ranks=Ranks(), threads=1))
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert model.head_adapter is None


def test_text_that_repeats_itself_is_learned_within_its_document(toy_network):
    phrase = np.random.default_rng(1).integers(4, 340, 12)
    tokens = np.concatenate([[BOS], np.tile(phrase, 20), [BOS], np.tile(phrase, 20)]).astype(np.uint16)
    learned, unlearned = scored(toy_network, tokens, lr=5e-3), scored(toy_network, tokens, lr=1e-12)
    late = slice(180, 240)
    assert learned.loss_nats[late].mean() < unlearned.loss_nats[late].mean() - 0.5
    # The second document starts where the first one did. Their last chunks differ: only the first has a BOS to predict.
    np.testing.assert_array_equal(learned.loss_nats[241:479], learned.loss_nats[:238])


def test_hints_get_the_log_probabilities_of_the_adapted_network(toy_network):
    tokens = tokens_of()
    hints = np.stack([tokens[1:].astype(np.int32), np.full(120, -1, np.int32)], axis=1)
    trace = scored(toy_network, tokens, hints=hints, orders=(7, 9))
    np.testing.assert_array_equal(trace.hint_logp[7], -trace.loss_nats)
    assert not trace.hint_logp[9].any()


def test_every_target_belongs_to_one_document():
    tokens = np.array([5, 1, 1, 7, 8, 1, 9, 1], np.uint16)
    assert document_borders(tokens, BOS).tolist() == [0, 1, 2, 5, 7]
    assert document_borders(np.array([1, 5], np.uint16), BOS).tolist() == [0, 1]
    borders = np.array([0, 10, 11, 12, 30, 31])
    for parts in (1, 2, 3, 7):
        shares = document_shares(borders, parts)
        assert (shares[0], shares[-1], len(shares)) == (0, 5, parts + 1)
        assert (np.diff(shares) >= 0).all()


def test_an_adapter_that_diverges_says_where_and_what_to_do(toy_network):
    with pytest.raises(NonFiniteLoss, match=r"document 0 .*targets 1 to 31\) .* lower score\.ttt\.lr \(now 1e\+30\)"):
        scored(toy_network, tokens_of(), lr=1e30)


def test_a_recipe_takes_it_by_an_override_and_its_trace_is_causal():
    recipe = apply_overrides(recipe_named("demo"), ['score.ttt={"kind": "lora", "rank": 8}'])
    assert recipe.score.ttt == LoraConfig(kind="lora", rank=8)
    assert recipe.score.causal
    assert recipe.score.chunk_tokens is None
    settings = recipe.score.model_dump(mode="json", exclude_defaults=True)
    assert ScoreConfig.model_validate(settings, strict=False) == recipe.score
    assert ScoreConfig(ttt={"lr": 0.1}).ttt == TttConfig(lr=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tail": "repeat"}, "document by document"),
        ({"batch_means": {}}, "document by document"),
        ({"window": 32, "stride": 8}, "chunk_targets 48 exceeds window 32"),
        ({"ttt": {"kind": "lora", "matrices": ("q", "q")}}, "has duplicates"),
        ({"ttt": {"kind": "lora", "momentum": 0.9}}, "momentum"),
        ({"ttt": {"kind": "lore"}}, "kind|tag"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        ScoreConfig(**{"ttt": {"kind": "lora"}, **fields})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_learning_in_bfloat16_on_cuda_stays_near_float32(toy_network: GPT):
    tokens = tokens_of()
    reference, on_gpu = scored(toy_network, tokens), scored(copy.deepcopy(toy_network).to("cuda"), tokens)
    # Eight bits of mantissa on logits of up to 30.
    assert np.mean(on_gpu.loss_nats) == pytest.approx(np.mean(reference.loss_nats), abs=0.1)
