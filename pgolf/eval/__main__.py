"""Where torchrun enters: one rank of an evaluation, `python -m pgolf.eval <job.json> <torchrun's pid>`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from pgolf.eval.job import LEDGER_FILE, Job, Ledger
from pgolf.eval.pieces import PIECES_FILE, write_pieces
from pgolf.eval.scoring import Scoring, open_text
from pgolf.parent_death import die_with_parent
from pgolf.rank_job import explained, print_progress
from pgolf.run import Fact
from pgolf.train.ranks import Ranks, join_ranks


def main(job_path: Path) -> int:
    """Run this rank of the job; returns the exit code. An error with an explanation leaves a failure file."""
    job = Job.model_validate_json(job_path.read_bytes())
    ranks, device = join_ranks(job.device)
    try:
        return explained(lambda: run(job, ranks, device), job.out, ranks.rank)
    finally:
        dist.destroy_process_group()


def run(job: Job, ranks: Ranks, device: torch.device) -> None:
    """Score this rank's share and leave its pieces in the job's folder, on rank 0 with a ledger."""
    # Batches run side by side, one thread each, so that the numbers do not depend on the threads.
    torch.set_num_threads(1)
    scoring = Scoring(
        job.config,
        job.inputs,
        device,
        text=open_text(job.config, job.inputs["data"]),
        ranks=ranks,
        threads=job.threads,
        report=_told if ranks.rank == 0 else lambda _done, _total, _facts: None,
    )
    write_pieces(job.out / PIECES_FILE.format(rank=ranks.rank), scoring.pieces())
    if ranks.rank == 0:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        ledger = Ledger(device=name, phases_s=scoring.phases_s, facts=scoring.facts)
        (job.out / LEDGER_FILE).write_text(ledger.model_dump_json())


def _told(done: int, total: int, facts: Mapping[str, Fact]) -> None:
    print_progress({"done": done, "total": total, "facts": facts})


if __name__ == "__main__":
    die_with_parent(int(sys.argv[-1]))
    exit_code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(exit_code)  # as pgolf.train does
