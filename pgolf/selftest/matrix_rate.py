"""The rate of large matrix products on a device: what a training step is measured against."""

import time

import torch


def matrix_rate(device: torch.device, *, size: int, products: int, repeats: int) -> float:
    """FLOP/s of the fastest of several runs of square products, in the dtype that training uses on this device."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def run() -> float:
        began_s = time.perf_counter()
        for _ in range(products):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began_s

    run()
    return products * 2 * size**3 / min(run() for _ in range(repeats))
