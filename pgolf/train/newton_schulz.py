"""Newton–Schulz iteration: orthogonalize a stack of matrices using only matrix products.

Shapes: N matrices of a stack, R rows, C columns of each.
Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; arithmetic of PRs #715 and #745.
"""

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # per singular value s: a s + b s³ + c s⁵; drives (0, 1] towards about 1


def iteration_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA as in the originals; float32 on CPU, since few processors support bfloat16 natively."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def orthogonalize(steps_NRC: Tensor, iterations: int, *, fused: bool = True) -> Tensor:
    """Approximate UVᵀ of each UΣVᵀ by applying a polynomial to the singular values `iterations` times.

    Returns [N, R, C] in `iteration_dtype`; each matrix is first divided by its Frobenius norm, and zero stays zero.
    fused: sums are rounded once together with their product, and the polynomial's last term is (c G) G, as in #715's
    compiled iteration; otherwise every operation is rounded, and the term is c (G G), as in #745.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = steps_NRC.to(iteration_dtype(steps_NRC.device))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(iterations):
        gram = x @ x.mT
        if fused:
            x = torch.baddbmm(x, torch.baddbmm(gram, c * gram, gram, beta=b), x, beta=a)
        else:
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x
