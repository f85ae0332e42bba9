"""One optimizer step, and the run made of them.

Source: order of events and arithmetic of PR #715. It differs in two places, on purpose: the clock that scales the
rates is the slowest rank's on all ranks (the originals' ranks use their own and drift apart), and a loss that is not
finite stops the run.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pgolf.errors import NonFiniteLoss, Stopped
from pgolf.model.gpt import GPT
from pgolf.ranks.group import Ranks
from pgolf.train.averaging import WeightAverage
from pgolf.train.config import TrainConfig
from pgolf.train.crownq import rounding_variance
from pgolf.train.groups import block_linears
from pgolf.train.network_loss import NetworkLoss
from pgolf.train.optimizers import Optimizers
from pgolf.train.schedule import muon_momentum, rate_scale
from pgolf.train.spans import SpanReader
from pgolf.train.state import Keeper, TrainingState


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """A finished step. steps_done counts it; loss_nats is the mean over the step's targets, before the step, with the
    penalty where one acts. gradient_norm: before clipping; the mean over the ranks where each clips its own.
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
    """A step that the device may still be at. loss_and_norm: on its way to the host, there when `end` has passed."""

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


def prime(model: GPT, config: TrainConfig, spans: SpanReader, ranks: Ranks, *, loss: NetworkLoss | None = None) -> None:
    """Run the first steps and undo them, so that allocation, compilation and choice of kernels precede the clock.

    Leaves weights, data position and the later optimizers as if it had not happened. Not clipped, not averaged.
    """
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizers = Optimizers(model, config, ranks)
    for step in range(config.priming_steps):
        accumulate_gradients(model, config, spans, ranks, step, loss=loss)
        optimizers.average_gradients()
        optimizers.step(rate_scale=1.0, momentum=config.muon_momentum)
    if config.late_qat_below_scale is not None:  # compiled, that is another network
        _round_in_training(model, config.late_qat_bits)
        accumulate_gradients(model, config, spans, ranks, 0, loss=loss)
        _round_in_training(model, None)
    model.load_state_dict(initial)
    model.zero_grad(set_to_none=True)


def train(
    model: GPT,
    config: TrainConfig,
    spans: SpanReader,
    ranks: Ranks,
    *,
    clock_s: Callable[[], float],
    on_step: Callable[[StepReport], None],
    loss: NetworkLoss | None = None,
    lag: int = 0,
    keeper: Keeper | None = None,
) -> Trained:
    """Train `model` in place until steps or clock run out, and return its averaged weights.

    From stream position 0, or from where `keeper` puts it; what is kept is kept when the device has nothing in flight.

    clock_s: seconds from any fixed moment; read once before the first step and once after each, when the device has
    finished it. loss: `network_loss`; None: `model.loss`. lag: steps that are launched before the host waits for one,
    so that the device never waits for the host; weights and reports are the same, but a run that stops by the clock
    does `lag` steps more. Raises NonFiniteLoss, on every rank in the same step, with lag 0 before the step has touched
    the weights; TrainingError where no snapshot was taken for the mean of them; and Stopped, on every rank after the
    same step, once the keeper of one of them is told to end and the state is kept.
    """
    model.train()
    device = model.tok_emb.weight.device
    optimizers = Optimizers(model, config, ranks)
    average = WeightAverage(model.state_dict(), config)
    state = TrainingState(model, optimizers, average)
    if keeper is not None:
        keeper.restore(state)
    launched: deque[_Launched] = deque()
    rounding, finished, elapsed_s, ends = state.rounding, state.steps, state.elapsed_s, False
    if rounding:
        _round_in_training(model, config.late_qat_bits)
    _synchronize(device)
    start_s = clock_s() - elapsed_s
    for step in range(finished, config.steps):
        # The steps in flight have taken as long as those before them; with lag 0 there are none.
        now_s = elapsed_s + (step - finished) * elapsed_s / max(finished, 1)
        scale, momentum = rate_scale(config, step, now_s), muon_momentum(config, step)
        if not rounding and config.late_qat_below_scale is not None and scale < config.late_qat_below_scale:
            _round_in_training(model, config.late_qat_bits)
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
        keeps = keeper is not None and keeper.is_due(elapsed_s)
        while len(launched) > (0 if is_last or keeps or ends else lag):
            oldest = launched.popleft()
            loss_nats, gradient_norm = oldest.finished()
            told = keeper is not None and keeper.is_told_to_end
            elapsed_s, told_to_end = ranks.largest(clock_s() - start_s, float(told))
            ends = ends or told_to_end > 0
            finished = oldest.steps_done
            is_last = is_last or (config.clock_limit_s is not None and elapsed_s >= config.clock_limit_s)
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
        if keeper is not None and (keeps or ends):
            state.steps, state.elapsed_s, state.rounding = finished, elapsed_s, rounding
            if ends:
                keeper.keep_last(state)
                raise Stopped(f"training was told to end and did after step {finished}; run again to go on from there")
            keeper.keep(state)
    _round_in_training(model, None)
    model.zero_grad(set_to_none=True)
    return Trained(state=average.state(steps_done=finished), steps=finished, elapsed_s=elapsed_s)


def accumulate_gradients(
    model: GPT,
    config: TrainConfig,
    spans: SpanReader,
    ranks: Ranks,
    step: int,
    *,
    loss: NetworkLoss | None = None,
    penalized: bool = False,
) -> Tensor:
    """This rank's share of a step: spans rank, rank + W, …; gradients of their mean loss. Returns that loss, float32.

    penalized: with crownq_weight times the rounding variance of the block matrices added to every span's loss, which
    is taken once, because it is the same for all of them.
    """
    model.zero_grad(set_to_none=True)
    loss = loss or model.loss
    device = model.tok_emb.weight.device
    micro_steps = config.spans_per_step // ranks.world_size
    total = torch.zeros((), device=device)
    for micro_step in range(micro_steps):
        tokens_BT, targets_BT = spans.read(step, micro_step * ranks.world_size + ranks.rank, device)
        total += _descend(loss(tokens_BT, targets_BT) / micro_steps)
    if penalized:
        weights = [linear.weight for linear in block_linears(model).values()]
        total += _descend(config.crownq_weight * rounding_variance(weights, config.crownq_bits))
    return total


def _descend(loss: Tensor) -> Tensor:
    """Add the loss's gradients to those there are; returns its value."""
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def average_and_clip(model: GPT, config: TrainConfig, optimizers: Optimizers) -> Tensor:
    """Gradients as the optimizers expect them; returns their 2-norm before clipping."""
    parameters = list(model.parameters())
    if config.clip_at == "mean":
        optimizers.average_gradients()
    norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    if config.clip_at == "rank":
        optimizers.average_gradients()
    return norm


def _round_in_training(model: GPT, bits: int | None) -> None:
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
    """An event at the end of what has been launched so far."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event
