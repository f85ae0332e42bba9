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
from pgolf.machine.parent_death import die_with_parent
from pgolf.ranks.devices import take_device
from pgolf.ranks.failure import Failure, leave_failure, run_reporting_errors
from pgolf.ranks.group import Ranks, join_group
from pgolf.ranks.job import RankJob

Job = TypeVar("Job", bound=RankJob)


def enter(job_type: type[Job], work: Callable[[Job, Ranks, torch.device], None]) -> NoReturn:
    """Run this rank's part of the job named on the command line, and exit.

    Whatever ends it early is printed and left in a failure file, and the process ends at once: to take leave of the
    group first could wait for the others, which wait for this one. torchrun then ends them.
    """
    die_with_parent(int(sys.argv[-1]))
    job = job_type.model_validate_json(Path(sys.argv[1]).read_bytes())
    ranks: Ranks

    def end_for_a_missing_rank(said: str) -> None:
        failure = Failure(kind="LaunchError", message=said, of_another=True)
        _exit(leave_failure(failure, job.out, ranks.rank))

    ranks = join_group(job.device, end_for_a_missing_rank)

    def work_on_device() -> None:
        device = take_device(job.device, ranks.rank, ranks.world_size)
        with watching(Watch(f"rank {ranks.rank}", job.paths())):
            work(job, ranks, device)

    exit_code = run_reporting_errors(work_on_device, job.out, ranks.rank)
    if exit_code == 0:
        dist.destroy_process_group()
    _exit(exit_code)


def _exit(exit_code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # All files are written. gloo's threads may still be releasing tensors, and a normal interpreter shutdown would
    # then abort: seen in 1 of 20 runs of two ranks.
    os._exit(exit_code)
