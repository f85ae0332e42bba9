"""A run in this process: what it repeats, what it leaves no trace of, and when it stops."""

import math

import pytest
import torch

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import TokenStream
from pgolf.errors import NonFiniteLoss
from pgolf.model.init import initial_model
from pgolf.train.loop import accumulate_gradients, prime, train
from pgolf.train.ranks import Ranks
from pgolf.train.spans import SpanReader
from tests.train.runs import TINY, learnable_tokens, with_train, write_data


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", [learnable_tokens(2000)])


def spans_of(data, config):
    return SpanReader(TokenStream(open_dataset(data).train_shards), config.train)


def run(data, config, *, seed=1, primed=False, clock_s=lambda: 0.0):
    model, reports = initial_model(config.model, seed), []
    spans = spans_of(data, config)
    if primed:
        prime(model, config.train, spans, Ranks())
    return train(model, config.train, spans, Ranks(), clock_s=clock_s, on_step=reports.append), reports


def same(state, other):
    return all(torch.equal(state[name], other[name]) for name in state)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(data):
    first, _ = run(data, TINY, seed=1)
    again, _ = run(data, TINY, seed=1)
    other, _ = run(data, TINY, seed=2)
    assert same(first.state, again.state)
    assert not same(first.state, other.state)


def test_training_lowers_the_loss(data):
    _, reports = run(data, with_train(steps=24, warmdown_steps=12))
    assert reports[0].loss_nats == pytest.approx(math.log(32), abs=0.02)
    assert reports[-1].loss_nats < 2.9


def test_priming_leaves_no_trace(data):
    config = with_train(priming_steps=3)
    plain, plain_reports = run(data, config)
    primed, primed_reports = run(data, config, primed=True)
    assert primed_reports == plain_reports
    assert same(primed.state, plain.state)


def test_a_step_is_the_mean_over_all_its_targets(data):
    """Eight micro-steps of equal size against one batch of all rows: losses agree, and so do gradients."""
    model, spans = initial_model(TINY.model, 1), spans_of(data, TINY)
    loss = accumulate_gradients(model, TINY.train, spans, Ranks(), step=2)
    gradient = model.blocks[1].attn.q_gain.grad.clone()
    rows = [spans.read(2, index, torch.device("cpu")) for index in range(8)]
    model.zero_grad()
    whole = model.loss(torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows]))
    whole.backward()
    torch.testing.assert_close(loss, whole.detach())
    torch.testing.assert_close(gradient, model.blocks[1].attn.q_gain.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("world_size", [1, 2, 8])
def test_any_number_of_ranks_reads_the_same_spans(data, world_size):
    """Micro-step m of rank r takes span m · W + r, so micro-step by micro-step the ranks move on together."""
    model, spans, read = initial_model(TINY.model, 1), spans_of(data, TINY), []

    class Recorder:
        def read(self, step, index, device):
            read.append((step, index))
            return spans.read(step, index, device)

    for rank in range(world_size):
        accumulate_gradients(model, TINY.train, Recorder(), Ranks(rank, world_size), step=3)
    assert read == [(3, m * world_size + rank) for rank in range(world_size) for m in range(8 // world_size)]
    assert sorted(read) == [(3, index) for index in range(8)]


def test_the_mean_gradient_of_two_ranks_is_that_of_one(data):
    """Up to rounding: of float32, and for the tables of bfloat16, whose gradients are summed in bfloat16."""
    models = [initial_model(TINY.model, 1) for _ in range(3)]
    accumulate_gradients(models[0], TINY.train, spans_of(data, TINY), Ranks(), step=3)
    for rank in (0, 1):
        accumulate_gradients(models[1 + rank], TINY.train, spans_of(data, TINY), Ranks(rank, 2), step=3)
    named = [dict(model.named_parameters()) for model in models]
    for name, parameter in named[0].items():
        if parameter.grad is None:
            continue
        whole = parameter.grad.float()
        mean = (named[1][name].grad.float() + named[2][name].grad.float()) / 2
        relative = (mean - whole).norm() / whole.norm().clamp(min=1e-20)
        assert relative < (2**-7 if parameter.dtype == torch.bfloat16 else 1e-5), name


def test_the_exported_weights_are_the_average_from_the_initial_ones_on(data):
    """One step: 0.997 of the initial weights, 0.003 of those after the step."""
    config = with_train(steps=1, warmdown_steps=0)
    model = initial_model(config.model, 1)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = train(
        model, config.train, spans_of(data, config), Ranks(), clock_s=lambda: 0.0, on_step=lambda _report: None
    )
    after = model.state_dict()
    for name, tensor in trained.state.items():
        expected = (0.997 * initial[name].double() + 0.003 * after[name].double()).to(tensor.dtype)
        torch.testing.assert_close(tensor, expected, rtol=1e-6 if tensor.dtype == torch.float32 else 2**-8, atol=1e-7)


def test_a_timed_run_stops_in_the_step_that_reaches_the_limit(data):
    """A clock of one second a reading: read before the first step and after each."""
    ticks = iter(range(100))
    config = with_train(steps=50, clock_limit_s=4.0, warmdown_steps=2)
    trained, reports = run(data, config, clock_s=lambda: float(next(ticks)))
    assert trained.steps == 4
    assert trained.elapsed_s == 4.0
    assert [report.is_last for report in reports] == [False, False, False, True]
    assert [report.rate_scale for report in reports] == [1.0, 1.0, 1.0, 0.5]


def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_are_touched(data):
    config = with_train(steps=50, muon_lr=1e38)
    with pytest.raises(NonFiniteLoss, match=r"in step 2; nothing of this run is kept\. Lower muon_lr"):
        run(data, config)
