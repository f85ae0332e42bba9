"""`python -m tests.template.process DESCRIPTOR PADDING`: the template, which imports, waits, and forks on request."""

import array
import ctypes
import gc
import json
import os
import platform
import socket
import sys
from typing import Any

from tests.template import child, starting

# clone(2) by number: glibc has no wrapper that leaves the stack alone.
_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
_CLONE_PARENT, _SIGCHLD = 0x8000, 17


def import_what_programs_import() -> None:
    """Everything heavy that programs of the tests import, and nothing that reads its settings when imported."""

    import pgolf.eval.__main__
    import pgolf.mix.mix_stage
    import pgolf.pack.compress_stage
    import pgolf.pipeline.outcome
    import pgolf.quant.calibrate_stage
    import pgolf.train.__main__  # noqa: F401


def fork_beside() -> int:
    """Fork a child of this process's own parent, so that the parent waits for it; 0 in the child.

    Only in a process with one thread: no lock is held by anybody else.
    """
    api, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    api.PyOS_BeforeFork()
    pid = libc.syscall(_CLONE, _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    api.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone failed")
    return int(pid)


def main(requests: socket.socket) -> None:
    """Fork for every request, until the pytest process is gone."""
    size = array.array("i").itemsize
    while True:
        message, passed, _flags, _address = requests.recvmsg(16, socket.CMSG_SPACE(64 * size))
        if not message:
            return
        descriptors = array.array("i")
        for _level, _kind, data in passed:
            descriptors.frombytes(data[: len(data) // size * size])
        asked, *given = descriptors
        with open(asked, "rb") as file:
            file.seek(0)
            request: dict[str, Any] = json.load(file)
        kept = request.pop("kept")
        pid = fork_beside()
        if pid == 0:
            _become(child.Program(**request), given[:3], dict(zip(kept, given[3:], strict=True)))
        for descriptor in given:
            os.close(descriptor)
        requests.send(str(pid).encode())


def _become(program: child.Program, standard: list[int], kept: dict[int, int]) -> None:
    """The program, with kept descriptors under the numbers that they have in the process that asked."""
    # First out of the way of all numbers that are asked for.
    high = {number: os.dup(descriptor) for number, descriptor in kept.items()}
    above = max([*kept, *high.values(), *standard, 64]) + 1
    import fcntl

    moved = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for number, descriptor in high.items()}
    standard = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in standard]
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
    starting.STARTER.template = None
    child.run(program, standard, tuple(kept), starting.INTERPRETER_PATH)


if __name__ == "__main__":
    import_what_programs_import()
    starting.install()
    gc.collect()
    gc.freeze()
    sys.modules["tests.template.process"] = sys.modules["__main__"]
    main(socket.socket(fileno=int(sys.argv[1])))
