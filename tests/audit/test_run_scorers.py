"""A run's scorers as the audit asks them: what they tell of every token is what a text with that token costs.

Trained networks, with the stages' own results: tests/recipes/test_systems.py.
"""

import numpy as np
import pytest
import torch

from pgolf.audit import run_network
from pgolf.audit.audit import audit
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import QUICK
from pgolf.audit.run_network import RunNetwork
from pgolf.audit.run_scorers import RunScorers
from pgolf.audit.subject import Subject
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import BatchMeansConfig, LoraConfig, TttConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.product import Product
from pgolf.model.checkpoint import Checkpoint, save_checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.pack.compress_stage import make as compress
from pgolf.pack.config import CompressConfig
from pgolf.pack.load import load_packed
from pgolf.run_options import RunOptions

VOCAB, BOS, TARGETS, WINDOW, STRIDE = 40, 1, 150, 32, 8
COUNTS = CountConfig(window=WINDOW, stride=STRIDE, orders=(2, 3, 4), ranks=2, buckets=64)
HINT = HintConfig(window=WINDOW, stride=STRIDE, orders=(2, 3), delay_targets=5)
MIX = MixConfig(
    mixers=("backoff",),
    orders=(3,),
    alphas=(0.3,),
    min_counts=(1,),
    also=(
        Product(mixers=("dirichlet", "adaptive"), orders=(4,), concentrations=(2.0,)),
        Product(mixers=("tilt",), orders=(3,), tilt_confidences=(0.4,), min_counts=(1,)),
    ),
    bayes=(BayesConfig(), BayesConfig(share_rate=0.01, chunk_targets=7)),
    hedges=(HedgeConfig(trigram_rows=64, warmup_tokens=40, chunk_tokens=40, ranks=2, batch_windows=2),),
)
SCORES = {
    "plain": ScoreConfig(window=WINDOW, stride=STRIDE),
    "tail again": ScoreConfig(window=WINDOW, stride=STRIDE, tail="repeat"),
    "batch means": ScoreConfig(
        window=WINDOW, stride=STRIDE, batch_means=BatchMeansConfig(chunk_tokens=40, ranks=2, windows=2)
    ),
    "learning": ScoreConfig(
        window=WINDOW, stride=STRIDE, ttt=TttConfig(chunk_tokens=48, sequence_length=16, groups=2, lr=0.5)
    ),
    # A window that no document is longer than, also where two become one.
    "adapters": ScoreConfig(window=64, stride=STRIDE, ttt=LoraConfig(kind="lora", rank=4, chunk_targets=12, lr=0.1)),
}


def a_text():
    """Phrases that come again, in documents of 25 tokens."""
    rng = np.random.default_rng(3)
    phrases = rng.integers(2, VOCAB, (6, 5))
    tokens = phrases[rng.integers(0, 6, 3 * TARGETS // 5 + 2)].ravel().astype(np.uint16)
    tokens[::25] = BOS
    return AuditText(tokens=tokens[: TARGETS + 1], other=tokens[TARGETS + 1 :], vocab_size=VOCAB, bos_id=BOS)


TEXT = a_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Checkpoint:
    config = ModelConfig(
        vocab_size=VOCAB, width=16, layers=2, heads=2, kv_heads=1, mlp_width=24, bigram_buckets=32, bigram_dim=4,
        rope_dims=4, rope_reference_length=16,
    )  # fmt: skip
    network, generator = GPT(config), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 1.0))
    checkpoint, folder = tmp_path_factory.mktemp("checkpoint"), tmp_path_factory.mktemp("model")
    save_checkpoint(checkpoint / "checkpoint.safetensors", config, network.state_dict(), {"stream_position": "0"})
    compressing = CompressConfig(method="rtn", budget_bytes=1_000_000, fp16_max_elements=256)
    compress(compressing, {"checkpoint": checkpoint}, folder, RunOptions(threads=1), code_bytes=0)
    return load_packed(folder / "model.pgolf")


def run_of(model, name):
    score = SCORES[name]
    tail = {"tail": score.tail}
    return RunScorers(
        model,
        vocab_size=VOCAB,
        bos_id=BOS,
        score=score,
        mix=MIX,
        counts={name: CountConfig(**{**COUNTS.model_dump(), **tail}).of(name) for name in ("exact", "hashed")},
        hint=HintConfig(**{**HINT.model_dump(), **tail}),
        threads=1,
    )


ASKED = (1, 9, 33, 48, 49, 75, 97, TARGETS)


@pytest.mark.parametrize("name", SCORES)
def test_what_is_told_of_a_token_is_what_a_text_with_it_costs(model, name):
    run = run_of(model, name)
    told = run.told(TEXT.tokens, ASKED)
    rng = np.random.default_rng(0)
    for target, told_VC in zip(ASKED, told, strict=True):
        for token in (BOS, rng.integers(2, VOCAB)):
            tokens = TEXT.tokens.copy()
            tokens[target] = token
            assert told_VC[token] == pytest.approx(run.losses(tokens)[target - 1], abs=1e-6), (target, token)
    assert len({tuple(row) for row in run.losses(TEXT.tokens).T.round(6)}) == run.size  # no two scorers are alike


