"""Forward passes over batches of sliding windows: loss and entropy at the scored positions only.

Stream and plan live on the network's device and everything is gathered there, so the host never waits for the device
inside the batch loop; results are copied back while later batches run.

Shapes: B windows of a batch, T positions of a window, S of them (the last ones) whose hidden state is needed,
D residual width, V vocabulary; P positions of a batch that are predicted from, R of them that are scored (records),
both in evaluation order; K hint columns, C = 2 + K columns of numbers.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgolf.eval.batch_threads import map_in_order
from pgolf.eval.chunks import WindowBatch
from pgolf.eval.config import ScoreConfig
from pgolf.eval.windows import WindowPlan
from pgolf.machine.in_order import Item
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.precision import precision_for
from pgolf.model.softcap import LogitRounding

Tokens = npt.NDArray[np.uint16]
Columns = npt.NDArray[np.float32]  # [C, R] or [C, P]: loss, entropy, then a log-probability per hint column

# Logits per block, for any vocabulary; the softmax needs three arrays of them. 16 Mi float32 are 64 MiB. On a CPU such
# an array is mapped anew for every operation: at vocabulary 8192 blocks of 4 MiB take a third of the CPU time, with the
# same bits (width 64 to 512, 2026-11-30).
LOGITS_AT_A_TIME = {"cpu": 1 << 20, "cuda": 1 << 24}

# Memory for the activations of one batch. Constants, not the machine's free memory: the number of windows in a batch
# changes the last bits of a trace.
ACTIVATION_BYTES = {"cpu": 96 << 20, "cuda": 8 << 30}

# Batches launched before the results of the first are read.
_BATCHES_AHEAD = 4


def windows_at_a_time(config: ScoreConfig, model: ModelConfig, device_type: str) -> int:
    """Windows per forward pass: as configured, or as many as fit into `ACTIVATION_BYTES`.

    Counted per position: the skips and about eight vectors in the residual stream's format; queries, keys and values
    and three vectors of the MLP in that of matrix products.
    """
    if config.batch_windows is not None:
        return config.batch_windows
    precision = precision_for(model, torch.device(device_type))
    stream = (model.encoder_layers + 8) * model.width
    linear = 2 * model.width + 3 * model.kv_width + 3 * model.mlp_width
    window_bytes = config.window * (stream * precision.residual.itemsize + linear * precision.linear.itemsize)
    return max(1, ACTIVATION_BYTES[device_type] // window_bytes)


@dataclass(frozen=True, slots=True)
class Stream:
    """The validation data on the network's device.

    packed_tokens: x[0..N] as int16 bit patterns (torch has few operations on uint16), [N + 1]. hints: per record of the
    plan, the tokens whose log-probability is wanted, -1 for none, int32 [R, K]; K is 0 without hints.
    """

    packed_tokens: Tensor
    hints: Tensor

    @classmethod
    def on(cls, device: torch.device, tokens: Tokens, hints_RK: npt.NDArray[np.int32] | None = None) -> Self:
        """Copy a stream, and hints in record order, to a device."""
        copied = torch.from_numpy(np.array(tokens).view(np.int16)).to(device)
        hints = torch.empty(0, 0, dtype=torch.int32) if hints_RK is None else torch.from_numpy(hints_RK)
        return cls(copied, hints.to(device))

    def tokens(self, index: Tensor) -> Tensor:
        """Token ids at any positions, int64 of the index's shape."""
        return self.packed_tokens[index].long() & 0xFFFF


