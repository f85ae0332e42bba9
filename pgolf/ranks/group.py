"""The data-parallel process group: this process's rank, and the few collective operations we need."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pgolf.ranks import roll_call
from pgolf.ranks.devices import take_device
from pgolf.ranks.roll_call import RollCall, begin_roll_call, naming_lost_ranks


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank and size of the group; with world_size 1 nothing is communicated and no process group is needed.

    Every collective raises LaunchError if another rank has gone. roll: says which one is missing where one hangs.
    """

    rank: int = 0
    world_size: int = 1
    roll: RollCall | None = field(default=None, compare=False, repr=False)

    def begin_step(self, step: int) -> None:
        """Say where this rank is, for what others report of it. step: from 1."""
        if self.roll is not None:
            self.roll.step = step

    def _together(self) -> AbstractContextManager[None]:
        """Around every collective."""
        return naming_lost_ranks(self.roll, self.rank)

    def mean_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the ranks, in its dtype; all ranks get equal values.

        One flat buffer per dtype, so a step takes two all-reduces however many tensors there are.
        """
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
            same = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.flatten() for gradient in same])
            with self._together():
                dist.all_reduce(flat)
            flat /= self.world_size
            means = torch.split(flat, [gradient.numel() for gradient in same])
            torch._foreach_copy_(same, [mean.view_as(gradient) for gradient, mean in zip(same, means, strict=True)])

    def sum(self, tensor: Tensor) -> None:
        """Sum `tensor` over the ranks, in place (all-reduce)."""
        if self.world_size > 1:
            with self._together():
                dist.all_reduce(tensor)

    def share(self, tensor: Tensor, owner: int) -> None:
        """Copy the owner's values to all ranks, in place (broadcast)."""
        if self.world_size > 1:
            with self._together():
                dist.broadcast(tensor, src=owner)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the ranks."""
        self.sum(tensor)
        return tensor / self.world_size

    def part(self, stack: Tensor) -> Tensor:
        """This rank's slice of the first dimension, which is a multiple of world_size."""
        return stack.chunk(self.world_size)[self.rank]

    def mean_part(self, stack: Tensor) -> Tensor:
        """This rank's slice of the mean over the ranks, in the stack's dtype (reduce-scatter)."""
        if self.world_size == 1:
            return stack
        own = torch.empty_like(self.part(stack))
        with self._together():
            if stack.is_cuda:
                dist.reduce_scatter_tensor(own, stack, op=dist.ReduceOp.AVG)
                return own
            dist.all_reduce(stack)  # gloo has no mean, and its reduce-scatter lacks some dtypes
        return own.copy_(self.part(stack)).div_(self.world_size)

    def gather(self, part: Tensor) -> Tensor:
        """Concatenate the slices of all ranks (all-gather)."""
        if self.world_size == 1:
            return part
        whole = part.new_empty(self.world_size * len(part), *part.shape[1:])
        with self._together():
            dist.all_gather_into_tensor(whole, part.contiguous())
        return whole

    def largest(self, *values: float) -> tuple[float, ...]:
        """Maximum of each number over the ranks; on the CPU (gloo), so that no device is waited for."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        with self._together():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def wait_for_all(self) -> None:
        """Return once every rank has come here (on the hosts; their devices may still be at work)."""
        self.sum(torch.zeros(()))

    def text_of_first(self, text: str) -> str:
        """Rank 0's text, on all ranks."""
        if self.world_size == 1:
            return text
        texts = [text]
        with self._together():
            dist.broadcast_object_list(texts, src=0, device=torch.device("cpu"))
        return texts[0]


def join_ranks(
    device_type: Literal["cpu", "cuda"], on_missing: Callable[[str], None] | None = None
) -> tuple[Ranks, torch.device]:
    """Join the process group that torchrun started on this machine; returns this process's rank and device.

    on_missing: called in a thread, with what to say, once this rank has waited for COLLECTIVE_LIMIT_S for another that
    hangs; default: print it and end this process, so that torchrun ends the others. Raises what `take_device` raises.
    """
    ranks = join_group(device_type, on_missing)
    return ranks, take_device(device_type, ranks.rank, ranks.world_size)


def join_group(device_type: Literal["cpu", "cuda"], on_missing: Callable[[str], None] | None = None) -> Ranks:
    """As `join_ranks`, without taking a device."""
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=roll_call.GROUP_LIMIT_S))
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if world_size == 1:
        return Ranks()
    roll = begin_roll_call(rank, world_size)
    if roll is not None:
        roll.watch(roll_call.COLLECTIVE_LIMIT_S, on_missing or _print_and_end)
    return Ranks(rank, world_size, roll)


def _print_and_end(said: str) -> None:
    print(f"LaunchError: {said}", file=sys.stderr, flush=True)
    os._exit(1)
