"""Run torchrun as a subprocess that cannot outlive this process.

torchrun starts each rank in its own session, so signals to our process group do not reach the ranks, and a killed
torchrun would leave ranks behind on the GPUs. Therefore torchrun and every rank ask the kernel for SIGKILL when their
parent dies (`pgolf.machine.parent_death`). That request is tied to the parent's *thread*: `run_ranks` starts torchrun
and waits for it in one thread.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from pgolf.errors import LaunchError, StoreFull
from pgolf.identity.environment import seen_by_ranks
from pgolf.identity.snapshot import CODE, EXPECTED_CODE
from pgolf.machine.children import children
from pgolf.machine.lack import DISK_FULL, full_disk, is_full, limits_in_force
from pgolf.machine.parent_death import die_with_parent

_KEPT_LINES = 400
_SHOWN_LINES = 20
_RANK_PREFIX = re.compile(r"^\[default(\d+)\]:")
_EXIT_CODES = re.compile(r"exitcode\s*:\s*(\d+)")
_FAILURE = re.compile(r"rank\s*:\s*(\d+) \(local_rank.*?exitcode\s*:\s*(-?\d+)", re.DOTALL)

KILLED = "was killed by"  # of the error of a rank that a signal ended, and not torchrun after another's failure


def run_ranks(
    module: str,
    arguments: Sequence[str],
    *,
    processes: int,
    log_path: Path,
    on_line: Callable[[str], None] = lambda _line: None,
    unlogged_prefix: str | None = None,
    environment: Mapping[str, str] | None = None,
    threads: int = 1,
    timeout_s: float | None = None,
    grace_s: float = 10.0,
    keep_open: Sequence[int] = (),
    cores: Collection[int] | None = None,
) -> None:
    """Run `python -m module *arguments <pid of torchrun>` as `processes` ranks under torchrun, and wait for them.

    Every line the ranks print goes to `log_path` and to `on_line`, with a prefix "[rank 3] " unless from rank 0; lines
    that start with `unlogged_prefix` go to `on_line` only. environment: added to what ranks may see of this process's
    (`pgolf.identity.environment`), besides OMP_NUM_THREADS = threads. keep_open: file descriptors that torchrun
    inherits (a lease). cores: on which the ranks may run (None: as this thread). A rank must first of all call
    `die_with_parent(int(sys.argv[-1]))`.

    Every SIGTERM to torchrun is forwarded to the ranks, and torchrun waits for them, so they can save their work.
    Raises StoreFull if a rank failed because the disk of `log_path` is full, else LaunchError (with its last lines), or
    after `timeout_s`: torchrun then gets SIGTERM and, after
    a grace period of `grace_s`, SIGKILL, which kills the ranks too. An exception in `on_line` has the same effect.
    """
    began_s = time.monotonic()
    deadline_s = None if timeout_s is None else began_s + timeout_s
    with (
        tempfile.TemporaryDirectory(prefix=".ranks-", dir=log_path.parent) as rank_logs,
        _folder_for_code(rank_logs) as code,
        log_path.open("w", encoding="utf-8") as log,
    ):
        process = subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", __name__, str(os.getpid())),
                # Port 0: the rendezvous picks a free one. Without local-addr it would resolve the host name.
                *("--nnodes=1", f"--nproc-per-node={processes}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"),
                *("--local-addr=127.0.0.1", "--max-restarts=0", "--tee=3", f"--log-dir={rank_logs}"),
                "--signals-to-handle=SIGHUP,SIGQUIT",  # the others are handled by _ForwardSignal
                *("-m", module, *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**_with_our_code(seen_by_ranks(), code), "OMP_NUM_THREADS": str(threads), **(environment or {})},
            pass_fds=tuple(keep_open),
        )
        if cores is not None:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, cores)  # torchrun imports for a second before it has ranks
        assert process.stdout is not None
        last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            for line in _lines_until(process.stdout, deadline_s):
                last_lines.append(line)
                shown = _RANK_PREFIX.sub(lambda match: "" if match[1] == "0" else f"[rank {match[1]}] ", line)
                if unlogged_prefix is None or not shown.startswith(unlogged_prefix):
                    log.write(f"{shown}\n")
                    log.flush()
                on_line(shown)
            # Its output is closed, so torchrun is about to exit.
            exit_code = process.wait(grace_s if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise LaunchError(
                f"{module} on {processes} ranks timed out after {time.monotonic() - began_s:.0f} s and was stopped; "
                f"raise the timeout, or find out what it is waiting for. Its last lines:\n{_shown(last_lines, None)}"
            ) from error
        finally:
            _end(process, grace_s)
        if exit_code != 0:
            if DISK_FULL in map(int, _EXIT_CODES.findall("\n".join(last_lines))) or is_full(log_path.parent):
                raise StoreFull(f"a rank of {module} ended: {full_disk([log_path.parent])}")
            limits = limits_in_force()
            raise LaunchError(_failure_message(module, processes, exit_code, last_lines) + (limits and f"\n  {limits}"))


def _with_our_code(environment: Mapping[str, str], folder: str) -> dict[str, str]:
    """The environment in which Python imports the code that this process runs, and everything else from where this
    process does, in its order.

    folder: where the code is written.
    """
    digest = CODE.digest
    archive = f"{folder}/{digest}.zip"
    search = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    if CODE.root not in search:  # it may hold other packages that ranks run
        search.insert(0, CODE.root)
    CODE.write(archive, search)
    # What this variable cannot hold is on the list in the archive, which replaces it once pgolf is imported.
    paths = [archive, *(entry for entry in search if os.pathsep not in entry)]
    # Without PYTHONSAFEPATH, `-m` would search the current folder first.
    return {**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", EXPECTED_CODE: digest}


@contextmanager
def _folder_for_code(beside_logs: str) -> Iterator[str]:
    """That folder, or a temporary one where PYTHONPATH could not name it. Raises LaunchError if there is none."""
    beside_logs = os.path.abspath(beside_logs)
    if os.pathsep not in beside_logs:
        yield beside_logs
        return
    places = (tempfile.gettempdir(), "/tmp", "/var/tmp")
    for place in places:
        if os.pathsep not in place and os.access(place, os.W_OK):
            with tempfile.TemporaryDirectory(prefix="pgolf-code-", dir=place) as folder:
                yield folder
            return
    raise LaunchError(
        f"the ranks' code can be written to none of {', '.join(dict.fromkeys(places))}; set TMPDIR to a folder that "
        f"may be written and whose path has no {os.pathsep!r}"
    )


def _lines_until(pipe: IO[bytes], deadline_s: float | None) -> Iterator[str]:
    """Yield lines, without line ends, until the pipe closes. Raises TimeoutError after the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        rest = b""
        while True:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError
            if not selector.select(left_s):
                continue
            chunk = os.read(pipe.fileno(), 65_536)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines if chunk else filter(None, [rest]):
                yield line.decode(errors="replace").rstrip("\r")
            if not chunk:
                return


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Make sure torchrun has exited; when it dies, the kernel kills any remaining ranks."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _failure_message(module: str, processes: int, exit_code: int, last_lines: Sequence[str]) -> str:
    """Which rank failed first, how it ended, and its last lines."""
    # torchrun's list of failures ends with the one it saw first. Where a rank was killed, others may have been seen
    # before it that only missed it; SIGTERM is what torchrun itself sends to the rest.
    found = [(int(rank), int(code)) for rank, code in _FAILURE.findall("\n".join(last_lines))]
    if not found:
        return f"torchrun for {module} ended with exit code {exit_code}; its last lines:\n{_shown(last_lines, None)}"
    killed = [failure for failure in found if failure[1] < 0 and failure[1] != -signal.SIGTERM]
    rank, code = (killed or found)[-1]
    how = f"{KILLED} {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    return f"rank {rank} of {processes} of {module} {how}; its last lines:\n{_shown(last_lines, rank)}"


