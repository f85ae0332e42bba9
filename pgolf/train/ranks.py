"""The data-parallel group: this process's place in it, and the few sums that all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """rank of world_size processes; alone, nothing is communicated and no process group is needed."""

    rank: int = 0
    world_size: int = 1

    def mean_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the ranks, in its own format; all ranks get the same numbers.

        One flat buffer per format, so a step costs two exchanges however many tensors there are.
        """
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
            same = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.flatten() for gradient in same])
            dist.all_reduce(flat)
            flat /= self.world_size
            for gradient, mean in zip(same, torch.split(flat, [gradient.numel() for gradient in same]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def sum(self, tensor: Tensor) -> None:
        """Add up `tensor` over the ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the ranks."""
        self.sum(tensor)
        return tensor / self.world_size

    def largest(self, value: float, device: torch.device) -> float:
        """The largest of one number per rank."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float32, device=device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return float(tensor)


def join_ranks(device_type: Literal["cpu", "cuda"]) -> tuple[Ranks, torch.device]:
    """This process's place and device in the group that torchrun started on this machine, once all have joined."""
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    device = torch.device(device_type, ranks.rank) if device_type == "cuda" else torch.device(device_type)
    if device_type == "cuda":
        torch.cuda.set_device(device)
    return ranks, device
