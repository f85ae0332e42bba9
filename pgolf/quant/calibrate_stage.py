"""Stage `calibrate`: run `pgolf.quant.calibration` on a leased GPU, or on a CPU."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pgolf.quant import __main__ as rank_program
from pgolf.quant import calibration as calibrate
from pgolf.quant.calibrate_job import LEDGER_FILE, LOG_FILE, Job, Ledger
from pgolf.quant.config import CalibrateConfig
from pgolf.ranks.devices import devices_for
from pgolf.ranks.run_job import run_job
from pgolf.run_options import Lease, Made, Progress, RunOptions


def devices(_config: CalibrateConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """One of the GPUs, leased so as not to slow another seed's timed training; none on a CPU (one thread)."""
    kind, names = devices_for(replace(run, processes=1))
    return (names, 1) if kind == "cuda" else ((), 0)


def make(config: CalibrateConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """As `pgolf.quant.calibration.make`, on the leased GPU. Raises ConfigError if CUDA is requested but absent.

    On CUDA in a process that ends with the stage: this one would keep its context, and the memory that takes on a GPU,
    for as long as it lives. On a CPU there is no context to keep, and a process costs more than many a calibration
    (see docs/decisions.md).
    """
    kind, names = devices_for(replace(run, processes=1))
    if kind == "cpu":
        return calibrate.make(config, inputs, out, replace(run, device=kind))
    return make_in_a_process(config, inputs, out, run, kind, run.lease or Lease(names[:1]))


def make_in_a_process(
    config: CalibrateConfig,
    inputs: Mapping[str, Path],
    out: Path,
    run: RunOptions,
    device: Literal["cpu", "cuda"],
    lease: Lease,
) -> Made:
    """As `pgolf.quant.calibration.make`, by a process that has ended when this returns; also writes calibrate.log.

    The phase `launch` is what that process takes beside the calibration. Raises what it raises, LaunchError if it dies.
    """
    began_s = time.perf_counter()

    def report(progress: Mapping[str, int]) -> None:
        run.report(Progress(stage="calibrate", done=progress["done"], total=progress["total"], unit="batches"))

    run_job(
        rank_program.__name__,
        Job(config=config, inputs=dict(inputs), out=out, device=device, threads=1),
        replace(run, processes=1),
        lease,
        log_path=out / LOG_FILE,
        on_progress=report,
        is_last=lambda progress: bool(progress["done"] == progress["total"]),
    )
    ledger = Ledger.model_validate_json((out / LEDGER_FILE).read_bytes())
    (out / LEDGER_FILE).unlink()
    launch_s = time.perf_counter() - began_s - sum(ledger.phases_s.values())
    return Made(phases_s={"launch": launch_s, **ledger.phases_s}, facts=ledger.facts)
