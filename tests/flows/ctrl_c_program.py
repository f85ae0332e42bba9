"""A program that Ctrl-C ends as it ends `pgolf run` under Prefect: tests/flows/test_shutdown.py.

python -m tests.flows.ctrl_c_program [ranks]: its main thread holds a lock that everything at the end waits for. ranks:
it has a child that looks like torchrun and does not end at SIGTERM.
"""

import subprocess
import sys
import threading
import time

from flows.shutdown import ended_by_ctrl_c

TORCHRUN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def main() -> None:
    """Say that it is ready, and wait for Ctrl-C."""
    lock = threading.Lock()

    def stuck() -> None:
        with lock:
            print("never")

    with ended_by_ctrl_c(quiet=stuck, kept=lambda _since_s: ["never"], report=stuck, clear_up=stuck), lock:
        pid = 0
        if sys.argv[1:] == ["ranks"]:
            words = [sys.executable, "-c", TORCHRUN, "pgolf.machine.launch"]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
            assert child.stdout is not None
            child.stdout.readline()
            pid = child.pid
        print(pid, flush=True)
        while True:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
