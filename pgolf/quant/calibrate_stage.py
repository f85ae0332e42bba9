"""Stage `calibrate`: run `pgolf.quant.calibration` on a leased GPU, or on a CPU."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from pgolf.machine.gpus import refuse_busy
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.ranks.devices import devices_for, torch_index, uuid_of
from pgolf.run import Made, RunOptions


def devices(_config: CalibrateConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """One of the GPUs, leased so as not to slow another seed's timed training; none on a CPU (one thread)."""
    kind, names = devices_for(replace(run, processes=1))
    return (names, 1) if kind == "cuda" else ((), 0)


def make(config: CalibrateConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """As `pgolf.quant.calibration.make`, on the leased GPU.

    Raises ConfigError if CUDA is requested but absent, MachineError if that GPU is in use.
    """
    kind, names = devices_for(replace(run, processes=1))
    if kind == "cpu":
        return calibrate.make(config, inputs, out, replace(run, device=kind))
    name = run.lease.devices[0] if run.lease else names[0]
    refuse_busy([uuid_of(name)])
    with torch.cuda.device(torch_index(name)):
        made = calibrate.make(config, inputs, out, replace(run, device=kind))
        torch.cuda.empty_cache()  # this process lives on; free the memory for the next holder of the lease
    return made
