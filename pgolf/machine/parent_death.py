"""A child that ends with its parent. Linux only, like the request: prctl(2), PR_SET_PDEATHSIG."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, told: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `told` to this process when the thread that started it ends; at once if it already has.

    To be called first thing by a child, with the pid its parent gave it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, told, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), told)
