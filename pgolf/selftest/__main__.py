"""Entry point of the selftest's ranks under torchrun (`pgolf.ranks.enter`): the checks of a job in turn."""

import faulthandler
import gc
import time

import torch

from pgolf.identity.environment import fix_cublas_workspace
from pgolf.model.kernels import choose_kernels
from pgolf.ranks.enter import enter
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_progress
from pgolf.selftest.check import Place
from pgolf.selftest.checks import all_checks
from pgolf.selftest.selftest_job import Measured, SelftestJob, measured_file


def measure(job: SelftestJob, ranks: Ranks, device: torch.device) -> None:
    """Measure every check of the job; each rank writes its numbers to the job's folder as soon as it has them.

    A check that outlasts its limit ends this rank, with a traceback of every thread: only so is it seen where a
    collective or a kernel hangs.
    """
    torch.set_num_threads(job.threads)
    if device.type == "cuda":
        # torch looks for it at this process's first product and never again, and only later checks are deterministic.
        # On an H100 it is the workspace that torch takes without it, so the timed steps are those of a training.
        fix_cublas_workspace()
    choose_kernels(device)
    place = Place(ranks, device, job.out)
    checks = {check.name: check for check in all_checks(toy=job.toy)}
    for name in job.checks:
        check = checks[name]
        (late_s,) = ranks.largest(time.monotonic() - job.ends_s)
        if late_s >= 0:
            _write(job, ranks, name, Measured(numbers=None, wall_s=0.0))
            continue
        if ranks.rank == 0:
            print_progress({"check": name})
        faulthandler.dump_traceback_later(min(check.limit_s, -late_s), exit=True)
        began_s = time.monotonic()
        numbers = dict(check.measure(place))
        (wall_s,) = ranks.largest(time.monotonic() - began_s)
        faulthandler.cancel_dump_traceback_later()
        _write(job, ranks, name, Measured(numbers=numbers, wall_s=wall_s))
        del numbers
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _write(job: SelftestJob, ranks: Ranks, check: str, measured: Measured) -> None:
    (job.out / measured_file(check, ranks.rank)).write_bytes(measured.model_dump_json().encode())


if __name__ == "__main__":
    enter(SelftestJob, measure)
