"""The traces stand in for what the CPU build of torch lacks; other builds have it, and want a device."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def cpu_build() -> None:
    """Skips them all under a build for CUDA."""
    if torch.version.cuda is not None:
        pytest.skip(f"torch {torch.__version__} is built for CUDA {torch.version.cuda}; traced is the CPU build")