@pytest.mark.parametrize("name", SCORES)
def test_a_session_that_has_nothing_of_what_follows_says_the_same(model, name):
    run = run_of(model, name)
    told, losses = run.told(TEXT.tokens, ASKED), run.losses(TEXT.tokens)
    for column, scorer in enumerate(run.scorers()):
        session, fed = scorer.start(int(TEXT.tokens[0]), TARGETS), 0
        for target, told_VC in zip(ASKED, told, strict=True):
            if target - 1 > fed:
                own = session.feed(TEXT.tokens[fed + 1 : target])
                assert own == pytest.approx(losses[fed : target - 1, column], abs=1e-4)
                fed = target - 1
            assert session.distribution() == pytest.approx(-told_VC[:, column], abs=1e-4)
            token = TEXT.tokens[target : target + 1]
            assert session.fork().feed(token) == pytest.approx(-session.distribution()[token], abs=1e-4)


def test_sessions_learn_what_they_were_fed_once_and_nothing_of_another_beginning(model, monkeypatch):
    learned = []
    learn = Learner.learn

    def counted(self, chunk):
        learned.append(chunk)
        learn(self, chunk)

    monkeypatch.setattr(Learner, "learn", counted)
    run = run_of(model, "learning")
    other = TEXT.tokens.copy()
    other[1:40] = TEXT.other[:39]
    for tokens in (TEXT.tokens, other):
        whole, scorer = run.losses(tokens)[:, 0], run.scorers()[0]
        learned.clear()
        session = scorer.start(int(tokens[0]), TARGETS)
        ends = (10, 48, 60, 97, 100, 146, TARGETS)
        fed = np.concatenate([session.feed(tokens[first + 1 : end + 1]) for first, end in zip((0, *ends), ends)])
        assert fed == pytest.approx(whole, abs=1e-4)
        assert learned == [0, 1, 2]


def test_a_session_whose_learning_is_no_longer_kept_learns_again(model, monkeypatch):
    monkeypatch.setattr(run_network, "_KEPT_BYTES", 0)
    run = run_of(model, "learning")
    session, whole = run.scorers()[0].start(int(TEXT.tokens[0]), TARGETS), run.losses(TEXT.tokens)[:, 0]
    session.feed(TEXT.tokens[1:100])
    fork = session.fork()
    fork.feed(TEXT.other[:50])
    assert session.feed(TEXT.tokens[100:]) == pytest.approx(whole[99:], abs=1e-4)


@pytest.mark.parametrize("name", ["learning", "batch means"])
def test_a_learner_that_looks_past_its_chunk_is_convicted_by_a_few_questions(model, name, monkeypatch):
    """It learns the rows of the next chunk, which nothing has scored yet."""
    score = ScoreConfig(
        window=32,
        stride=8,
        ttt=TttConfig(chunk_tokens=40, sequence_length=20, lr=0.1),
        batch_means=SCORES[name].batch_means,
    )
    monkeypatch.setitem(SCORES, "looking", score)
    gradients = Learner._gradients

    def of_next(self, chunk, rows):
        return gradients(self, min(chunk + 1, self.chunks - 1), rows)

    monkeypatch.setattr(Learner, "_gradients", of_next)
    run = run_of(model, "looking")
    found = audit(Subject(name="network", scorer=run.scorers()[0]), TEXT, effort=QUICK)
    assert {"B1", "B2", "B6"} & {verdict.number for verdict in found.of("fail")}


def test_a_scorer_that_is_told_apart_from_what_it_scores_is_convicted(model, monkeypatch):
    """A network that is surer where it is asked for every token than where it scores."""
    over = RunNetwork.over

    def surer(*arguments, **options):
        network = over(*arguments, **options)
        for loss_V in network.told.values():
            loss_V *= 1.01
        return network

    monkeypatch.setattr(RunNetwork, "over", surer)
    run = run_of(model, "plain")
    found = audit(Subject(name="network", scorer=run.scorers()[0]), TEXT, effort=QUICK)
    assert {verdict.number for verdict in found.of("fail")} >= {"B3", "B5"}


def test_a_trial_of_all_scorers_asks_the_network_for_each_text_once(model, monkeypatch):
    passes = []
    over = RunNetwork.over

    def counted(*arguments, **options):
        passes.append(options.get("records"))
        return over(*arguments, **options)

    monkeypatch.setattr(RunNetwork, "over", counted)
    run = run_of(model, "plain")
    asked = []
    for name, scorer in zip(run.names, run.scorers()):
        before = len(passes)
        found = audit(Subject(name=name, scorer=scorer), TEXT, effort=QUICK)
        honest = "hashed" not in name
        assert (found.outcome == "pass") is honest, [verdict.finding.because for verdict in found.of("fail")]
        if honest:
            asked.append(len(passes) - before)
    assert asked[0] < 100
    # What is easiest for a scorer is another text for each: behind 2 cuts, and where B1 counts them.
    assert max(asked[1:]) <= 4
