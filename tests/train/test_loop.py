"""A run in this process: what it repeats, what it leaves no trace of, and when it stops."""

import math

import pytest
import torch
from torch import nn

from pgolf.errors import NonFiniteLoss
from pgolf.model.init import initial_model
from pgolf.model.linear import CastedLinear
from pgolf.ranks.group import Ranks
from pgolf.train import loop
from pgolf.train.crownq import rounding_variance
from pgolf.train.groups import block_linears
from pgolf.train.loop import accumulate_gradients, prime, train
from tests.train.runs import TINY, learnable_tokens, spans_of, with_train, write_data


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", [learnable_tokens(2000)])


def run(data, config, *, seed=1, primed=False, clock_s=lambda: 0.0, lag=0):
    model, reports = initial_model(config.model, seed), []
    spans = spans_of(data, config)
    if primed:
        prime(model, config.train, spans, Ranks())
    return train(model, config.train, spans, Ranks(), clock_s=clock_s, on_step=reports.append, lag=lag), reports


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


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_launching_ahead_changes_neither_weights_nor_reports_of_a_run_by_steps(data, lag):
    plain, plain_reports = run(data, TINY)
    ahead, ahead_reports = run(data, TINY, lag=lag)
    assert ahead_reports == plain_reports
    assert same(ahead.state, plain.state)
    assert (ahead.steps, [report.is_last for report in ahead_reports]) == (6, [False] * 5 + [True])


@pytest.mark.parametrize("lag", [0, 1])
def test_a_timed_run_stops_in_the_step_that_reaches_the_limit_or_after_those_launched_by_then(data, lag):
    """A clock of one second a reading: read before the first step and after each. At this pace both see one time."""
    ticks = iter(range(100))
    config = with_train(steps=50, clock_limit_s=4.0, warmdown_steps=2)
    trained, reports = run(data, config, clock_s=lambda: float(next(ticks)), lag=lag)
    assert trained.steps == 4 + lag
    assert trained.elapsed_s == 4.0 + lag
    assert [report.is_last for report in reports] == [False] * (3 + lag) + [True]
    assert [report.rate_scale for report in reports] == [1.0, 1.0, 1.0, 0.5, 0.0][: 4 + lag]


@pytest.mark.parametrize("lag", [0, 1])
def test_with_a_reserve_the_last_step_ends_before_it(data, lag):
    """One second a step: the sixth ends at 6 s sharp, and a seventh would end in the reserve."""
    ticks = iter(range(100))
    config = with_train(steps=50, clock_limit_s=10.0, clock_reserve_s=4.0, warmdown_steps=2)
    trained, reports = run(data, config, clock_s=lambda: float(next(ticks)), lag=lag)
    assert (trained.steps, trained.elapsed_s) == (6, 6.0)
    assert [report.is_last for report in reports] == [False] * 5 + [True]
    # They fall as if the limit were 6 s.
    assert [report.rate_scale for report in reports[:5]] == [1.0, 1.0, 1.0, 1.0, 1.0]
    assert reports[5].rate_scale == 0.5


@pytest.mark.parametrize(("lag", "steps", "elapsed_s"), [(0, 5, 7.0), (1, 3, 5.0)])
def test_a_step_that_took_long_lately_may_come_again(data, lag, steps, elapsed_s):
    """Steps of 1 s but the second, of 3 s, and time until 9.5 s.

    At 7 s another of 3 s would end too late; with one in flight, two more at 4 s.
    """
    times = iter([0.0, 1.0, 4.0, *map(float, range(5, 100))])
    config = with_train(steps=50, clock_limit_s=10.0, clock_reserve_s=0.5, warmdown_steps=2)
    trained, _ = run(data, config, clock_s=lambda: next(times), lag=lag)
    assert (trained.steps, trained.elapsed_s) == (steps, elapsed_s)


class SavingEveryThirdStep:
    """A keeper whose checkpoints stop the clock's steps for two seconds."""

    start, losses, is_told_to_end = None, (), False

    def __init__(self, clock):
        self.clock, self.asked, self.kept_s = clock, 0, []

    def restore(self, _state):
        pass

    def is_due(self, _elapsed_s):
        self.asked += 1
        return self.asked % 3 == 0

    def keep(self, state):
        self.kept_s.append(state.elapsed_s)
        self.clock.now_s += 2.0


class Clock:
    """One second a step."""

    now_s = -1.0

    def __call__(self):
        self.now_s += 1.0
        return self.now_s


