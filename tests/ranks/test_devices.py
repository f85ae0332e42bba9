"""What a rank's GPU must be, with the driver and torch of a machine that has some standing in for those of this one."""

from types import SimpleNamespace

import pytest
import torch

from pgolf.errors import ConfigError, MachineError
from pgolf.ranks import devices, run_job
from pgolf.ranks.devices import devices_for, seconds_when_done, take_device, torch_index, usable_gpus
from pgolf.ranks.job import RankJob
from pgolf.run_options import Lease, RunOptions
from tests.fake_driver import gpu


@pytest.fixture
def torch_sees(monkeypatch):
    """Makes torch one with CUDA that sees these GPUs, by UUID; each keyword leaves out what a build can lack."""

    def sees(*uuids, flash=True, nccl=True):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index]))
        monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: flash)
        monkeypatch.setattr(devices.dist, "is_nccl_available", lambda: nccl)

    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    sees.taken = taken
    return sees


def refused(says, work, *arguments, kind=ConfigError):
    with pytest.raises(kind, match=says):
        work(*arguments)


def test_ranks_are_leased_gpus_by_uuid_and_each_takes_its_own(machine, torch_sees):
    machine(8, "1,0")
    torch_sees("1aaa-1", "0aaa-0")
    assert devices_for(RunOptions(processes=2)) == ("cuda", ("gpu-1aaa-1", "gpu-0aaa-0"))
    assert take_device("cuda", 1, 2) == torch.device("cuda", 1)
    assert torch_sees.taken == [torch.device("cuda", 1)]
    assert torch_index("gpu-0aaa-0") == 1
    refused("8 ranks requested, but the driver lists 8 GPUs, CUDA_VISIBLE_DEVICES=1,0 shows 2 of them, and each",
            devices_for, RunOptions(processes=8))  # fmt: skip
    refused("8 ranks, but the driver lists 8 GPUs, CUDA_VISIBLE_DEVICES=1,0 shows 2 of them", take_device, "cuda", 0, 8)
    assert devices_for(RunOptions(device="cpu"))[0] == "cpu"


def test_gpus_that_torch_does_not_see_are_not_passed_over_for_the_processor(machine, torch_sees):
    machine(8)
    torch_sees()
    refused("the driver lists 8 GPUs, but torch .* sees 0; install a torch build for", devices_for, RunOptions())
    torch_sees("0aaa-0")
    refused("the driver lists 8 GPUs, but torch .* sees 1", take_device, "cuda", 0, 1)
    machine(0)
    refused("the NVIDIA driver lists no GPU, but torch .* sees 1", devices_for, RunOptions())
    torch_sees()
    assert devices_for(RunOptions())[0] == "cpu"
    refused("device cuda requested, but the NVIDIA driver lists no GPU", devices_for, RunOptions(device="cuda"))
    machine(2, "")
    assert devices_for(RunOptions())[0] == "cpu"
    refused("but the driver lists 2 GPUs, CUDA_VISIBLE_DEVICES= hides them all", devices_for, RunOptions(device="cuda"))


def test_a_setting_that_names_what_is_not_there_is_refused_and_not_run_on_what_is_left(machine, torch_sees):
    machine(2, "0,2")
    torch_sees("0aaa-0")
    refused("CUDA_VISIBLE_DEVICES=0,2: '2' names no GPU .*; or use --device cpu", devices_for, RunOptions())
    assert devices_for(RunOptions(device="cpu"))[0] == "cpu"


@pytest.mark.parametrize(("lacks", "says"), [({"flash": False}, "flash attention"), ({"nccl": False}, "NCCL")])
def test_a_torch_that_lacks_what_every_run_needs_is_refused(machine, torch_sees, lacks, says):
    machine(1)
    torch_sees("0aaa-0", **lacks)
    refused(f"is built without {says}, which every run on a GPU needs", usable_gpus)


def test_a_rank_refuses_a_gpu_that_torch_takes_for_another_and_one_that_is_in_use(machine, torch_sees):
    machine(2)
    torch_sees("1aaa-1", "0aaa-0")
    refused(
        "GPU 0 is GPU-0aaa-0 by the driver and GPU-1aaa-1 by torch; set CUDA_DEVICE_ORDER", take_device, "cuda", 0, 2
    )
    machine([gpu(0), gpu(1, free_bytes=2_000_000_000, users="77:80000000000")])
    torch_sees("0aaa-0", "1aaa-1")
    assert take_device("cuda", 0, 2).index == 0
    refused(r"GPU-1aaa-1 has 2.0 of .* process 77 \(80.0 GB\)", take_device, "cuda", 1, 2, kind=MachineError)


def test_a_gpu_that_the_driver_lists_and_cuda_refuses_is_refused_with_what_to_do(machine, torch_sees, monkeypatch):
    def refuses(_device):
        raise RuntimeError("CUDA error: system not yet initialized\nCUDA kernel errors might be reported later")

    machine(2)
    torch_sees("0aaa-0", "1aaa-1")
    monkeypatch.setattr(torch.cuda, "set_device", refuses)
    says = r"GPU 1 \(GPU-1aaa-1\) cannot be used: CUDA error: system not yet initialized; start NVIDIA's fabric manager"
    refused(says, take_device, "cuda", 1, 2, kind=MachineError)


def test_seconds_are_read_once_the_device_is_done(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(device))
    monkeypatch.setattr(devices.time, "perf_counter", lambda: events.append("clock") or 1.0)
    assert seconds_when_done(torch.device("cpu")) == 1.0
    assert seconds_when_done(torch.device("cuda", 3)) == 1.0
    assert events == ["clock", torch.device("cuda", 3), "clock"]


def test_a_leased_gpu_that_is_in_use_ends_a_stage_before_its_ranks_start(machine, tmp_path, monkeypatch):
    machine([gpu(0), gpu(1, free_bytes=2_000_000_000)])
    monkeypatch.setattr(run_job, "run_ranks", None)
    with pytest.raises(MachineError, match=r"GPU-1aaa-1 has 2\.0 of"):
        run_job.run_job(
            "a_module",
            RankJob(out=tmp_path, device="cuda", threads=1),
            RunOptions(processes=2),
            Lease(("gpu-0aaa-0", "gpu-1aaa-1")),
            log_path=tmp_path / "ranks.log",
            on_progress=lambda _facts: None,
            is_last=lambda _facts: False,
        )
    assert list(tmp_path.iterdir()) == []
