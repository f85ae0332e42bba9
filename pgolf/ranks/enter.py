"""Entry point of a rank under torchrun: `python -m MODULE <job.json> <torchrun's pid>`."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist

from pgolf.identity.watch import Watch, watching
from pgolf.machine.lack import DISK_FULL
from pgolf.machine.parent_death import die_with_parent
from pgolf.ranks.failure import run_reporting_errors
from pgolf.ranks.group import Ranks, join_ranks
from pgolf.ranks.job import RankJob

Job = TypeVar("Job", bound=RankJob)


def enter(job_type: type[Job], work: Callable[[Job, Ranks, torch.device], None]) -> NoReturn:
    """Run this rank's part of the job named on the command line, and exit.

    A PgolfError is written to a failure file, and the exit code is 1.
    """
    die_with_parent(int(sys.argv[-1]))
    job = job_type.model_validate_json(Path(sys.argv[1]).read_bytes())
    ranks, device = join_ranks(job.device)
    exit_code = 1
    try:
        exit_code = run_reporting_errors(lambda: _watched(work, job, ranks, device), job.out, ranks.rank)
    finally:
        if exit_code != DISK_FULL:  # the others would notice first, and end with an error of theirs
            dist.destroy_process_group()
    with suppress(OSError):
        sys.stdout.flush()
    # All files are written. gloo's threads may still be releasing tensors, and a normal interpreter shutdown would
    # then abort: seen in 1 of 20 runs of two ranks.
    os._exit(exit_code)


def _watched(work: Callable[[Job, Ranks, torch.device], None], job: Job, ranks: Ranks, device: torch.device) -> None:
    """Let a rank read what its job names, and nothing else."""
    with watching(Watch(f"rank {ranks.rank}", job.paths())):
        work(job, ranks, device)