@pytest.mark.parametrize(("reserve_s", "ends_s", "kept_s"), [(3.1, 13.0, [3.0, 8.0]), (1.5, 16.0, [3.0, 8.0, 13.0])])
def test_a_checkpoint_is_not_begun_where_its_seconds_would_end_in_the_reserve(data, reserve_s, ends_s, kept_s):
    """Three steps, then 2 s of a checkpoint. At 13 s another with a step would end at 16 s; at 12 s a step fits."""
    clock = Clock()
    keeper = SavingEveryThirdStep(clock)
    config = with_train(steps=50, clock_limit_s=18.0, clock_reserve_s=reserve_s, warmdown_steps=2)
    model = initial_model(config.model, 1)
    spans = spans_of(data, config)
    trained = train(model, config.train, spans, Ranks(), clock_s=clock, on_step=lambda _report: None, keeper=keeper)
    assert (trained.elapsed_s, keeper.kept_s) == (ends_s, kept_s)


class BesideASlowRank(Ranks):
    """One rank alone, told that another's clock shows two seconds more."""

    def largest(self, elapsed_s, told):
        return elapsed_s + 2.0, told


def test_a_run_stops_when_any_ranks_clock_reaches_the_limit_and_the_rates_follow_that_clock(data):
    ticks, reports = iter(range(100)), []
    config = with_train(steps=50, clock_limit_s=4.0, warmdown_steps=2)
    trained = train(
        initial_model(config.model, 1),
        config.train,
        spans_of(data, config),
        BesideASlowRank(),
        clock_s=lambda: float(next(ticks)),
        on_step=reports.append,
    )
    assert (trained.steps, trained.elapsed_s) == (2, 4.0)
    assert [report.rate_scale for report in reports] == [1.0, pytest.approx(1 / 6)]  # after 3 s: 1 s left of 2 x 3 s


def test_a_run_that_averages_snapshots_exports_their_mean(data):
    """Steps 5 and 6 are done at rates x2/3 and x1/3."""
    config = with_train(average="swa", swa_below_scale=0.7, swa_every_steps=1)
    model, weights = initial_model(config.model, 1), []

    def keep(_report):
        weights.append({name: tensor.double() for name, tensor in model.state_dict().items()})

    trained = train(model, config.train, spans_of(data, config), Ranks(), clock_s=lambda: 0.0, on_step=keep)
    for name, tensor in trained.state.items():
        expected = ((weights[4][name] + weights[5][name]) / 2).to(tensor.dtype)
        torch.testing.assert_close(tensor, expected, rtol=2**-7 if tensor.dtype == torch.bfloat16 else 1e-6, atol=1e-7)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_loss_that_is_not_finite_stops_the_run(data, lag):
    config = with_train(steps=50, muon_lr=1e38)
    with pytest.raises(NonFiniteLoss, match=r"in step 2; nothing of this run is kept\. Lower muon_lr"):
        run(data, config, lag=lag)


def test_it_does_so_before_the_weights_are_touched_where_the_host_waits_for_every_step(data):
    config = with_train(muon_lr=1e38)
    model, after_first = initial_model(config.model, 1), {}

    def keep(_report):
        after_first.update({name: tensor.clone() for name, tensor in model.state_dict().items()})

    with pytest.raises(NonFiniteLoss):
        train(model, config.train, spans_of(data, config), Ranks(), clock_s=lambda: 0.0, on_step=keep)
    assert same(model.state_dict(), after_first)


def linear_bits(model):
    return {name: module.fake_bits for name, module in model.named_modules() if isinstance(module, CastedLinear)}


def test_late_rounding_acts_on_the_block_matrices_from_its_trigger_on_and_is_over_at_the_end(data):
    """Rates of steps 4 to 6 are x1, x2/3, x1/3: the last step alone is below one half."""
    config = with_train(late_qat_below_scale=0.5, late_qat_bits=3)
    model, bits = initial_model(config.model, 1), []
    _, plain = run(data, TINY)
    reports = []

    def take(report):
        reports.append(report)
        bits.append(linear_bits(model))

    trained = train(model, config.train, spans_of(data, config), Ranks(), clock_s=lambda: 0.0, on_step=take)
    assert all(bit is None for step in bits[:5] for bit in step.values())
    assert {name for name, bit in bits[5].items() if bit == 3} == {n for n in bits[5] if n.startswith("blocks.")}
    assert not any(linear_bits(model).values())
    assert reports[:5] == plain[:5]
    assert reports[5].loss_nats != plain[5].loss_nats
    assert not same(trained.state, run(data, TINY)[0].state)


