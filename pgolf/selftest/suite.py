"""Run the checks on this machine's devices and judge what the ranks measured."""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgolf.errors import ConfigError, MachineError, PgolfError, StoreFull
from pgolf.machine.hardware import ranks_for, refuse_uneven
from pgolf.machine.launch import KILLED
from pgolf.machine.lease import lease
from pgolf.ranks.devices import devices_for
from pgolf.ranks.run_job import run_job
from pgolf.run_options import RunOptions
from pgolf.selftest import __main__ as rank_program
from pgolf.selftest.check import MARKS, Check, Finding, Numbers
from pgolf.selftest.checks import all_checks
from pgolf.selftest.published_runs import GPUS
from pgolf.selftest.selftest_job import Measured, SelftestJob, measured_file

# Within a minute, three and four, with the time in which this process and the ranks start and end.
LIMIT_S = {"cpu": 50.0, "one GPU": 165.0, "GPUs": 225.0}
_RANKS_ON_CPU = 2
_START_S = 30.0  # torchrun and the imports of its ranks, and their end
_RANK = re.compile(r"^\[rank\d+\]:\s*")
_THREAD = re.compile(r"^Thread 0x\w+ \(most recent call first\)|^Current thread 0x")
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Full|Stopped|Loss)\b.*")


def selftest(
    run: RunOptions,
    *,
    only: Sequence[str] = (),
    toy: bool = False,
    limit_s: float | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Iterator[Finding]:
    """Yield a finding per check within `limit_s` seconds (None: those of LIMIT_S), those that cannot run here first.

    All checks run in one job of as many ranks as a training here has, two on a CPU. If a rank fails or hangs, that
    check has failed, and those after it run in another job; if none begins, all have failed. Waits for devices that are
    leased in `run.lease_dir`.
    only: names of the checks to run, all if empty. Raises ConfigError for a name that is none, or if the device that
    was asked for is not here or the ranks cannot share a step, LeaseError for lock files that cannot be used.
    """
    kind, names = devices_for(run)
    on_gpu = kind == "cuda"
    ranks = ranks_for(replace(run, device=kind), GPUS) if on_gpu else run.processes or _RANKS_ON_CPU
    refuse_uneven(ranks, GPUS)
    limit_s = limit_s or LIMIT_S[("one GPU" if ranks == 1 else "GPUs") if on_gpu else "cpu"]
    checks = {check.name: check for check in all_checks(toy=toy)}
    unknown = [name for name in only if name not in checks]
    if unknown:
        raise ConfigError(f"no check {', '.join(unknown)}; there are {', '.join(checks)}")
    waiting = []
    for name, check in checks.items():
        if only and name not in only:
            continue
        why = check.cannot_run(on_gpu=on_gpu, ranks=ranks)
        if why is None:
            waiting.append(name)
        else:
            yield Finding(name=name, proves=check.proves, passed=None, said=why)
    folder = run.lease_dir if on_gpu else None  # nothing on a CPU is timed
    heard: list[str] = []

    def begun(facts: Mapping[str, Any]) -> None:
        # Every rank has written its numbers of one check before any begins the next.
        if heard and (measured := _measured(out, heard[-1], ranks)) is not None:
            say(_in_short_line(judged(checks[heard[-1]], measured)))
        heard.append(facts["check"])
        say(f"… {facts['check']}")

    with (
        lease(folder, names, min(ranks, len(names)), log_line=say) as held,
        tempfile.TemporaryDirectory(prefix="pgolf-selftest-") as where,
    ):
        out = Path(where)
        ends_s = time.monotonic() + limit_s
        while waiting and time.monotonic() < ends_s:
            job = SelftestJob(out=out, device=kind, threads=1, checks=tuple(waiting), toy=toy, ends_s=ends_s)
            options = replace(
                run, device=kind, processes=ranks, timeout_s=max(1.0, ends_s - time.monotonic()) + _START_S
            )
            error, begun_before = None, len(heard)
            try:
                run_job(
                    rank_program.__name__,
                    job,
                    options,
                    held,
                    log_path=out / "selftest.log",
                    on_progress=begun,
                    is_last=lambda _facts: True,
                )
            except PgolfError as raised:
                error = raised
            if error is not None and len(heard) == begun_before and time.monotonic() < ends_s - 1:
                # Ranks begin a check together. Where they begin none, no other job would fare better.
                yield from (_not_begun(checks[name], error) for name in waiting)
                return
            done, waiting = _settled(waiting, checks, out, ranks, error, is_over=time.monotonic() >= ends_s - 1)
            yield from done
    yield from (_unfinished(checks[name]) for name in waiting)


def _settled(
    waiting: Sequence[str],
    checks: Mapping[str, Check],
    out: Path,
    ranks: int,
    error: PgolfError | None,
    *,
    is_over: bool,
) -> tuple[list[Finding], list[str]]:
    """Findings of the checks that a job has settled, and the names of those that have to run again.

    error: what ended the job; the first check without a result is the one in which it ended. is_over: the time is.
    """
    findings: list[Finding] = []
    for place, name in enumerate(waiting):
        measured = _measured(out, name, ranks)
        if measured is None:
            if is_over:
                findings.append(_unfinished(checks[name], "" if error is None else in_short(error)))
            else:
                findings.append(_failed(checks[name], error))
            return findings, list(waiting[place + 1 :])
        findings.append(judged(checks[name], measured))
    return findings, []


def judged(check: Check, by_rank: Sequence[Measured]) -> Finding:
    """The verdict on what the ranks measured; a check that never began has not passed."""
    numbers: list[Numbers] = [each.numbers for each in by_rank if each.numbers is not None]
    if len(numbers) < len(by_rank):
        return _unfinished(check)
    verdict = check.judge(numbers)
    return Finding(
        name=check.name,
        proves=check.proves,
        passed=verdict.passed,
        said=verdict.said,
        numbers=numbers,
        wall_s=max(each.wall_s for each in by_rank),
        means=check.means if verdict.passed is False else "",
        remedy=check.remedy if verdict.passed is False else "",
    )


def _in_short_line(finding: Finding) -> str:
    """For those who watch; the table says more."""
    return f"{MARKS[finding.passed]} {finding.name}  {finding.wall_s or 0:.1f} s"


def _unfinished(check: Check, where: str = "") -> Finding:
    """where: the ranks were when they were ended."""
    return Finding(
        name=check.name,
        proves=check.proves,
        passed=False,
        said="not finished: the time was over" + (f" ({where})" if where else ""),
        means="nothing is known of it",
        remedy="give it more time: `pgolf selftest --seconds 600`",
    )


def _failed(check: Check, error: PgolfError | None) -> Finding:
    """error: what ended the ranks during the check."""
    # Who ends a rank by this signal, as the kernel does where memory is short, says nothing of what the check proves.
    lacks = isinstance(error, MachineError | StoreFull) or f"{KILLED} SIGKILL" in str(error)
    return Finding(
        name=check.name,
        proves=check.proves,
        passed=False,
        said="ended without a result" if error is None else in_short(error),
        numbers=({"error": str(error)},),
        means="nothing is known of it" if lacks else check.means,
        remedy="do what it says, or look for who ended it (`dmesg`), then run this again" if lacks else check.remedy,
    )


def _not_begun(check: Check, error: PgolfError) -> Finding:
    return Finding(
        name=check.name,
        proves=check.proves,
        passed=False,
        said=in_short(error),
        numbers=({"error": str(error)},),
        means="nothing is known of it: the ranks ended before the first check",
        remedy="do what it says; `pgolf doctor` looks at devices, torch and folders",
    )


def _measured(out: Path, check: str, ranks: int) -> list[Measured] | None:
    """What every rank measured; None if one of them did not get there."""
    try:
        return [Measured.model_validate_json((out / measured_file(check, rank)).read_bytes()) for rank in range(ranks)]
    except (OSError, ValidationError):
        return None


def in_short(error: PgolfError) -> str:
    """The first line of an error, with where a rank hung or the last line that names an exception."""
    lines = [_RANK.sub("", line.strip()) for line in str(error).splitlines()]
    said = lines[0].partition("; its last lines")[0]
    threads = [number for number, line in enumerate(lines) if _THREAD.match(line)]
    if threads:  # a watchdog's traceback: of every thread, the main one last, the innermost call first
        calls = [line for line in lines[threads[-1] + 1 :] if line.startswith('File "')]
        ours = next((line for line in calls if "/pgolf/" in line), calls[0] if calls else "an unknown place")
        return f"{said}: it took too long at {ours}"
    named = [line for line in lines[1:] if _ERROR.match(line)]
    return f"{said}: {named[-1]}" if named else said
