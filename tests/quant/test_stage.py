"""Which device the calibrate stage takes, and what it leaves to others. Nothing here needs a GPU."""

from contextlib import nullcontext

import pytest
import torch

from pgolf.errors import ConfigError
from pgolf.lease import is_locked, lease
from pgolf.quant import calibrate, stage
from pgolf.quant.config import CalibrateConfig
from pgolf.run import Made, RunOptions


def test_on_a_node_with_gpus_it_holds_one_that_is_free_while_it_measures_and_no_other(tmp_path, monkeypatch):
    chosen = []

    def measure(_config, _inputs, _out, run):
        assert (run.device, chosen) == ("cuda", [1])
        assert is_locked(tmp_path / "gpu-b.lock")
        assert not is_locked(tmp_path / "gpu-c.lock")
        return Made(phases_s={"measure": 1.0})

    monkeypatch.setattr(stage, "devices_for", lambda _run: ("cuda", ("gpu-a", "gpu-b", "gpu-c")))
    monkeypatch.setattr(torch.cuda, "device", lambda index: chosen.append(index) or nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(calibrate, "make", measure)
    with lease(tmp_path, ("gpu-a",), 1, log_line=lambda _line: None):
        made = stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(lease_dir=tmp_path))
    assert made.phases_s.keys() == {"wait", "measure"}
    assert not is_locked(tmp_path / "gpu-b.lock")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none_and_a_cpu_is_not_leased(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"device cuda asked for, but torch .* sees none here"):
        stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(device="cuda"))
    monkeypatch.setattr(calibrate, "make", lambda _config, _inputs, _out, run: Made(facts={"device": run.device}))
    made = stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(processes=99, lease_dir=tmp_path / "leases"))
    assert made.facts == {"device": "cpu"}
    assert not (tmp_path / "leases").exists()
