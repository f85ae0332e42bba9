"""A node of eight GPUs that is not there: full-size tensors without data on device `cuda`, ranks without peers.

torch's FakeTensorMode runs every operator on shapes, dtypes and devices alone; its fake process group answers every
collective. A CUDA build of torch traces backward passes that way even without a GPU. The CPU build needs three
stand-ins, and this module puts them in for the life of the process, so it is used in processes of its own:

- a device guard and an answer to "is there an accelerator?", which the autograd engine asks for,
- `torch.cuda.synchronize`, events, generators and page-locked memory, which do nothing here,
- the kernels that CUDA has and a CPU build cannot be asked for: flash attention wherever its conditions hold, and
  RMSNorm in one kernel, which keeps one number per row for its backward pass.
"""

import contextlib
import ctypes
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from torch.nn.attention import bias
from torch.nn.attention.bias import CausalBias, CausalVariant
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import _disable_current_modes

from pgolf.ranks.group import Ranks

WORLD_SIZE = 8
DEVICE = torch.device("cuda", 0)

# Places in at::CUDAHooksInterface's table of virtual functions: behind two destructors, in the order of
# ATen/detail/AcceleratorHooksInterface.h.
_IS_BUILT, _HAS_PRIMARY_CONTEXT = 2, 4
_plain_attention, _plain_rms_norm = F.scaled_dot_product_attention, F.rms_norm
_kept_alive: list[Any] = []


class FakeEvent:
    """An event of a device that is never behind."""

    def __init__(self, _device: str = "cuda") -> None:
        pass

    def record(self) -> None:
        """Nothing runs."""

    def synchronize(self) -> None:
        """A wait, which a recorder counts."""
        torch.cuda.synchronize()


class FakeGenerator(torch.Generator):
    """A generator on the host under the name of the device's."""

    def __new__(cls, _device: torch.device | None = None) -> "FakeGenerator":
        return super().__new__(cls, device="cpu")


@contextlib.contextmanager
def fake_rank(rank: int) -> Iterator[Ranks]:
    """Rank `rank` of eight, on fake GPU 0: every tensor made inside is fake, and arrays of NumPy become fake in use."""
    _stand_in_for_cuda()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=WORLD_SIZE)
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
            # torch 2.13 renames reduce_scatter_tensor and all_gather_into_tensor; older ones know these names alone.
            warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
            yield Ranks(rank, WORLD_SIZE)
    finally:
        dist.destroy_process_group()


def _stand_in_for_cuda() -> None:
    if _kept_alive:
        return
    if not torch.backends.cuda.is_built():
        _answer_the_autograd_engine()
    torch.cuda.synchronize = lambda _device=None: None
    torch.cuda.Event = torch.Event = FakeEvent
    torch.cuda.get_device_capability = lambda _device=None: (9, 0)
    torch.Generator = FakeGenerator
    # So that fake tensors are clipped and stepped in batches, as tensors on CUDA are.
    _foreach_utils._foreach_supported_types.append(FakeTensor)
    F.scaled_dot_product_attention = _attention_as_on_cuda
    F.rms_norm = _rms_norm_as_on_cuda
    bias.causal_lower_right = _causal_lower_right
    _kept_alive.append(True)


def _answer_the_autograd_engine() -> None:
    """Make torch's C++ side find a guard and a built accelerator for CUDA, as in a CUDA build without a GPU."""

    class Guard(torch._C._acc.DeviceGuard):
        def type_(self) -> Any:
            return torch._C._autograd.DeviceType.CUDA

    libraries = Path(torch.__file__).parent / "lib"
    guards = (ctypes.c_void_p * 21).in_dll(
        ctypes.CDLL(str(libraries / "libc10.so")), "_ZN3c104impl26device_guard_impl_registryE"
    )
    guard = Guard()
    torch._C._acc.register_python_privateuseone_device_guard(guard)
    cuda, privateuse1 = 1, 20  # c10/core/DeviceType.h
    guards[cuda], guards[privateuse1] = guards[privateuse1], None

    get_hooks = ctypes.CDLL(str(libraries / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    get_hooks.restype = ctypes.c_void_p
    table_of_hooks = ctypes.c_void_p.from_address(get_hooks())
    assert table_of_hooks.value is not None
    functions = (ctypes.c_void_p * 64)(*(ctypes.c_void_p * 64).from_address(table_of_hooks.value))
    yes = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(lambda _this: True)
    functions[_IS_BUILT] = functions[_HAS_PRIMARY_CONTEXT] = ctypes.cast(yes, ctypes.c_void_p).value
    table_of_hooks.value = ctypes.addressof(functions)
    _kept_alive.extend((guard, yes, functions))
    assert torch.accelerator.current_accelerator() == torch.device("cuda"), "torch's table of hooks has changed"


def _attention_as_on_cuda(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Flash attention under the conditions of sdp_utils.cpp for H100 (sm90), else the plain formula."""
    lower_right = isinstance(attn_mask, CausalBias) and attn_mask.variant == CausalVariant.LOWER_RIGHT
    flash = (
        query.device.type == "cuda"
        and query.dtype == key.dtype == value.dtype
        and query.dtype in (torch.bfloat16, torch.float16)
        and (attn_mask is None or lower_right)
        and query.shape[-1] == key.shape[-1] == value.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
        and (query.shape[-3] == key.shape[-3] or (enable_gqa and query.shape[-3] % key.shape[-3] == 0))
        and not (is_causal and query.shape[-2] != key.shape[-2])
        and all(each.stride(-1) == 1 for each in (query, key, value))
    )
    if not flash:
        return _plain_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    return torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, dropout_p, is_causal or lower_right, False, scale=scale
    )[0]


def _causal_lower_right(queries: int, keys: int) -> CausalBias:
    with _disable_current_modes():  # a fake tensor cannot be of a class of its own
        return CausalBias(CausalVariant.LOWER_RIGHT, queries, keys)


class _FusedRmsNorm(torch.autograd.Function):
    """Shapes, dtypes and memory of `aten::_fused_rms_norm` without a gain."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        per_row = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)
        ctx.save_for_backward(x, per_row)
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        x, _per_row = ctx.saved_tensors
        return torch.empty_like(x, dtype=gradient.dtype)


def _rms_norm_as_on_cuda(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    if torch.compiler.is_compiling():  # the compiler takes it apart
        return _plain_rms_norm(x, normalized_shape, weight, eps)
    assert weight is None
    assert normalized_shape == x.shape[-1:]
    normed: Tensor = _FusedRmsNorm.apply(x)
    return normed