def _signal_name(number: int) -> str:
    named = {each.value: each.name for each in signal.Signals}
    return named.get(number, f"signal {number}")  # of the real-time signals, only the first and the last have names


def _shown(last_lines: Sequence[str], rank: int | None) -> str:
    """The last lines of one rank, or of all, indented for an error message."""
    lines = [_RANK_PREFIX.sub("", line) for line in last_lines if rank is None or line.startswith(f"[default{rank}]:")]
    return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:]) or "  (it printed nothing)"


class _ForwardSignal:
    """Signal handler that sends SIGTERM to the ranks, or exits if there are none yet.

    torchrun's own handler raises an error on every signal: a second one, while it waits for the ranks after the first,
    ends torchrun and so kills them (seen under Prefect, which signals the whole process group).
    """

    def __init__(self) -> None:
        self.forwarded = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        ranks = children(os.getpid())
        for pid in ranks:
            with suppress(ProcessLookupError):  # already exited
                os.kill(pid, signal.SIGTERM)
        self.forwarded = self.forwarded or bool(ranks)
        if not self.forwarded:
            os._exit(128 + signal.SIGTERM)
        # If the ranks were signalled and have exited, torchrun still has their last lines to forward.


def _become_torchrun() -> None:
    """`python -m pgolf.machine.launch <parent pid> <torchrun arguments>`: torchrun that dies with its parent."""
    die_with_parent(int(sys.argv[1]))
    forward = _ForwardSignal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    from torch.distributed.run import main  # after installing the handlers: importing torch takes seconds

    main([*sys.argv[2:], str(os.getpid())])


if __name__ == "__main__":
    _become_torchrun()
