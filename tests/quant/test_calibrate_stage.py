"""Which device the calibrate stage takes, and the process in which it uses a GPU. Nothing here needs a GPU."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pgolf.errors import ConfigError, DataError
from pgolf.machine.children import children
from pgolf.model.checkpoint import save_checkpoint
from pgolf.quant import calibrate_stage as stage
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.run_options import Lease, Made, RunOptions
from tests.data_folder import write_data_folder
from tests.pack.network import SMALL, random_state

CONFIG = CalibrateConfig(batches=3, sequences=2, sequence_length=8, spans=4)


def inputs_at(folder: Path, **facts: str) -> dict[str, Path]:
    tokens = np.random.default_rng(0).integers(0, SMALL.vocab_size, 500)
    data = write_data_folder(folder / "data", train=[tokens], val=[tokens[:50]], vocab_size=SMALL.vocab_size)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    save_checkpoint(checkpoint / "checkpoint.safetensors", SMALL, random_state(), facts)
    return {"data": data, "checkpoint": checkpoint}


def outs(folder: Path) -> tuple[Path, Path]:
    for path in (here := folder / "here", there := folder / "there"):
        path.mkdir()
    return here, there


def test_on_a_node_with_gpus_it_needs_one_and_measures_in_a_process_on_the_one_it_is_given(tmp_path, monkeypatch):
    """This process asks torch for nothing."""

    def launched(_module, job, run, lease, **_more):
        assert (job.device, run.processes, lease.devices) == ("cuda", 1, ("gpu-b",))
        (job.out / "calibrate.json").write_text('{"phases_s": {"measure": 0.0}, "facts": {"hessians": 7}}')

    gpus = ("gpu-a", "gpu-b", "gpu-c")
    monkeypatch.setattr(stage, "devices_for", lambda _run: ("cuda", gpus))
    monkeypatch.setattr(stage, "run_job", launched)
    monkeypatch.setattr(calibrate, "make", lambda *_arguments: pytest.fail("it measures in this process"))
    assert stage.devices(CalibrateConfig(), RunOptions()) == (gpus, 1)
    made = stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(lease=Lease(("gpu-b",))))
    assert (made.facts, made.phases_s.keys()) == ({"hessians": 7}, {"launch", "measure"})
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_measures_the_same_bytes_and_is_gone(tmp_path):
    inputs, (here, there), reports = inputs_at(tmp_path, stream_position="68"), outs(tmp_path), []
    alone = calibrate.make(CONFIG, inputs, here, RunOptions(device="cpu"))
    before = children(os.getpid())
    run = RunOptions(report=reports.append)
    made = stage.make_in_a_process(CONFIG, inputs, there, run, "cpu", Lease(()))
    assert children(os.getpid()) == before
    assert {path.name for path in there.iterdir()} == {"hessians.safetensors", "calibrate.log"}
    assert (there / "hessians.safetensors").read_bytes() == (here / "hessians.safetensors").read_bytes()
    assert made.facts == alone.facts
    assert made.phases_s.keys() == {"launch", *alone.phases_s}
    assert (reports[-1].stage, reports[-1].done, reports[-1].total, reports[-1].unit) == ("calibrate", 3, 3, "batches")


def test_what_it_cannot_measure_is_raised_here(tmp_path):
    inputs, (_here, there) = inputs_at(tmp_path), outs(tmp_path)
    with pytest.raises(DataError, match=r"stream_position is '', so the next training tokens are unknown"):
        stage.make_in_a_process(CONFIG, inputs, there, RunOptions(), "cpu", Lease(()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none_and_a_cpu_is_not_leased(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="device cuda requested, but there is no NVIDIA driver here"):
        stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(device="cuda"))
    monkeypatch.setattr(calibrate, "make", lambda _config, _inputs, _out, run: Made(facts={"device": run.device}))
    made = stage.make(CalibrateConfig(), {}, tmp_path, RunOptions(processes=99))
    assert made.facts == {"device": "cpu"}
    assert stage.devices(CalibrateConfig(), RunOptions(processes=99)) == ((), 0)
