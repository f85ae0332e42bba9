"""The training loop.

Source: order of events and arithmetic of PR #715, with two intended differences: all ranks scale rates by the slowest
rank's clock (the originals' ranks use their own and drift apart), and a loss that is not finite stops the run.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pgolf.errors import NonFiniteLoss, Stopped
from pgolf.model.gpt import GPT
from pgolf.ranks.agreement import refuse_difference
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_line
from pgolf.train.averaging import WeightAverage
from pgolf.train.batches import Batches
from pgolf.train.config import TrainConfig
from pgolf.train.crownq import rounding_variance
from pgolf.train.groups import block_linears
from pgolf.train.network_loss import NetworkLoss
from pgolf.train.optimizers import Optimizers
from pgolf.train.schedule import muon_momentum, rate_scale, repeats_layers
from pgolf.train.state import Keeper, TrainingState
from pgolf.train.time_left import TimeLeft


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """A finished step. steps_done: including it. loss_nats: mean over the step's targets, before the step, including
    the penalty if active. gradient_norm: before clipping; the mean over ranks if each clips its own.
    """

    steps_done: int
    loss_nats: float
    gradient_norm: float
    rate_scale: float
    momentum: float
    elapsed_s: float
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """state: averaged weights by state name. elapsed_s: training time, priming excluded."""

    state: dict[str, Tensor] = field(repr=False)
    steps: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launched:
    """A step that the device may still be running. loss_and_norm: being copied to the host; valid once `end` passed."""

    steps_done: int
    rate_scale: float
    momentum: float
    loss_and_norm: Tensor
    end: torch.cuda.Event | None

    def finished(self) -> tuple[float, float]:
        """Wait for the device and return loss and norm. Raises NonFiniteLoss."""
        if self.end is not None:
            self.end.synchronize()
        return _finite(self.steps_done, self.loss_and_norm)


def prime(model: GPT, config: TrainConfig, spans: Batches, ranks: Ranks, *, loss: NetworkLoss | None = None) -> None:
    """Run the first steps and undo them, so that allocation, compilation and kernel selection are not timed.

    Where training switches recurrence on midway, as many again with it. Weights, data position and later optimizers are
    unaffected. No weight averaging.
    """
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizers = Optimizers(model, config, ranks)
    for step in range(config.primed_steps):
        if config.recurrence_from is not None:
            model.loops = step >= config.priming_steps
        accumulate_gradients(model, config, spans, ranks, step, loss=loss)
        average_and_clip(model, config, optimizers)
        optimizers.step(rate_scale=1.0, momentum=muon_momentum(config, step % config.priming_steps))
    if config.late_qat_below_scale is not None:  # with rounding it is compiled separately
        _set_fake_bits(model, config.late_qat_bits)
        accumulate_gradients(model, config, spans, ranks, 0, loss=loss)
        _set_fake_bits(model, None)
    model.load_state_dict(initial)
    model.zero_grad(set_to_none=True)


def train(
    model: GPT,
    config: TrainConfig,
    spans: Batches,
    ranks: Ranks,
    *,
    clock_s: Callable[[], float],
    on_step: Callable[[StepReport], None],
    loss: NetworkLoss | None = None,
    lag: int = 0,
    keeper: Keeper | None = None,
) -> Trained:
    """Train `model` in place until steps or clock run out, and return its averaged weights.

    Starts at stream position 0, or at the checkpoint that `keeper` restores. Checkpoints are taken when the
    device has nothing in flight.

    clock_s: seconds from any fixed moment; read once before the first step and once after each step, when the device
    has finished it. loss: `network_loss`; None: `model.loss`. lag: steps launched before the host waits for one, so
    that the device never waits for the host; weights and reports are the same, but a run that stops by the clock does
    `lag` more steps, unless it keeps a reserve (`pgolf.train.time_left`). It starts on all ranks together.

    Raises RanksDiffer if their weights are not equal at a checkpoint or at the end; NonFiniteLoss, on every rank in the
    same step, with lag 0 before the step has touched the weights; TrainingError if there is no snapshot to average; and
    Stopped, on every rank after the same step, once one rank's keeper is asked to end and the state is saved.
    """
    model.train()
    device = model.tok_emb.weight.device
    optimizers = Optimizers(model, config, ranks)
    average = WeightAverage(model.state_dict(), config)
    state = TrainingState(model, optimizers, average)
    if keeper is not None:
        keeper.restore(state)
    launched: deque[_Launched] = deque()
    rounding, finished, elapsed_s, ending = state.rounding, state.steps, state.elapsed_s, False
    if rounding:
        _set_fake_bits(model, config.late_qat_bits)
    time_left = TimeLeft(config, lag=lag, elapsed_s=elapsed_s)
    _synchronize(device)
    ranks.wait_for_all()
    start_s = clock_s() - elapsed_s
    for step in range(finished, config.steps):
        ranks.begin_step(step + 1)
        # Assume that the steps in flight take as long as earlier ones; with lag 0 there are none.
        now_s = elapsed_s + (step - finished) * elapsed_s / max(finished, 1)
        scale, momentum = rate_scale(config, step, now_s), muon_momentum(config, step)
        if config.recurrence_from is not None:
            recurs = repeats_layers(config, step, elapsed_s)
            if recurs and not model.loops and ranks.rank == 0:
                print_line(f"recurrent layers repeat from step {step + 1} on")
            model.loops = recurs
        if not rounding and config.late_qat_below_scale is not None and scale < config.late_qat_below_scale:
            _set_fake_bits(model, config.late_qat_bits)
            rounding = True
        penalized = config.crownq_weight > 0 and scale < config.crownq_below_scale
        own_loss = accumulate_gradients(model, config, spans, ranks, step, loss=loss, penalized=penalized)
        norm = average_and_clip(model, config, optimizers)
        loss_and_norm = ranks.mean(torch.stack((own_loss, norm.float()))).to("cpu", non_blocking=True)
        if lag == 0:
            _synchronize(device)
            _finite(step + 1, loss_and_norm)
        optimizers.step(rate_scale=scale, momentum=momentum)
        average.update(steps_done=step + 1, rate_scale=scale)
        launched.append(
            _Launched(
                steps_done=step + 1,
                rate_scale=scale,
                momentum=momentum,
                loss_and_norm=loss_and_norm,
                end=_recorded_event(device),
            )
        )
        is_last = step + 1 == config.steps
        saving = keeper is not None and keeper.is_due(elapsed_s)
        while len(launched) > (0 if is_last or saving or ending else lag):
            oldest = launched.popleft()
            loss_nats, gradient_norm = oldest.finished()
            told_to_end = keeper is not None and keeper.is_told_to_end
            elapsed_s, any_requested = ranks.largest(clock_s() - start_s, float(told_to_end))
            ending = ending or any_requested > 0
            finished = oldest.steps_done
            time_left.step_ended(elapsed_s)
            is_last = is_last or time_left.is_over(saving=saving)
            on_step(
                StepReport(
                    steps_done=finished,
                    loss_nats=loss_nats,
                    gradient_norm=gradient_norm,
                    rate_scale=oldest.rate_scale,
                    momentum=oldest.momentum,
                    elapsed_s=elapsed_s,
                    is_last=is_last and not launched,
                )
            )
        if is_last:
            break
        if keeper is not None and (saving or ending):
            state.steps, state.elapsed_s, state.rounding = finished, elapsed_s, rounding
            refuse_difference(state.shared, ranks, f"after step {finished}")
            if ending:
                keeper.keep_last(state)
                raise Stopped(f"training was told to stop and did so after step {finished}; run again to resume there")
            keeper.keep(state)
            time_left.saved()
    _set_fake_bits(model, None)
    if config.recurrence_from is not None:
        model.loops = True
    model.zero_grad(set_to_none=True)
    refuse_difference(state.shared, ranks, f"after step {finished}, the last")
    return Trained(state=average.state(steps_done=finished), steps=finished, elapsed_s=elapsed_s)


def accumulate_gradients(
    model: GPT,
    config: TrainConfig,
    spans: Batches,
    ranks: Ranks,
    step: int,
    *,
    loss: NetworkLoss | None = None,
    penalized: bool = False,
) -> Tensor:
    """Accumulate gradients of the mean loss over this rank's spans (rank, rank + W, …). Returns that loss, float32.

    penalized: add crownq_weight times the rounding variance of the block matrices; computed once, since it is the same
    for all spans.
    """
    model.zero_grad(set_to_none=True)
    loss = loss or model.loss
    device = model.tok_emb.weight.device
    micro_steps = config.spans_per_step // ranks.world_size
    total = torch.zeros((), device=device)
    for micro_step in range(micro_steps):
        tokens_BT, targets_BT = spans.read(step, micro_step * ranks.world_size + ranks.rank, device)
        total += _backward(loss(tokens_BT, targets_BT) / micro_steps)
    if penalized:
        weights = [linear.weight for linear in block_linears(model).values()]
        total += _backward(config.crownq_weight * rounding_variance(weights, config.crownq_bits))
    return total


def _backward(loss: Tensor) -> Tensor:
    """Accumulate the loss's gradients; returns its value."""
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def average_and_clip(model: GPT, config: TrainConfig, optimizers: Optimizers) -> Tensor:
    """Average and clip gradients in the configured order; returns their 2-norm before clipping."""
    parameters = list(model.parameters())
    if config.clip_at == "mean":
        optimizers.average_gradients()
    norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    if config.clip_at == "rank":
        optimizers.average_gradients()
    return norm


def _set_fake_bits(model: GPT, bits: int | None) -> None:
    for linear in block_linears(model).values():
        linear.fake_bits = bits


def _finite(steps_done: int, loss_and_norm: Tensor) -> tuple[float, float]:
    loss_nats, gradient_norm = loss_and_norm.tolist()
    if math.isfinite(loss_nats) and math.isfinite(gradient_norm):
        return loss_nats, gradient_norm
    what = f"the loss is {loss_nats}" if not math.isfinite(loss_nats) else f"the gradient's norm is {gradient_norm}"
    raise NonFiniteLoss(
        f"{what} in step {steps_done}; nothing of this run is kept. Lower muon_lr, embedding_lr or scalar_lr"
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _recorded_event(device: torch.device) -> torch.cuda.Event | None:
    """A CUDA event after everything launched so far."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event
