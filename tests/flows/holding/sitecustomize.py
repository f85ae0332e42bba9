"""On the PYTHONPATH of a test's processes: training ranks ignore SIGTERM and pause for as long as a test wants.

A process that is to become a flow run's pauses while there is a file `hold-starts` in the temporary folder.
A rank pauses after its first report of progress while there is a file `hold` beside the store, and says so in a file
`held-<pid>` there. PGOLF_TEST_HOST: the name that the machine goes by. PGOLF_TEST_CORES: how many it has.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path


def hold_ranks() -> None:
    """Have this process, a rank, ignore SIGTERM and pause in `print_progress`."""
    from pgolf.ranks import job

    set_handler = signal.signal
    set_handler(signal.SIGTERM, signal.SIG_IGN)
    signal.signal = lambda number, handler: None if number == signal.SIGTERM else set_handler(number, handler)
    print_progress = job.print_progress
    folder = next(path.parent for path in Path(sys.orig_argv[-2]).parents if path.name.startswith("store"))

    def print_and_hold(facts: dict) -> None:
        print_progress(facts)
        while (folder / "hold").exists():
            (folder / f"held-{os.getpid()}").touch()
            time.sleep(0.05)

    # A fork of the tests' template has imported those who print already.
    for module in list(sys.modules.values()):
        if getattr(module, "print_progress", None) is print_progress:
            module.print_progress = print_and_hold


def hold_start() -> None:
    """Pause before anything of the flow run has begun."""
    while Path(os.environ["TMPDIR"], "hold-starts").exists():
        time.sleep(0.02)


MODULE = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
if MODULE == "pgolf.train.__main__":
    hold_ranks()
if MODULE == "prefect.runner._workspace_supervisor":
    hold_start()
if os.environ.get("PGOLF_TEST_CORES"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(os.environ["PGOLF_TEST_CORES"])])
if os.environ.get("PGOLF_TEST_HOST"):
    socket.gethostname = lambda: os.environ["PGOLF_TEST_HOST"]
