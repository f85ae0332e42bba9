"""Entry point of a calibration's only rank under torchrun (`pgolf.ranks.enter`)."""

import torch

from pgolf.quant import calibration as calibrate
from pgolf.quant.calibrate_job import LEDGER_FILE, Job, Ledger
from pgolf.ranks.enter import enter
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_progress
from pgolf.run_options import Progress, RunOptions


def run(job: Job, _ranks: Ranks, _device: torch.device) -> None:
    """Measure the Hessians on this process's device, and write the ledger beside them."""
    made = calibrate.make(job.config, job.inputs, job.out, RunOptions(device=job.device, report=_report))
    ledger = Ledger(phases_s=dict(made.phases_s), facts=dict(made.facts))
    (job.out / LEDGER_FILE).write_bytes(ledger.model_dump_json().encode())


def _report(progress: Progress) -> None:
    print_progress({"done": progress.done, "total": progress.total})


if __name__ == "__main__":
    enter(Job, run)
