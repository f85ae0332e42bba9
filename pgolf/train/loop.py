"""One optimizer step, and the run made of them.

Source: order of events and arithmetic of PR #715. It differs in two places, on purpose: the clock that scales the
rates is the slowest rank's on all ranks (the originals' ranks use their own and drift apart), and a loss that is not
finite stops the run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pgolf.errors import NonFiniteLoss
from pgolf.model.gpt import GPT
from pgolf.train.config import TrainConfig
from pgolf.train.ema import ExponentialAverage
from pgolf.train.groups import Optimizers
from pgolf.train.ranks import Ranks
from pgolf.train.schedule import muon_momentum, rate_scale
from pgolf.train.spans import SpanReader


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """A finished step. steps_done counts it; loss_nats is the mean over the step's targets, before the step."""

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


def prime(model: GPT, config: TrainConfig, spans: SpanReader, ranks: Ranks) -> None:
    """Run the first steps and undo them, so that allocation and kernel selection are over when the clock starts.

    Leaves weights, data position and the later optimizers as if it had not happened. Not clipped, not averaged.
    """
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizers = Optimizers(model, config, ranks)
    for step in range(config.priming_steps):
        accumulate_gradients(model, config, spans, ranks, step)
        ranks.mean_gradients(list(model.parameters()))
        optimizers.step(rate_scale=1.0, momentum=config.muon_momentum)
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
) -> Trained:
    """Train `model` in place from stream position 0 until steps or clock run out, and return its averaged weights.

    clock_s: seconds from any fixed moment; read once before the first step and once after each, when the device is
    idle. Raises NonFiniteLoss, on every rank in the same step, before the step has touched the weights.
    """
    parameters = list(model.parameters())
    device = parameters[0].device
    optimizers = Optimizers(model, config, ranks)
    average = ExponentialAverage(model.state_dict(), config.ema_decay)
    start_s = clock_s()
    elapsed_s = 0.0
    for step in range(config.steps):
        scale, momentum = rate_scale(config, step, elapsed_s), muon_momentum(config, step)
        loss = ranks.mean(accumulate_gradients(model, config, spans, ranks, step))
        ranks.mean_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        loss_nats, gradient_norm = torch.stack((loss.float(), norm.float())).tolist()
        _stop_unless_finite(step, loss_nats, gradient_norm)
        optimizers.step(rate_scale=scale, momentum=momentum)
        average.update(model.state_dict())
        if device.type == "cuda":
            torch.cuda.synchronize()
        elapsed_s = ranks.largest(clock_s() - start_s, device)
        is_last = step + 1 == config.steps or (config.clock_limit_s is not None and elapsed_s >= config.clock_limit_s)
        on_step(
            StepReport(
                steps_done=step + 1,
                loss_nats=loss_nats,
                gradient_norm=gradient_norm,
                rate_scale=scale,
                momentum=momentum,
                elapsed_s=elapsed_s,
                is_last=is_last,
            )
        )
        if is_last:
            break
    model.zero_grad(set_to_none=True)
    return Trained(state=average.state(), steps=step + 1, elapsed_s=elapsed_s)


def accumulate_gradients(model: GPT, config: TrainConfig, spans: SpanReader, ranks: Ranks, step: int) -> Tensor:
    """This rank's share of a step: spans rank, rank + W, …; gradients of their mean loss. Returns that loss."""
    model.zero_grad(set_to_none=True)
    device = model.tok_emb.weight.device
    micro_steps = config.spans_per_step // ranks.world_size
    total = torch.zeros((), device=device)
    for micro_step in range(micro_steps):
        tokens_BT, targets_BT = spans.read(step, micro_step * ranks.world_size + ranks.rank, device)
        loss = model.loss(tokens_BT, targets_BT) / micro_steps
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def _stop_unless_finite(step: int, loss_nats: float, gradient_norm: float) -> None:
    if math.isfinite(loss_nats) and math.isfinite(gradient_norm):
        return
    what = f"the loss is {loss_nats}" if not math.isfinite(loss_nats) else f"the gradient's norm is {gradient_norm}"
    raise NonFiniteLoss(
        f"{what} in step {step + 1}; the weights are those of step {step}. Lower muon_lr, embedding_lr or scalar_lr"
    )
