"""What to do about errors by which CUDA refuses a GPU that the driver lists.

Source: CUDA Runtime API reference, cudaError; torch's own text for a driver that is too old.
"""

_REMEDIES = (
    (
        ("driver on your system is too old", "driver version is insufficient"),
        "update the driver, or install a torch that is built for its CUDA (`nvidia-smi` says which)",
    ),
    (
        ("system not yet initialized",),
        "start NVIDIA's fabric manager, in the driver's own version (`systemctl start nvidia-fabricmanager`)",
    ),
    (
        ("no kernel image is available",),
        "install a torch that is built for this GPU (`make setup`)",
    ),
    (
        ("out of memory", "busy or unavailable"),
        "end what else uses this GPU (`nvidia-smi`); nobody else may, if its compute mode is exclusive (`nvidia-smi -c "
        "DEFAULT`)",
    ),
)
_OTHERS = (
    "look for this GPU in `dmesg` and `nvidia-smi -q -d ECC`; reset it (`nvidia-smi --gpu-reset`), or leave it out "
    "(CUDA_VISIBLE_DEVICES)"
)


def remedy_for(said: str) -> str:
    """said: the text of the error, or of several."""
    fitting = [remedy for texts, remedy in _REMEDIES if any(text in said for text in texts)]
    return "; ".join(fitting) or _OTHERS
