"""What a rank prints, as the process above it gets it."""

import os
import subprocess
import sys

SPEAKER = """
from pathlib import Path
from pgolf.errors import DataError
from pgolf.ranks.job import explained, print_line, print_progress
from pgolf.train.config import TrainConfig
from pgolf.train.loop import StepReport
from pgolf.train.rank import _StepLog

def fail():
    raise DataError("first line\\nsecond line")

print_progress({"step": 1})
print_line("a line")
_StepLog(TrainConfig(), 1, [], None).take(
    StepReport(
        steps_done=1, loss_nats=1.0, gradient_norm=1.0, rate_scale=1.0, momentum=0.9, elapsed_s=1.0, is_last=False
    )
)
explained(fail, Path(__import__("sys").argv[1]), 0)
"""


def test_whatever_a_rank_prints_comes_in_whole_lines(tmp_path):
    """torchrun runs ranks with -u. A pipe in packet mode keeps apart what was written apart."""
    reader, writer = os.pipe2(os.O_DIRECT)
    with subprocess.Popen([sys.executable, "-u", "-c", SPEAKER, str(tmp_path)], stdout=writer) as speaker:
        os.close(writer)
        writes = []
        while written := os.read(reader, 1 << 16):
            writes.append(written.decode())
        os.close(reader)
    assert speaker.returncode == 0
    assert [written for written in writes if not written.endswith("\n")] == []
    beginnings = ("@progress ", "a line", "step 1/20000  loss 1.0000", "@progress ", "DataError: first line")
    assert [written.startswith(begin) for written, begin in zip(writes, beginnings, strict=True)] == [True] * 5
