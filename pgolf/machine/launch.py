"""torchrun as a child that cannot outlive us.

torchrun puts each rank into a session of its own, so no signal to our process group reaches a rank, and a killed
torchrun leaves ranks behind on the GPUs. Therefore torchrun and every rank ask the kernel for SIGKILL at the death of
their parent (`pgolf.machine.parent_death`). That request follows the parent's *thread*: `run_ranks` starts torchrun
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from pgolf.errors import LaunchError
from pgolf.machine.children import children
from pgolf.machine.parent_death import die_with_parent

_KEPT_LINES = 400
_SHOWN_LINES = 20
_RANK_PREFIX = re.compile(r"^\[default(\d+)\]:")
_FIRST_FAILURE = re.compile(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)


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
) -> None:
    """Run `python -m module *arguments <pid of torchrun>` as `processes` ranks under torchrun, and wait for them.

    Every line the ranks print goes to `log_path` and to `on_line`, those of other ranks than 0 marked "[rank 3] ";
    lines that start with `unlogged_prefix` go to `on_line` alone. environment: added to this process's own, besides
    OMP_NUM_THREADS = threads. keep_open: file descriptors torchrun inherits (a lease). A rank's first act must be
    `die_with_parent(int(sys.argv[-1]))`.

    SIGTERM to torchrun reaches the ranks, however often, and torchrun waits for them: they may still write something.
    Raises LaunchError when a rank fails (with its last lines) or when `timeout_s` is over: torchrun then gets SIGTERM,
    and after `grace_s` SIGKILL, which takes the ranks along. The same end follows any exception of `on_line`.
    """
    began_s = time.monotonic()
    deadline_s = None if timeout_s is None else began_s + timeout_s
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=log_path.parent) as rank_logs, log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", __name__, str(os.getpid())),
                # Port 0: the rendezvous picks a free one. Without local-addr it would look up the host's name.
                *("--nnodes=1", f"--nproc-per-node={processes}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"),
                *("--local-addr=127.0.0.1", "--max-restarts=0", "--tee=3", f"--log-dir={rank_logs}"),
                "--signals-to-handle=SIGHUP,SIGQUIT",  # the others are _PassOn's
                *("-m", module, *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**_with_our_source(os.environ), "OMP_NUM_THREADS": str(threads), **(environment or {})},
            pass_fds=tuple(keep_open),
        )
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
            # Its output has ended, so what is left of torchrun's life is short.
            exit_code = process.wait(grace_s if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise LaunchError(
                f"{module} on {processes} ranks was not done after {time.monotonic() - began_s:.0f} s and was stopped; "
                f"raise the timeout, or look for what it waits for. Its last lines:\n{_shown(last_lines, None)}"
            ) from error
        finally:
            _end(process, grace_s)
    if exit_code != 0:
        raise LaunchError(_what_failed(module, processes, exit_code, last_lines))


def _with_our_source(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this very package first on the path, so that ranks run the code their caller runs."""
    source = str(Path(__file__).resolve().parents[2])
    paths = [source, *filter(None, [environment.get("PYTHONPATH")])]
    # Without the safe path, `-m` would look in the current folder first.
    return {**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def _lines_until(pipe: IO[bytes], deadline_s: float | None) -> Iterator[str]:
    """Lines as they come, without their ends, until the pipe closes; TimeoutError once the deadline is over."""
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
    """Make sure torchrun is gone; at its death the kernel kills whatever ranks it still has."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _what_failed(module: str, processes: int, exit_code: int, last_lines: Sequence[str]) -> str:
    """The message for ranks that failed: which one first, how it ended, and what it said last."""
    found = _FIRST_FAILURE.search("\n".join(last_lines))
    if found is None:
        return f"torchrun for {module} ended with exit code {exit_code}; its last lines:\n{_shown(last_lines, None)}"
    rank, code = int(found[1]), int(found[2])
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    return f"rank {rank} of {processes} of {module} {how}; its last lines:\n{_shown(last_lines, rank)}"


def _signal_name(number: int) -> str:
    named = {each.value: each.name for each in signal.Signals}
    return named.get(number, f"signal {number}")  # of the real-time ones, the first and the last alone have names


def _shown(last_lines: Sequence[str], rank: int | None) -> str:
    """The last lines, of one rank or of all, indented for an error message."""
    lines = [_RANK_PREFIX.sub("", line) for line in last_lines if rank is None or line.startswith(f"[default{rank}]:")]
    return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:]) or "  (it printed nothing)"


class _PassOn:
    """Tells the ranks to end, or ends where there are none yet.

    torchrun's own handler raises an error whenever a signal comes: the second, in the middle of waiting for the ranks
    after the first, ends torchrun and so kills them (seen under Prefect, which signals the whole group).
    """

    def __init__(self) -> None:
        self.told = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        ranks = children(os.getpid())
        for pid in ranks:
            with suppress(ProcessLookupError):  # ended by itself meanwhile
                os.kill(pid, signal.SIGTERM)
        self.told = self.told or bool(ranks)
        if not self.told:
            os._exit(128 + signal.SIGTERM)
        # Ranks that were told and are gone have last lines, which torchrun is still to pass on.


def _become_torchrun() -> None:
    """`python -m pgolf.machine.launch <parent pid> <torchrun arguments>`: torchrun, bound to its parent's life."""
    die_with_parent(int(sys.argv[1]))
    pass_on = _PassOn()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    from torch.distributed.run import main  # after the line above: importing torch takes seconds

    main([*sys.argv[2:], str(os.getpid())])


if __name__ == "__main__":
    _become_torchrun()
