"""The attention of the published size: which kernel each shape takes, and its result against exact softmax products.

Shapes: B rows, T positions, S of them (the last ones) that are asked for, D residual width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from pgolf.model.attention import Attention
from pgolf.model.config import ModelConfig
from pgolf.model.precision import Precision, precision_for, without_tf32
from pgolf.model.rope import ntk_base, rotation_tables
from pgolf.recipes.systems import pr715, pr792
from pgolf.selftest.check import Check, Numbers, Place, Verdict, worst
from pgolf.selftest.exercised import exercise
from pgolf.selftest.rounding_error import attention_limit, relative_rms

_FUSED = {"_flash_attention": "flash", "_cudnn_attention": "cudnn", "_efficient_attention": "memory-efficient"}
_EXACT = Precision(torch.float32, torch.float32)
_ROWS = 2


class KernelWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the kernel of every attention that runs inside its `with` block; "products" where none is fused."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        fused = next((kernel for part, kernel in _FUSED.items() if part in name and "backward" not in name), None)
        if fused is not None:
            self.kernels.append(fused)
        elif "softmax" in name and "backward" not in name:
            self.kernels.append("products")
        return func(*args, **(kwargs or {}))

    @property
    def kernel(self) -> str:
        """The one kernel, or all that ran."""
        return " and ".join(dict.fromkeys(self.kernels)) or "none"


def measure(place: Place, sizes: Sequence[tuple[str, ModelConfig, int, int]] | None = None) -> Numbers:
    """Kernel and error, in units of the limit, of training rows, of windows and of their last positions.

    sizes: name, network, positions of a row, positions asked for; None: those of #715 and #792, which differ in the
    dtype of the stream.
    """
    if sizes is None:
        sizes = [(recipe.name, recipe.model, recipe.score.window, recipe.score.stride) for recipe in (pr715(), pr792())]
    kernels, errors = {}, {}
    for name, config, positions, last in sizes:
        attention = Attention(config, min(2, config.layers - 1))
        exercise(attention)
        attention.to(place.device)
        precision = precision_for(config, place.device)
        for shape, asked, trains in (("training", None, True), ("window", None, False), ("suffix", last, False)):
            kernel, error = compared(attention, config, positions, asked, precision, trains=trains)
            kernels[f"{name} {shape}"], errors[f"{name} {shape}"] = kernel, error
    farthest = max(errors, key=errors.__getitem__)
    return {"kernels": kernels, "error": errors[farthest], "limit": attention_limit(), "farthest": farthest}


def compared(
    attention: Attention, config: ModelConfig, positions: int, last: int | None, precision: Precision, *, trains: bool
) -> tuple[str, float]:
    """The kernel that a shape takes, and the relative error of the output, or if it trains of the input's gradient as
    well, against the same attention in float32 without a fused kernel. last: positions asked for; None: all.

    Exact are all positions, of which the last are taken: on CUDA a suffix has no kernel but the fused one.
    """
    device = attention.q_gain.device
    generator = torch.Generator().manual_seed(3)
    u_BTD = torch.randn(_ROWS, positions, config.width, generator=generator).bfloat16().float().to(device)
    first_v = torch.randn(_ROWS, positions, config.kv_heads, config.head_dim, generator=generator).bfloat16()
    base = ntk_base(
        config.rope_base, positions, reference_length=config.rope_reference_length, rope_dims=config.rope_dims
    )
    rotation = rotation_tables(positions, base, config.rope_dims, device)

    def run(how: Precision, last: int | None) -> tuple[Tensor, Tensor | None]:
        u = u_BTD.to(how.residual).requires_grad_(trains)
        given = first_v.to(device, how.linear) if config.value_residual else None
        with torch.set_grad_enabled(trains):
            output, _ = attention(u, attention, rotation, given, None, how, last)
        if not trains:
            return output, None
        (gradient,) = torch.autograd.grad(output.float().square().sum(), u)
        return output, gradient

    with KernelWatch() as watch:
        found = run(precision, last)
    with _exactly():
        expected = run(_EXACT, None)
    error = relative_rms(found[0], expected[0][:, positions - (last or positions) :])
    if found[1] is not None and expected[1] is not None:
        # The gradient passes the output, with all its roundings, and every map twice more.
        error = max(error, relative_rms(found[1], expected[1]) / 3**0.5)
    return watch.kernel, error


@contextmanager
def _exactly() -> Iterator[None]:
    """No fused kernel, and no TF32."""
    with without_tf32(), sdpa_kernel(SDPBackend.MATH):
        yield


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Within the limit, and every shape by a fused kernel; the suffix may be plain products, which are few."""
    rank, ratio = worst(by_rank, "error", "limit")
    kernels: dict[str, str] = by_rank[rank]["kernels"]
    slow = [shape for shape, kernel in kernels.items() if kernel == "products" and not shape.endswith("suffix")]
    uneven = any(numbers["kernels"] != kernels for numbers in by_rank)
    said = "; ".join(f"{shape}: {kernel}" for shape, kernel in kernels.items())
    return Verdict(
        ratio <= 1 and not slow and not uneven,
        f"{said}; farthest {by_rank[rank]['farthest']}: {by_rank[rank]['error']:.2g} (limit "
        f"{by_rank[rank]['limit']:.2g})"
        + (f"; without a fused kernel: {', '.join(slow)}" if slow else "")
        + ("; ranks take different kernels" if uneven else ""),
    )


CHECK = Check(
    name="attention",
    proves="training, windows and their last positions take a fused attention kernel, and it computes attention",
    measure=measure,
    judge=judge,
    means="no fused kernel: a step takes several times as long and more memory; a large error: the kernel is wrong for "
    "these shapes",
    remedy="install the torch that constraints.txt pins, built for this GPU; `python -c 'import torch; "
    "print(torch.backends.cuda.is_flash_attention_available())'` must print True",
    needs_gpu=True,
)
