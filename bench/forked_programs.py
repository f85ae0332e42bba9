"""Programs of scripts, each in a fork of one process that has imported the libraries: most of a short run is imports.

`python bench/forked_programs.py` reads a job a line, as JSON, and writes its exit code a line; 124 where it took
too long. It imports nothing of this repository.
"""

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
    """The process, for one job at a time. given: what a program finds its settings under, and their text.

    script: the file whose bytes count.
    """

    def __init__(self, script: Path, given: tuple[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._script, self._given = script, given
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, program: Path, arguments: Sequence[str], timeout_s: float) -> str | None:
        """What a program prints when it is run in its folder; None where it fails or takes longer."""
        said = program.with_suffix(".said")
        job = {"program": str(program), "script": str(self._script), "given": self._given, "arguments": list(arguments)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job | {"said": str(said), "timeout_s": timeout_s}) + "\n")
        self._process.stdin.flush()
        return said.read_text() if self._process.stdout.readline() == "0\n" else None

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _be(job: dict[str, Any]) -> None:
    """Be the program; does not return."""
    code: Any = 1
    try:
        os.chdir(Path(job["program"]).parent)
        os.dup2(os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        module = sys.modules["pgolf"] = types.ModuleType("pgolf")
        setattr(module, *job["given"])
        exec(compile(Path(job["program"]).read_text(), job["program"], "exec"), module.__dict__)
        code = module.start(job["arguments"], job["script"], os.environ)
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

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _be(job)
        print(_exit_code(child, job["timeout_s"]), flush=True)


if __name__ == "__main__":
    main()
