"""Peak bfloat16 FLOP/s of GPUs by product name, to compute model FLOPs utilization (MFU).

From NVIDIA's data sheets: dense (since the H100 they print twice that, for sparse matrices), float32 accumulation. Of
products in several form factors, `nvidia-smi` lists the SXM one without a suffix.
"""

# Driver's product name, from its first distinguishing word on -> FLOP/s. The first match counts.
_PEAKS = (
    ("H200 NVL", 835.5e12),
    ("H200", 989.4e12),
    ("H100 NVL", 835.5e12),
    ("H100 PCIe", 756.5e12),
    ("H100 80GB HBM3", 989.4e12),
    ("A100", 312e12),
    ("L40S", 362.05e12),
)


def peak_flops(gpu: str | None) -> float | None:
    """Peak FLOP/s of one GPU of this name; None if the name is not in the table."""
    words = (gpu or "").removeprefix("NVIDIA ").removeprefix("Tesla ").replace("-", " ") + " "
    return next((flops for name, flops in _PEAKS if words.startswith(f"{name} ")), None)
