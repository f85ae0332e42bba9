"""Test-time training: update the network's weights on the validation stream, chunk by chunk.

Shapes: R rows in one backward pass, T positions of a row.
Source: openai/parameter-golf PRs #745 (after a chunk is scored) and #761 (before anything is); the update is the same.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pgolf.errors import ConfigError, NonFiniteLoss
from pgolf.eval.batch_threads import map_in_order
from pgolf.eval.chunks import learned_rows, shares
from pgolf.eval.ttt_config import TttConfig
from pgolf.model.gpt import GPT
from pgolf.quant.threads import intra_op_threads
from pgolf.ranks.devices import seconds_when_done
from pgolf.ranks.group import Ranks

# Positions per backward pass: 16,384 are the largest group of the two published systems.
POSITIONS_AT_A_TIME = 1 << 14


class Learner:
    """A network being trained at test time, with the optimizer state carried from chunk to chunk.

    parameters: the trainable ones. wall_s: seconds spent learning so far. Needs the memory of `threads` backward passes
    over POSITIONS_AT_A_TIME positions each.

    On a CPU the weights do not depend on the number of threads or ranks. On CUDA the backward pass of attention sums in
    nondeterministic order, so two runs agree only up to rounding; all ranks of a run agree bit for bit.
    """

    def __init__(
        self,
        model: GPT,
        tokens: npt.NDArray[np.uint16],
        config: TttConfig,
        *,
        threads: int,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    ) -> None:
        """tokens: the stream x[0..N]. ranks: the group that learns together, each on its own copy of the network.

        Raises ConfigError if every block would be frozen.
        """
        blocks = len(model.blocks)
        if config.frozen_blocks >= blocks:
            raise ConfigError(
                f"ttt.frozen_blocks {config.frozen_blocks} freezes all {blocks} blocks of the network; "
                f"--set score.ttt.frozen_blocks={blocks - 1} is the most"
            )
        self._model, self._tokens, self._config, self._threads = model, tokens, config, threads
        self._ranks = ranks
        targets = tokens.size - 1
        self._rows = learned_rows(targets, config).tolist()
        self._chunks = -(-targets // config.chunk_tokens)
        self.wall_s = 0.0
        model.blocks[: config.frozen_blocks].requires_grad_(False)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = _optimizer(self.parameters, config)
        if config.projection_bits is not None:
            if model.config.bigram_buckets:
                model.bigram.proj.fake_bits = config.projection_bits
            if model.ve_shared is not None:
                model.ve_shared.proj.fake_bits = config.projection_bits

    @property
    def chunks(self) -> int:
        """Number of chunks to learn, from the start of the stream."""
        return len(self._rows)

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""
        return self.chunks * self._config.epochs

    def targets_of(self, chunk: int) -> int:
        """Number of targets learned in a chunk."""
        return int(self._rows[chunk]) * self._config.sequence_length

    def learn(self, chunk: int) -> None:
        """Update the weights on a chunk's rows, `epochs` times; leaves the network in evaluation mode.

        The loss is the mean, over groups with rows, of each group's mean loss.
        Raises NonFiniteLoss if the gradient is NaN or infinite.
        """
        # What is still being scored is not learning, and what is still being learned is.
        began_s = seconds_when_done(self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config, chunk, self._chunks)
        self._model.train()
        with intra_op_threads(1):
            for _ in range(self._config.epochs):
                self._set_gradients(chunk)
                norm = float(nn.utils.clip_grad_norm_(self.parameters, self._config.clip_norm))
                if not math.isfinite(norm):
                    raise NonFiniteLoss(
                        f"learning chunk {chunk:,} of the validation text gave a gradient of norm {norm}; "
                        f"lower score.ttt.lr (now {self._config.lr:g})"
                    )
                self._optimizer.step()
        self._model.eval()
        self.wall_s += seconds_when_done(self._device) - began_s

    def _set_gradients(self, chunk: int) -> None:
        """Sum the parts' gradients in float32, so that a bfloat16 table's gradient is rounded only once, at the end.

        Always in the order of the parts, whichever rank computed them, so that the sum does not depend on the ranks.
        """
        sums = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self.parameters]
        for gradients, weight in self._gradients_of_parts(chunk):
            for total, gradient in zip(sums, gradients, strict=True):
                total.add_(gradient.float(), alpha=weight)
        for parameter, total in zip(self.parameters, sums, strict=True):
            parameter.grad = total.to(parameter.dtype)

    def _gradients_of_parts(self, chunk: int) -> Iterator[tuple[Sequence[Tensor], float]]:
        """Yield each part's gradients and the weight of its mean loss in the total loss."""
        parts = list(row_parts(int(self._rows[chunk]), self._config))
        if self._ranks.world_size == 1:
            yield from zip(self._gradients_of(chunk, parts), (weight for _, weight in parts), strict=True)
            return
        bounds = shares(len(parts), self._ranks.world_size).tolist()
        # Compute all of this rank's parts before the first exchange, so that ranks do not wait for each other per part.
        own = list(self._gradients_of(chunk, parts[slice(*bounds[self._ranks.rank : self._ranks.rank + 2])]))
        sizes = [parameter.numel() for parameter in self.parameters]
        for owner, (first, last) in enumerate(itertools.pairwise(bounds)):
            for part in range(first, last):
                if owner == self._ranks.rank:
                    flat = torch.cat([gradient.float().flatten() for gradient in own[part - first]])
                else:
                    flat = torch.empty(sum(sizes), device=self._device)
                self._ranks.share(flat, owner)
                shaped = zip(torch.split(flat, sizes), self.parameters, strict=True)
                yield [piece.view_as(parameter) for piece, parameter in shaped], parts[part][1]

    def _gradients_of(self, chunk: int, parts: Sequence[tuple[range, float]]) -> Iterator[tuple[Tensor, ...]]:
        """Yield the gradients of each part's mean loss, in order."""

        def work(part: tuple[range, float]) -> tuple[Tensor, ...]:
            return self._gradients(chunk, part[0])

        if self._device.type == "cpu":
            return map_in_order(work, parts, threads=self._threads)
        return map(work, parts)

    def _gradients(self, chunk: int, rows: range) -> tuple[Tensor, ...]:
        T = self._config.sequence_length
        first = chunk * self._config.chunk_tokens + rows.start * T
        span = torch.from_numpy(self._tokens[first : first + len(rows) * T + 1].astype(np.int64))
        span = span.to(self._device)
        # Both published programs run this training uncompiled.
        loss = self._model.loss(span[:-1].view(-1, T), span[1:].view(-1, T), rounding="each")
        # Not loss.backward(): parts on several threads would race on .grad. Unused parameters get a gradient of 0.
        return torch.autograd.grad(loss, self.parameters, materialize_grads=True)

    @property
    def _device(self) -> torch.device:
        return self._model.tok_emb.weight.device


def learning_rate(config: TttConfig, chunk: int, chunks: int) -> float:
    """Learning rate at a chunk: constant, or half a cosine from `lr` at the first chunk to 0 at the last."""
    if config.lr_schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * chunk / max(1, chunks - 1)))


def row_parts(rows: int, config: TttConfig) -> Iterator[tuple[range, float]]:
    """Split a chunk's rows into parts that fit one backward pass, each with its weight in the mean of group means."""
    bounds = shares(rows, config.groups).tolist()
    groups = [range(first, last) for first, last in itertools.pairwise(bounds) if first < last]
    at_a_time = max(1, POSITIONS_AT_A_TIME // config.sequence_length)
    for group in groups:
        for start in range(group.start, group.stop, at_a_time):
            part = range(start, min(start + at_a_time, group.stop))
            yield part, len(part) / (len(group) * len(groups))


def _optimizer(parameters: list[nn.Parameter], config: TttConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(parameters, lr=config.lr, betas=betas, eps=config.eps, weight_decay=config.weight_decay)
