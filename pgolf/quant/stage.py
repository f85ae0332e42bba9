"""The calibrate stage: `pgolf.quant.calibrate` on a GPU that nothing else uses meanwhile, or on a CPU."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from pgolf.lease import lease
from pgolf.quant import calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.ranks.devices import devices_for
from pgolf.run import Made, RunOptions


def make(config: CalibrateConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """`pgolf.quant.calibrate.make`, on CUDA under the lease of one GPU: another seed's training may be on its clock.

    On a CPU, where it is one thread, it takes no core's lease. Raises ConfigError where CUDA is asked for and absent.
    """
    kind, devices = devices_for(replace(run, processes=1))
    if kind == "cpu":
        return calibrate.make(config, inputs, out, replace(run, device=kind))
    began_s = time.perf_counter()
    with lease(run.lease_dir, devices, 1, log_line=run.log_line) as leased:
        wait_s = time.perf_counter() - began_s
        with torch.cuda.device(devices.index(leased.devices[0])):
            made = calibrate.make(config, inputs, out, replace(run, device=kind))
            torch.cuda.empty_cache()  # this process lives on, and the next lease's holder has use for the memory
    return replace(made, phases_s={"wait": wait_s, **made.phases_s})