def test_the_trigger_of_late_rounding_is_sticky(data):
    """A clock that stands still for a step raises the rates again, and the rounding stays."""
    config = with_train(steps=50, clock_limit_s=4.0, warmdown_steps=2, late_qat_below_scale=0.9, late_qat_bits=3)
    model, bits, scales = initial_model(config.model, 1), [], []
    times = iter([0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0])

    def take(report):
        bits.append(model.blocks[0].mlp.fc.fake_bits)
        scales.append(report.rate_scale)

    train(model, config.train, spans_of(data, config), Ranks(), clock_s=lambda: next(times), on_step=take)
    assert scales == [1.0, 1.0, 1.0, 0.5, pytest.approx(2 / 3), pytest.approx(5 / 6), 1.0]
    assert bits == [None, None, None, 3, 3, 3, 3]


def test_the_rounding_penalty_acts_at_low_rates_and_is_part_of_the_loss(data):
    """All but the last two steps are those of a run without it, bit for bit."""
    plain, plain_reports = run(data, TINY)
    config = with_train(crownq_weight=50.0, crownq_below_scale=0.7)
    penalized, reports = run(data, config)
    assert reports[:4] == plain_reports[:4]
    assert not same(penalized.state, plain.state)
    model, spans = initial_model(config.model, 1), spans_of(data, config)
    loss = accumulate_gradients(model, config.train, spans, Ranks(), 0)
    penalized_loss = accumulate_gradients(model, config.train, spans, Ranks(), 0, penalized=True)
    blocks = [linear.weight for linear in block_linears(model).values()]
    assert len(blocks) == 18
    torch.testing.assert_close(
        penalized_loss - loss, 50.0 * rounding_variance(blocks, 5).detach(), rtol=1e-4, atol=1e-6
    )


def test_a_compiled_network_sees_the_rounding_switched_on_and_off(data):
    """Captured whole, as on CUDA; the capture is what could have frozen the switch, whatever compiles it further."""
    model = initial_model(TINY.model, 1)
    for linear in block_linears(model).values():
        nn.init.normal_(linear.weight)
    compiled = torch.compile(model.loss, dynamic=False, fullgraph=True, backend="eager")
    tokens_BT, targets_BT = spans_of(data, TINY).read(0, 0, torch.device("cpu"))
    losses = []
    for bits in (None, 3, None):
        for linear in block_linears(model).values():
            linear.fake_bits = bits
        losses.append(compiled(tokens_BT, targets_BT).item())
        assert losses[-1] == model.loss(tokens_BT, targets_BT).item()
    assert losses[0] == losses[2] != losses[1]


def test_priming_runs_every_graph_that_a_training_has(data):
    """With late QAT the network is another one once weights are rounded; both are left as they were."""
    for late, graphs in ((None, [None]), (0.5, [None, 6])):
        config, bits = with_train(priming_steps=2, late_qat_below_scale=late, late_qat_bits=6), []
        model = initial_model(config.model, 1)

        def loss(tokens, targets, model=model, bits=bits):
            bits.append(next(iter(block_linears(model).values())).fake_bits)
            return model.loss(tokens, targets)

        prime(model, config.train, spans_of(data, config), Ranks(), loss=loss)
        assert list(dict.fromkeys(bits)) == graphs
        assert {linear.fake_bits for linear in block_linears(model).values()} == {None}


def test_the_clock_starts_once_all_ranks_are_there(data):
    events = []

    class Watched(Ranks):
        def wait_for_all(self):
            events.append("all are there")

        def begin_step(self, step):
            events.append(f"step {step}")

    def clock_s():
        events.append("clock read")
        return 0.0

    model = initial_model(TINY.model, 1)
    train(model, TINY.train, spans_of(data, TINY), Watched(), clock_s=clock_s, on_step=lambda _report: None)
    assert events[:3] == ["all are there", "clock read", "step 1"]
    assert events.count("all are there") == 1
    assert [event for event in events if event.startswith("step")] == [f"step {n}" for n in range(1, 7)]


def test_what_all_ranks_share_is_compared_before_every_checkpoint_and_at_the_end(data, monkeypatch):
    events = []

    class EveryStep:
        losses, is_told_to_end, start = (), False, None

        def restore(self, _state):
            pass

        def is_due(self, _elapsed_s):
            return True

        def keep(self, state):
            events.append(f"kept {state.steps}")

    def compare(tensors, _ranks, what):
        assert {"weight.tok_emb.weight", "weight.smear.gate"} < tensors.keys()
        events.append(what)

    monkeypatch.setattr(loop, "refuse_difference", compare)
    model = initial_model(TINY.model, 1)
    spans = spans_of(data, TINY)
    train(model, TINY.train, spans, Ranks(), clock_s=lambda: 0.0, on_step=lambda _report: None, keeper=EveryStep())
    expected = [event for n in range(1, 6) for event in (f"after step {n}", f"kept {n}")]
    assert events == [*expected, "after step 6, the last"]
