"""Run a job's ranks under torchrun on leased devices, forwarding their progress and errors."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pgolf import errors
from pgolf.errors import LaunchError, PgolfError, StoreFull
from pgolf.machine.gpus import refuse_busy
from pgolf.machine.launch import KILLED, run_ranks
from pgolf.ranks.devices import uuid_of
from pgolf.ranks.failure import FAILURE_FILE, Failure
from pgolf.ranks.job import JOB_FILE, PROGRESS_MARK, RankJob
from pgolf.run_options import Lease, RunOptions

_REPORT_EVERY_S = 0.25


def run_job(
    module: str,
    job: RankJob,
    run: RunOptions,
    lease: Lease,
    *,
    log_path: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
    is_last: Callable[[Mapping[str, Any]], bool],
) -> None:
    """Run `module` as `run.processes` ranks on the leased devices and wait for them; removes the job file afterwards.

    on_progress: called with the arguments of `print_progress`, at most a few times a second and whenever `is_last`
    holds. Raises MachineError, before anything is started, if a leased GPU is in use; the PgolfError reported by the
    lowest rank that failed by itself; else StoreFull or LaunchError.
    """
    if job.device == "cuda":
        refuse_busy([uuid_of(name) for name in lease.devices])
    job_path = job.out / JOB_FILE
    job_path.write_bytes(job.model_dump_json().encode())
    output = _RankOutput(run, on_progress, is_last)
    try:
        run_ranks(
            module,
            [str(job_path)],
            processes=run.processes,
            log_path=log_path,
            on_line=output.take,
            unlogged_prefix=PROGRESS_MARK,
            environment=_environment(job.device, lease.devices),
            threads=job.threads,
            timeout_s=run.timeout_s,
            keep_open=lease.descriptors,
            cores=lease.cores,
        )
    except (LaunchError, StoreFull) as error:
        reason = _reported_error(job.out, run.processes, is_killed=KILLED in str(error))
        if reason is not None:
            raise reason from error
        raise
    finally:
        job_path.unlink()
        for rank in range(run.processes):
            (job.out / FAILURE_FILE.format(rank=rank)).unlink(missing_ok=True)


def _environment(device: Literal["cpu", "cuda"], leased: tuple[str, ...]) -> dict[str, str]:
    gloo = {"GLOO_SOCKET_IFNAME": "lo"}  # else gloo resolves the host name, which may fail
    if device == "cuda":
        return {
            **gloo,
            "CUDA_VISIBLE_DEVICES": ",".join(map(uuid_of, leased)),
        }
    return {
        **gloo,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_WAIT_POLICY": "PASSIVE",
        # Keep freed activations for the next step: returning them costs a fifth of the time in page faults.
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**32),
    }


def _reported_error(out: Path, processes: int, *, is_killed: bool) -> PgolfError | None:
    """The error in the failure file of the lowest rank that has a readable one (a full disk may truncate it).

    Of those that only noticed that another had gone, only if none failed by itself. is_killed: whether one was killed,
    and so could leave no file.
    """
    failures = []
    for rank in range(processes):
        with suppress(OSError, ValidationError):
            failures.append(Failure.model_validate_json((out / FAILURE_FILE.format(rank=rank)).read_bytes()))
    for failure in sorted(failures, key=lambda one: one.of_another):
        if failure.of_another and is_killed:
            break
        error: PgolfError = getattr(errors, failure.kind)(failure.message)
        return error
    return None


class _RankOutput:
    """Splits the ranks' output into log lines and progress reports, the latter at most a few times a second."""

    def __init__(
        self,
        run: RunOptions,
        on_progress: Callable[[Mapping[str, Any]], None],
        is_last: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self.run, self.on_progress, self.is_last = run, on_progress, is_last
        self.reported_s = 0.0

    def take(self, line: str) -> None:
        if not line.startswith(PROGRESS_MARK):
            self.run.log_line(line)
            return
        facts = json.loads(line.removeprefix(PROGRESS_MARK))
        now_s = time.monotonic()
        if now_s - self.reported_s < _REPORT_EVERY_S and not self.is_last(facts):
            return
        self.reported_s = now_s
        self.on_progress(facts)
