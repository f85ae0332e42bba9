"""Entry point of the train stage's ranks under torchrun (`pgolf.ranks.enter`)."""

import os
import signal
from types import FrameType

import torch

from pgolf.ranks.enter import enter
from pgolf.ranks.group import Ranks
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.rank import run
from pgolf.train.train_job import Job


def train(job: Job, ranks: Ranks, device: torch.device) -> None:
    """Run this rank of the training, with checkpoints if the job asks for them."""
    checkpoints = None if job.checkpoints is None else Checkpoints(job.checkpoints, ranks)

    def end(_signal: int, _frame: FrameType | None) -> None:
        if checkpoints is None or not checkpoints.tell_to_end():
            os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    run(job, ranks, device, checkpoints)
    if checkpoints is not None:
        checkpoints.close()


if __name__ == "__main__":
    enter(Job, train)
