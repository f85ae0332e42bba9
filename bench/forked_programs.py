"""A script's program without one of its functions, each in a fork of one process that has run all of it before.

So imports, and compiling what numba compiles, are not done again. `python bench/forked_programs.py` reads a job a line,
as JSON, and writes its exit code a line; 124 where it took too long. It imports nothing of this repository.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Programs:
    """The process, for one job at a time.

    given: what a program finds its settings under, and their text. script: the file whose bytes count. warm: commands
    that it runs first, in `folder`.
    """

    def __init__(
        self, program: Path, script: Path, given: tuple[str, str], warm: Sequence[Sequence[str]], folder: Path
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask({"program": str(program), "script": str(script), "given": given, "warm": warm})

    def run(
        self,
        folder: Path,
        arguments: Sequence[str],
        timeout_s: float,
        *,
        without: Sequence[str] = (),
        program: str = "",
    ) -> str | None:
        """What the program prints when it is run in a folder; None where it fails.

        without: a function that is taken out, or a class and its method. program: another one, as text, that is run
        from its start, as if nothing had been run. Raises TimeoutError.
        """
        said = folder / "said"
        job = {"folder": str(folder), "without": list(without), "other": program, "arguments": list(arguments)}
        code = self._ask(job | {"said": str(said), "timeout_s": timeout_s})
        if code == 124:
            raise TimeoutError
        return said.read_text() if code == 0 else None

    def _ask(self, job: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _module_of(text: str, given: Sequence[str]) -> types.ModuleType:
    module = sys.modules["pgolf"] = types.ModuleType("pgolf")
    setattr(module, *given)
    exec(compile(text, "program", "exec"), module.__dict__)
    return module


def _be(job: dict[str, Any], module: types.ModuleType, given: Sequence[str], script: str) -> None:
    """Be a program; does not return."""
    code: Any = 1
    try:
        os.chdir(job["folder"])
        os.dup2(os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if job["other"]:
            module = _module_of(job["other"], given)
        elif job["without"]:
            *cls, name = job["without"]
            delattr(getattr(module, *cls) if cls else module, name)
        code = module.start(job["arguments"], script, os.environ)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _exit_code(child: int, timeout_s: float) -> int:
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124


def main() -> None:
    """Serve until the input ends."""
    import numba  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch.distributed  # noqa: F401
    import zstandard  # noqa: F401

    first = json.loads(sys.stdin.readline())
    module = _module_of(Path(first["program"]).read_text(), first["given"])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        codes = [module.start(arguments, first["script"], os.environ) for arguments in first["warm"]]
    print(max(codes), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _be(job, module, first["given"], first["script"])
        print(_exit_code(child, job["timeout_s"]), flush=True)


if __name__ == "__main__":
    main()