class WindowPass:
    """Runs the windows of a plan through a network, batch by batch."""

    def __init__(self, model: GPT, stream: Stream, plan: WindowPlan, config: ScoreConfig) -> None:
        self._model, self._stream, self._plan, self._config = model, stream, plan, config
        device = model.tok_emb.weight.device
        self._device = device
        self._start, self._end, self._score_from, self._first_record = (
            torch.from_numpy(column).to(device) for column in (plan.start, plan.end, plan.score_from, plan.first_record)
        )

    def run(self, batches: Iterable[WindowBatch], *, threads: int) -> Iterator[Columns]:
        """Yield the columns of every batch in order: [C, R], or with batch means [C, P].

        threads: batches computed in parallel on a CPU, each on a single thread, so that the numbers do not depend on
        the thread count. Holds threads + 1 batches in memory.
        """
        return computed(self.columns, batches, self._device, threads=threads)

    @torch.inference_mode()
    def columns(self, batch: WindowBatch) -> Tensor:
        """Columns of one batch, float32 on the device: loss -ln q(next), entropy of q in nats, ln q of every hint.

        At the scored positions only, or at all positions if batch means are wanted. Never waits for the device.
        """
        plan, device = self._plan, self._device
        own = slice(batch.windows.start, batch.windows.stop)
        start_B, end_B, score_from_B = self._start[own], self._end[own], self._score_from[own]
        position_BT = start_B[:, None] + torch.arange(plan.window, device=device)
        # Always a full window wide, because the rotary base depends on the width; attention is causal, so padding on
        # the right changes nothing.
        tokens_BT = self._stream.tokens(position_BT.clamp(max=plan.targets)).masked_fill(
            position_BT >= end_B[:, None], 0
        )
        first_of_plan = plan.score_from if self._config.batch_means is None else plan.start
        first_B = score_from_B if self._config.batch_means is None else start_B
        P = int((plan.end[own] - first_of_plan[own]).sum())
        S = plan.window - int((first_of_plan[own] - plan.start[own]).min())
        h_BSD = self._model.hidden(tokens_BT, last=S)

        lengths_B = end_B - first_B
        row_P = torch.repeat_interleave(torch.arange(len(lengths_B), device=device), lengths_B, output_size=P)
        before_B = lengths_B.cumsum(0) - lengths_B
        position_P = torch.arange(P, device=device) + (first_B - before_B)[row_P]
        if h_BSD.shape[0] * S == P:
            h_PD = h_BSD.flatten(0, 1)
        else:
            h_PD = h_BSD[row_P, position_P - (start_B + plan.window - S)[row_P]]
        return network_columns(
            self._model,
            h_PD,
            self._stream.tokens(position_P + 1),
            self._hints(row_P, position_P, batch),
            self._config.logit_rounding,
        )

    def _hints(self, row_P: Tensor, position_P: Tensor, batch: WindowBatch) -> Tensor:
        """The hints at every position, int32 [P, K]; -1 at positions that are not scored."""
        hints_RK = self._stream.hints
        if not hints_RK.shape[1]:
            return hints_RK.new_empty(len(row_P), 0)
        own = slice(batch.windows.start, batch.windows.stop)
        since_P = position_P - self._score_from[own][row_P]
        record_P = (self._first_record[own][row_P] + since_P).clamp(min=0)
        return hints_RK[record_P].masked_fill((since_P < 0)[:, None], -1)


def network_columns(model: GPT, h_PD: Tensor, next_P: Tensor, hints_PK: Tensor, rounding: LogitRounding) -> Tensor:
    """Columns [C, P], float32 in nats, from hidden states: loss, entropy, ln q of the hints (0 for a hint of -1)."""
    rows = max(1, LOGITS_AT_A_TIME[h_PD.device.type] // model.config.vocab_size)
    parts = []
    for part_PD, part_P, part_PK in zip(*(torch.split(each, rows) for each in (h_PD, next_P, hints_PK)), strict=True):
        logp_PV = torch.log_softmax(model.logits(part_PD, rounding), dim=-1)
        loss_P = -logp_PV.gather(1, part_P[:, None])[:, 0]
        entropy_P = -(logp_PV.detach().exp() * logp_PV.detach()).sum(-1)
        hint_PK = logp_PV.gather(1, part_PK.long().clamp(min=0)).masked_fill(part_PK < 0, 0.0)
        parts.append(torch.cat((loss_P[None], entropy_P[None], hint_PK.T)))
    return torch.cat(parts, dim=1)


def computed(
    work: Callable[[Item], Tensor], items: Iterable[Item], device: torch.device, *, threads: int
) -> Iterator[Columns]:
    """Yield work(item) on the host, in order: computed on `threads` CPU threads, or a few items late on CUDA."""
    if device.type == "cpu":
        return map_in_order(lambda item: work(item).numpy(), items, threads=threads)
    return _pipelined_copies(map(work, items))


def _pipelined_copies(columns: Iterable[Tensor]) -> Iterator[Columns]:
    """Yield host copies of device tensors, in order, reading each only after several later ones were launched."""
    slots = [_Slot() for _ in range(_BATCHES_AHEAD)]
    waiting: deque[_Slot] = deque()
    for index, tensor in enumerate(columns):
        if len(waiting) == _BATCHES_AHEAD:
            yield waiting.popleft().read()
        slot = slots[index % _BATCHES_AHEAD]
        slot.send(tensor)
        waiting.append(slot)
    while waiting:
        yield waiting.popleft().read()


class _Slot:
    """A reusable pinned buffer for asynchronous copies to the host."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0, pin_memory=True)
        self._sent = torch.Event("cuda")
        self._shape: torch.Size = torch.Size()

    def send(self, tensor: Tensor) -> None:
        """Start an asynchronous copy."""
        if self._buffer.numel() < tensor.numel():
            self._buffer = torch.empty(tensor.numel(), pin_memory=True)
        self._shape = tensor.shape
        self._buffer[: tensor.numel()].view(tensor.shape).copy_(tensor, non_blocking=True)
        self._sent.record()

    def read(self) -> Columns:
        """Wait for the copy and return its content (copied out, since the buffer is reused)."""
        self._sent.synchronize()
        columns: Columns = self._buffer[: self._shape.numel()].view(self._shape).numpy().copy()
        return columns
