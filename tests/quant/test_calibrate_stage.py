"""Which device the calibrate stage takes, and what it leaves to others. Nothing here needs a GPU."""

from contextlib import nullcontext

import pytest
import torch

from pgolf.errors import ConfigError, MachineError
from pgolf.quant import calibrate_stage as stage
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.run import Lease, Made, RunOptions
from tests.fake_driver import gpu


def test_on_a_node_with_gpus_it_needs_one_and_measures_on_the_one_it_is_given(tmp_path, monkeypatch, machine):
    chosen = []

    def measure(_config, _inputs, _out, run):
        assert (run.device, chosen) == ("cuda", [1])
        return Made()

    gpus = ("gpu-a", "gpu-b", "gpu-c")
    monkeypatch.setattr(stage, "devices_for", lambda _run: ("cuda", gpus))
    monkeypatch.setattr(stage, "torch_index", gpus.index)
    monkeypatch.setattr(torch.cuda, "device", lambda index: chosen.append(index) or nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(calibrate, "make", measure)
    assert stage.devices(CalibrateConfig(), RunOptions()) == (gpus, 1)
    stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(lease=Lease(("gpu-b",))))
    machine([gpu(0), gpu(1, free_bytes=0)])
    with pytest.raises(MachineError, match=r"GPU-1aaa-1 has 0\.0 of 85\.5 GB free"):
        stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(lease=Lease(("gpu-1aaa-1",))))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none_and_a_cpu_is_not_leased(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="device cuda requested, but there is no NVIDIA driver here"):
        stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(device="cuda"))
    monkeypatch.setattr(calibrate, "make", lambda _config, _inputs, _out, run: Made(facts={"device": run.device}))
    made = stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(processes=99))
    assert made.facts == {"device": "cpu"}
    assert stage.devices(CalibrateConfig(), RunOptions(processes=99)) == ((), 0)
