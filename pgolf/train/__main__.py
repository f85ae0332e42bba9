"""Where torchrun enters: one rank of a training run, `python -m pgolf.train <job.json> <torchrun's pid>`."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import torch.distributed as dist

from pgolf.parent_death import die_with_parent
from pgolf.rank_job import explained
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.job import Job
from pgolf.train.rank import run
from pgolf.train.ranks import join_ranks


def main(job_path: Path) -> int:
    """Run this rank of the job; returns the exit code. An error with an explanation leaves a failure file."""
    job = Job.model_validate_json(job_path.read_bytes())
    ranks, device = join_ranks(job.device)
    checkpoints = None if job.checkpoints is None else Checkpoints(job.checkpoints, ranks)

    def end(_signal: int, _frame: FrameType | None) -> None:
        if checkpoints is None or not checkpoints.tell_to_end():
            os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)

    def work() -> None:
        run(job, ranks, device, checkpoints)
        if checkpoints is not None:
            checkpoints.close()

    try:
        return explained(work, job.out, ranks.rank)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[-1]))
    exit_code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    # All files are written. gloo's threads may still be letting go of tensors, and an interpreter that shuts down
    # beneath them aborts: seen in 1 of 20 runs of two ranks.
    os._exit(exit_code)
