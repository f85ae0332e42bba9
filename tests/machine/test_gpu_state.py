"""What the driver and torch say before anything is started, and what stands against it."""

from dataclasses import replace

import pytest
import torch

from pgolf.machine import torch_build as build_module
from pgolf.machine.gpu_state import GpuState, gpu_states, memory_lacks
from pgolf.machine.torch_build import TorchBuild, build_lacks, torch_build
from pgolf.recipes.systems import pr715, pr745, pr792
from pgolf.selftest.published_runs import PUBLISHED
from pgolf.train.expected_memory import expected_gpu_bytes
from tests.fake_driver import BYTES, gpu

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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"gpus": 2}, "the driver shows 8 GPUs, torch 2.13.0 finds 2"),
        ({"cuda": None, "gpus": 0}, "torch 2.13.0 is built for CPUs, the driver lists 8 GPUs"),
        ({"nccl": False}, "torch 2.13.0 has no NCCL"),
        ({"flash": False}, "torch 2.13.0 has no flash attention"),
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
