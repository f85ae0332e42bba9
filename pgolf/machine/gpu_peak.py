"""The most a GPU's tensor cores do in bfloat16, by product name, for the share of it that a training reaches.

NVIDIA's data sheets, dense (they print the double, for sparse matrices, since the H100), sums in float32. The SXM form
of a name that has several is the one without a suffix in `nvidia-smi`'s list.
"""

# Product name as the driver gives it, from its first word on that tells models apart -> FLOP/s. The first that fits.
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
    """FLOP/s of one GPU of this name; None for a name that is not in the table."""
    words = (gpu or "").removeprefix("NVIDIA ").removeprefix("Tesla ").replace("-", " ") + " "
    return next((flops for name, flops in _PEAKS if words.startswith(f"{name} ")), None)
