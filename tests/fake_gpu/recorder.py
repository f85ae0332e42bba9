"""What a traced step does on the device: operators, collectives, values read back, waits of the host, memory.

Shapes: none; sizes are in elements and bytes of one rank.
"""

import sys
import weakref
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import pgolf

_PRODUCT = str(Path(pgolf.__file__).parent)
_ALLOCATED_BYTES = 512  # the caching allocator rounds every tensor up to this

aten, c10d = torch.ops.aten, torch.ops.c10d
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "linear", "matmul")
_COPIES = (aten._to_copy.default, aten.copy_.default)


class Recorder(TorchDispatchMode):
    """Records everything that passes through torch's dispatcher, forward and backward; enter it inside `fake_rank`.

    Reading a value of a tensor on the device is an error, except in the functions of `may_read`. Every value read is
    recorded with the function of pgolf that asked, and is `value`, or true: a fake tensor has none.

    operators: calls by name. flops: floating-point operations by operator, as torch counts them.
    collectives: (operation, device, dtype, elements, ranks) in order.
    read_back: functions of pgolf that read a value, and the device where it lay.
    waits: functions that wait for the device: by a copy that blocks, by synchronizing, or by an operator whose result
    has a size that only the device knows.
    bytes, peak_bytes: memory now, and the most at one time, of the tensors on the device made inside.
    """

    def __init__(self, value: float = 0.0, may_read: Collection[str] = ()) -> None:
        super().__init__()
        self.value = value
        self.may_read = may_read
        self.operators: Counter[str] = Counter()
        self.collectives: list[tuple[str, str, str, int, int]] = []
        self.read_back: list[tuple[str, str]] = []
        self.waits: list[str] = []
        self.flops: Counter[str] = Counter()
        self.bytes = self.peak_bytes = 0
        self._alive: dict[int, Any] = {}

    def __enter__(self) -> Self:
        torch.cuda.synchronize = self._synchronized
        entered: Self = super().__enter__()
        return entered

    def _synchronized(self, _device: Any = None) -> None:
        self.waits.append(_asked_by())

    def _hold(self, tensor: Tensor) -> None:
        """Count the memory of a tensor's storage on the device until it is freed."""
        if tensor.device.type != "cuda":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size_bytes = -(-storage.nbytes() // _ALLOCATED_BYTES) * _ALLOCATED_BYTES
        self.bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.bytes)

        def freed(_storage: Any) -> None:
            self.bytes -= size_bytes
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return self._value_of(args[0])
        if func is aten._pin_memory.default:  # of a fake tensor there is nothing to lock
            return args[0].clone()
        if func is aten.bincount.default:  # its size is that of the largest value, unless fewer than `minlength`
            self.waits.append(_asked_by())
            return args[0].new_empty(kwargs.get("minlength", args[-1]))
        result = func(*args, **kwargs)
        name = func.__name__
        _check(name, args, kwargs)
        self.operators[name] += 1
        if func.namespace == "c10d":
            self._collective(name.split(".")[0].strip("_"), args)
        elif func in _COPIES:
            self._copied(func, args, kwargs, result)
        if func.overloadpacket in flop_registry:
            self.flops[func.overloadpacket.__name__] += flop_registry[func.overloadpacket](
                *args, **kwargs, out_val=result
            )
        for tensor in (result,) if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return result

    def _value_of(self, tensor: Tensor) -> float | int | bool:
        asked_by = _asked_by()
        if tensor.device.type != "cpu" and asked_by not in self.may_read:
            raise AssertionError(f"{asked_by} reads a value of a {tensor.dtype} tensor on {tensor.device}")
        self.read_back.append((asked_by, tensor.device.type))
        if tensor.dtype == torch.bool:
            return True
        return self.value if tensor.is_floating_point() else int(self.value)

    def _copied(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        source = args[1] if func is aten.copy_.default else args[0]
        non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2] if func is aten.copy_.default else False)
        if {source.device.type, result.device.type} == {"cpu", "cuda"} and not non_blocking:
            self.waits.append(_asked_by())

    def _collective(self, name: str, args: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        largest = max(tensors, key=Tensor.numel)
        group = torch.distributed.get_world_size()
        self.collectives.append(
            (
                name,
                largest.device.type,
                str(largest.dtype).removeprefix("torch."),
                largest.numel(),
                group,
            )
        )


def _check(name: str, args: Any, kwargs: Any) -> None:
    """What kernels on CUDA refuse and fake tensors let pass. Raises AssertionError."""
    if name.startswith(("_foreach_", "_fused_")) and not name.startswith("_foreach_copy"):
        devices = {str(leaf.device) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        assert len(devices) == 1, f"{name} of tensors on {sorted(devices)}"
    if name.startswith("_fused_adamw"):
        parameters, gradients, first, second, _largest, steps = args[:6]
        dtypes = {tensor.dtype for tensors in (parameters, gradients, first, second) for tensor in tensors}
        assert len(dtypes) == 1, f"{name} of {dtypes}"
        assert {step.dtype for step in steps} == {torch.float32}
    if name.split(".")[0] in _PRODUCTS:
        dtypes = {leaf.dtype for leaf in args if isinstance(leaf, Tensor)}
        assert len(dtypes) == 1, f"{name} of {dtypes}"


def _asked_by() -> str:
    """The innermost function of pgolf on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PRODUCT):
            module = Path(code.co_filename).relative_to(_PRODUCT).with_suffix("")
            return f"{str(module).replace('/', '.')}.{code.co_qualname}"
        frame = frame.f_back  # type: ignore[assignment]
    return "no function of pgolf"
