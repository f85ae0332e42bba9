"""`subprocess.Popen` that forks where a Python program is started: see `tests.template`."""

import array
import json
import os
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pgolf
from pgolf.identity.snapshot import CODE
from tests.template.child import Program

OURS = Path(pgolf.__file__).resolve().parents[1]
PROGRAMS = ("pgolf", "flows", "tests", "bench", "rank_program")
PREFECTS = ("prefect", "uvicorn")
SCRIPTS = {
    str(Path(sys.executable).with_name("pgolf")): "flows.commands.cli",
    str(Path(sys.executable).with_name("prefect")): "prefect",
}
PREFECT = f"{sysconfig.get_path('purelib')}/prefect/"
_ONE_REQUEST = threading.Lock()
_GIVEN = {"", *os.environ.get("PYTHONPATH", "").split(os.pathsep), str(OURS)}
# The interpreter's own places, and ours as the editable install adds it: behind them.
INTERPRETER_PATH = (*(entry for entry in sys.path if entry not in _GIVEN), str(OURS))
_EXEC = subprocess.Popen._execute_child  # type: ignore[attr-defined]


class Starter:
    """How this process starts programs: by its template, if it has one.

    Never by a fork of its own. A fork of a process with threads holds whatever locks they held: a rank that torchrun
    forked while a thread of it looked up a name waited for glibc's resolver for ever, one launch in twenty.
    """

    def __init__(self) -> None:
        self.template: Template | None = None
        self.held = 0


STARTER = Starter()


class Template:
    """The process that forks on request, at the other end of a socket. packages: whose programs it forks."""

    def __init__(
        self, requests: socket.socket, packages: Sequence[str], process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._requests, self.packages, self._process = requests, packages, process

    @classmethod
    def start(cls) -> "Template":
        """A new one, as a child of this process; it ends with it, and what it has forked lives on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(OURS)}
        # Room for the command lines of its forks.
        words = [sys.executable, "-m", "tests.template.process", str(theirs.fileno()), "." * 8000]
        with theirs, executing():
            process = subprocess.Popen(words, env=environment, cwd=OURS, pass_fds=(theirs.fileno(),))
        return cls(ours, (*PROGRAMS, *PREFECTS), process)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What has to stay open for requests."""
        return (self._requests.fileno(),)

    def fork(self, program: Program, standard: Sequence[int], kept: Sequence[int]) -> int:
        """Have it fork, as a child of this process; descriptors travel along, the kept ones under their numbers."""
        # The request is a file, since a packet has a limit.
        with os.fdopen(os.memfd_create("request"), "wb") as file, _ONE_REQUEST:
            file.write(json.dumps({**asdict(program), "kept": list(kept)}).encode())
            file.flush()
            descriptors = array.array("i", [file.fileno(), *standard, *kept])
            self._requests.sendmsg([b"fork"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            answer = self._requests.recv(64)
        if not answer:
            raise RuntimeError("the template process has ended; it says why above")
        return int(answer)

    def end(self) -> None:
        """Let it end."""
        self._requests.close()
        if self._process is not None:
            self._process.wait()


def program_of(
    words: Any, environment: Mapping[str, str] | None, folder: Any, *, packages: Sequence[str], new_session: bool
) -> Program | None:
    """The Python program that a command is, if it may be forked: one of `packages`, on our own code."""
    if not isinstance(words, list | tuple) or not all(isinstance(word, str | os.PathLike) for word in words):
        return None
    words = [os.fspath(word) for word in words]
    if words and words[0] in SCRIPTS:
        words = [sys.executable, "-m", SCRIPTS[words[0]], *words[1:]]
    by_path = len(words) > 1 and words[1].startswith(PREFECT) and words[1].endswith(".py")
    if by_path:  # as a worker calls the hooks of a flow
        module = "prefect." + words[1].removeprefix(PREFECT).removesuffix(".py").replace(os.sep, ".")
        words = [words[0], "-m", module, *words[2:]]
    if not words or words[0] != sys.executable:
        return None
    flags = words[1 : words.index("-m")] if "-m" in words else None
    if flags not in ([], ["-u"]):
        return None
    module = words[2 + len(flags)]
    if module.partition(".")[0] not in packages:
        return None
    program = Program(
        python=words[0],
        module=module,
        arguments=words[3 + len(flags) :],
        environment=dict(os.environ if environment is None else environment),
        folder=os.path.abspath(os.fspath(folder) if folder is not None else os.getcwd()),
        unbuffered=flags == ["-u"],
        safe_path=by_path,
        new_session=new_session,
    )
    found = next(filter(_has_our_code, program.path), None)
    return program if found is None or Path(found).resolve() == OURS or Path(found).stem == CODE.digest else None


def _has_our_code(entry: str) -> bool:
    """Whether pgolf would be imported from here: a folder, or a zip file as launches write it."""
    return Path(entry, "pgolf", "__init__.py").is_file() or (entry.endswith(".zip") and Path(entry).is_file())


def _execute_child(
    popen: Any, args: Any, executable: Any, preexec_fn: Any, close_fds: bool, pass_fds: Any, cwd: Any, env: Any,
    startupinfo: Any, creationflags: Any, shell: bool, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int,
    errread: int, errwrite: int, *rest: Any,
) -> None:  # fmt: skip
    """In the place of `Popen._execute_child`, of which it does the same for a program that is forked."""
    new_session = rest[-2]
    program, template = None, STARTER.template
    if template and not STARTER.held and not (shell or preexec_fn or executable) and close_fds:
        program = program_of(args, env, cwd, packages=template.packages, new_session=new_session)
    if template is None or program is None:
        _EXEC(
            popen, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *rest,
        )  # fmt: skip
        return
    standard = [given if given != -1 else number for number, given in enumerate((p2cread, c2pwrite, errwrite))]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    popen.pid = template.fork(program, standard, tuple(pass_fds))
    popen._child_created = True
    popen._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def install() -> None:
    """Have this process, and those that it forks, start programs by a fork."""
    subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]


@contextmanager
def executing() -> Any:
    """Programs are started by exec meanwhile."""
    STARTER.held += 1
    try:
        yield
    finally:
        STARTER.held -= 1
