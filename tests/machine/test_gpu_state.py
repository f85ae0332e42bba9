"""What the driver and torch say before anything is started, and what stands against it."""

import json
from dataclasses import replace

import pytest
import torch

from pgolf.machine import torch_build as build_module
from pgolf.machine.cuda_errors import remedy_for
from pgolf.machine.gpu_state import GpuState, gpu_states, memory_lacks
from pgolf.machine.torch_build import TorchBuild, build_lacks, torch_build
from pgolf.recipes.systems import pr715, pr745, pr792
from pgolf.selftest.published_runs import PUBLISHED
from pgolf.train.config import TrainConfig
from pgolf.train.expected_memory import expected_gpu_bytes
from tests.fake_driver import BYTES, gpu
from tests.model.networks import PUBLISHED_1493

GIB = 1 << 30


def test_the_driver_says_memory_and_users_of_every_gpu_that_may_be_used(machine):
    machine([gpu(0), gpu(1, free_bytes=1000 << 20, users=f"4711:{80_000 << 20}"), gpu(2)], visible="1,0")
    second, first = gpu_states()
    assert (first.uuid, first.free_bytes, first.users) == ("GPU-0aaa-0", BYTES, ())
    assert (second.free_bytes, second.users) == (1000 << 20, ("4711 (80,000 MiB)",))
    machine(0)
    assert gpu_states() == ()


def test_memory_that_does_not_suffice_is_said_with_who_holds_it():
    free = GpuState("GPU-a", "H100", 80 * GIB, 79 * GIB)
    busy = replace(free, free_bytes=3 * GIB, users=("4711 (76 GiB)",))
    assert memory_lacks([free, free], 22 * GIB, "train.1") == []
    (said,) = memory_lacks([free, busy], 22 * GIB, "train.1")
    assert said.startswith("train.1 takes about 22 GiB of a GPU, GPU 1 has 3 GiB free of 80: used by process 4711")
    (said,) = memory_lacks([replace(free, total_bytes=16 * GIB)], 22 * GIB, "train.1")
    assert said.endswith("GPU 0 (H100) has 16; use larger GPUs, or lower train.tokens_per_step")


@pytest.mark.parametrize("full", [pr715, pr745, pr792])
def test_the_expected_memory_is_that_of_the_published_runs(full):
    recipe = full()
    expected = expected_gpu_bytes(recipe.model, recipe.train) / GIB
    assert expected == pytest.approx(PUBLISHED[full.__name__].memory_gib, rel=0.01)


def test_a_network_of_more_words_and_places_is_expected_to_take_what_it_took():
    """39,046 MiB in the log of #1493."""
    assert expected_gpu_bytes(PUBLISHED_1493, TrainConfig()) / 2**20 == pytest.approx(39_046, rel=0.02)


FINE = TorchBuild(version="2.13.0", cuda="13.0", gpus=8, nccl=True, flash=True)


def test_torch_says_for_itself_what_it_is_built_for():
    found = torch_build()
    assert found is not None
    assert found.version == torch.__version__
    assert (found.cuda, found.gpus) == (torch.version.cuda, torch.cuda.device_count())


def test_a_torch_that_cannot_be_imported_is_a_finding(monkeypatch):
    monkeypatch.setattr(build_module, "_ASK", "import no_such_module")
    assert torch_build() is None
    (lack,) = build_lacks(None, 8)
    assert lack.said == "torch cannot be imported"


# Stands in for a torch on a machine with two GPUs; FAKE_TORCH says what happens to which.
_FAKE_TORCH = """
import json, os, time
from types import SimpleNamespace
__version__, version = "2.13.0", SimpleNamespace(cuda="13.0")
cuda = SimpleNamespace(device_count=lambda: 2)
backends = SimpleNamespace(cuda=SimpleNamespace(is_flash_attention_available=lambda: True))
def happens(what):
    said = json.loads(os.environ["FAKE_TORCH"]).get(what)
    if said == "hangs":
        time.sleep(60)
    if said == "dies":
        os._exit(139)
    if said:
        raise RuntimeError(said + "\\nand the rest of it")
    return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 2), item=lambda: 2)
def ones(size, device):
    return happens(device)
def compile(work):
    return lambda _x: happens("compile")
"""


@pytest.mark.parametrize(
    ("happens", "fails", "compiler_fails"),
    [
        ({}, "", ""),
        (
            {"cuda:1": "The NVIDIA driver on your system is too old (found version 12040)."},
            "GPU 1: RuntimeError: The NVIDIA driver on your system is too old (found version 12040).",
            "",
        ),
        ({"cuda:0": "a", "cuda:1": "b"}, "GPU 0: RuntimeError: a; GPU 1: RuntimeError: b", ""),
        ({"cuda:0": "dies"}, "GPU 0: no answer within 60 s, or its process died", ""),
        ({"cuda:1": "hangs"}, "GPU 1: no answer within 1 s, or its process died", ""),
        ({"compile": "raised:\n No C compiler"}, "", "torch.compile: RuntimeError: raised: No C compiler"),
    ],
)
def test_what_only_a_number_computed_on_it_shows_of_a_gpu(happens, fails, compiler_fails, tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(_FAKE_TORCH)
    (tmp_path / "torch/distributed.py").write_text(
        "def is_available(): return True\nis_nccl_available = is_available\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_TORCH", json.dumps(happens))
    monkeypatch.setattr(build_module, "_LIMIT_S", 1.0 if "hangs" in happens.values() else 60.0)
    found = torch_build(tries="compiler")
    assert found is not None
    assert (found.gpus, found.nccl, found.flash) == (2, True, True)
    assert found.fails.startswith(fails)
    assert (found.fails == "", found.compiler_fails) == (fails == "", compiler_fails)
    if not compiler_fails:
        assert torch_build(tries="gpus") == found
    asked = torch_build()
    assert (asked.fails, asked.compiler_fails) == ("", "")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("The NVIDIA driver on your system is too old (found version 12040).", "update the driver, or install a torch"),
        ("CUDA error: system not yet initialized", "start NVIDIA's fabric manager"),
        ("CUDA error: no kernel image is available for execution on the device", "a torch that is built for this GPU"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "if its compute mode is exclusive"),
        ("CUDA error: uncorrectable ECC error encountered", "reset it"),
    ],
)
def test_every_refusal_of_cuda_has_its_own_remedy(said, remedy):
    assert remedy in remedy_for(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"gpus": 2}, "the driver shows 8 GPUs, torch 2.13.0 finds 2"),
        ({"cuda": None, "gpus": 0}, "torch 2.13.0 is built for CPUs, the driver lists 8 GPUs"),
        ({"nccl": False}, "torch 2.13.0 has no NCCL"),
        ({"flash": False}, "torch 2.13.0 has no flash attention"),
        (
            {"fails": "GPU 3: RuntimeError: system not yet initialized"},
            "torch 2.13.0, built for CUDA 13.0, cannot compute: GPU 3: RuntimeError: system not yet initialized",
        ),
        (
            {"compiler_fails": "torch.compile: RuntimeError: Failed to find C compiler"},
            "torch 2.13.0 cannot compile for these GPUs: torch.compile: RuntimeError: Failed to find C compiler",
        ),
    ],
)
def test_what_torch_lacks_is_said_with_a_remedy(changes, said):
    lacks = build_lacks(replace(FINE, **changes), 8)
    if said is None:
        assert not lacks
        return
    (lack,) = lacks
    assert lack.said.startswith(said)
    assert lack.remedy
