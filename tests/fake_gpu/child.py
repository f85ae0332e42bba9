"""Run a trace in a process of its own and read what it printed."""

import json
import subprocess
import sys
from typing import Any


def traced(module: str, *arguments: str) -> Any:
    """The JSON that `python -m tests.fake_gpu.MODULE ARGUMENTS` prints."""
    command = [sys.executable, "-m", f"tests.fake_gpu.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])  # after what training prints
