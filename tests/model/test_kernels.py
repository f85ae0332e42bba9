"""Attention of the last positions: what it computes, and by which kernel on CUDA (tensors without values there)."""

import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pgolf.model.kernels import causal_attention


def attention_by_definition(q_BHSK, k_BGTK, v_BGTK):
    """Softmax of scores over the keys up to each query's own position, in float64, one query at a time."""
    B, H, S, K = q_BHSK.shape
    G, T = k_BGTK.shape[1:3]
    y_BHSK = torch.zeros(B, H, S, K, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            k_TK, v_TK = k_BGTK[b, h // (H // G)].double(), v_BGTK[b, h // (H // G)].double()
            for s in range(S):
                until = T - S + s + 1
                scores = k_TK[:until] @ q_BHSK[b, h, s].double() / K**0.5
                y_BHSK[b, h, s] = torch.softmax(scores, dim=0) @ v_TK[:until]
    return y_BHSK


@pytest.mark.parametrize("queries", [1, 3, 6, 7])
def test_the_last_queries_see_the_keys_up_to_their_own(queries):
    random = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, heads, length, 8, generator=random) for heads, length in ((4, queries), (2, 7), (2, 7)))
    # float32 against float64: sums of seven products.
    torch.testing.assert_close(causal_attention(q, k, v).double(), attention_by_definition(q, k, v), rtol=0, atol=1e-6)


class Recorded(TorchDispatchMode):
    """Names of all operations, with the shapes of their tensors."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operation, _types, args=(), kwargs=None):
        self.calls.append((str(operation), args, kwargs or {}))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [64, 20])
def test_on_cuda_the_last_queries_take_flash_attention_by_name_and_no_mask(channels):
    with FakeTensorMode(), Recorded() as recorded:
        q, k, v = (
            torch.empty(2, heads, length, channels, dtype=torch.bfloat16, device="cuda")
            for heads, length in ((8, 64), (4, 1024), (4, 1024))
        )
        y = causal_attention(q, k, v)
    assert tuple(y.shape) == (2, 8, 64, channels)
    (flash,) = [call for call in recorded.calls if "attention" in call[0]]
    assert flash[0] == "aten._scaled_dot_product_flash_attention.default"
    assert flash[1][0].shape[-1] % 8 == 0
    assert flash[2]["scale"] == channels**-0.5
    assert not [name for name, *_ in recorded.calls if "tril" in name or "ones" in name]


def test_one_place_decides_for_training_and_for_whoever_loads_a_network():
    """In a process of its own, since the switches are the process's; torch accepts them without a GPU."""
    code = """
import torch
from pgolf.model import checkpoint, kernels
from pgolf.model.init import initial_model
from tests.train.runs import TINY

switches = torch.backends.cuda
def chosen():
    return [each() for each in (switches.flash_sdp_enabled, switches.cudnn_sdp_enabled,
                                switches.mem_efficient_sdp_enabled, switches.math_sdp_enabled)]
before = chosen()
kernels.choose_kernels(torch.device("cpu"))
assert chosen() == before
seen = []
checkpoint.choose_kernels = seen.append
checkpoint.build_model(TINY.model, initial_model(TINY.model, 1).state_dict())
assert seen == [torch.device("cpu")], seen
kernels.choose_kernels(torch.device("cuda", 1))
print(chosen())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "[True, False, False, False]", told.stderr
