"""Where torchrun enters: one rank of a training run, `python -m pgolf.train <job.json> <torchrun's pid>`."""

import os
import sys
from pathlib import Path

import torch.distributed as dist

from pgolf.errors import PgolfError
from pgolf.parent_death import die_with_parent
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.job import FAILURE_FILE, Failure, Job
from pgolf.train.rank import run
from pgolf.train.ranks import join_ranks


def main(job_path: Path) -> int:
    """Run this rank of the job; returns the exit code. An error with an explanation leaves a failure file."""
    job = Job.model_validate_json(job_path.read_bytes())
    ranks, device = join_ranks(job.device)
    checkpoints = None if job.checkpoints is None else Checkpoints(job.checkpoints, ranks)
    try:
        run(job, ranks, device, checkpoints)
        if checkpoints is not None:
            checkpoints.close()
    except PgolfError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        failure = Failure(kind=type(error).__name__, message=str(error))
        (job.out / FAILURE_FILE.format(rank=ranks.rank)).write_text(failure.model_dump_json())
        return 1
    finally:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    die_with_parent(int(sys.argv[-1]))
    exit_code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    # All files are written. gloo's threads may still be letting go of tensors, and an interpreter that shuts down
    # beneath them aborts: seen in 1 of 20 runs of two ranks.
    os._exit(exit_code)
