"""Who has come to which collective operation: a word per rank, in memory that all ranks of a machine share.

A rank that hangs makes all others wait, and neither NCCL nor gloo says for whom. So every rank counts here the
collectives that it has come to, and a thread of each looks whether its own has waited too long for somebody. Rank 0
makes the memory (memfd) and the others map it, so no file is left over.
"""

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist

from pgolf.errors import LaunchError

# The longest that a rank waits for another in one collective. What may differ between ranks is the time they take to
# compile (minutes at most) and to read; NCCL's own limit is the same.
COLLECTIVE_LIMIT_S = 600.0
# After it gloo and NCCL give up by themselves: a collective that all have come to, and that does not end.
GROUP_LIMIT_S = 660.0

_WORD_BYTES = 8
_LOOKS_PER_LIMIT = 20


class RollCall:
    """What the ranks have come to. step: the training step that this rank is in, 0 outside training."""

    def __init__(self, rank: int, world_size: int, memory: memoryview) -> None:
        """memory: two int64 per rank, zero at first: collectives come to, and the step."""
        self._rank, self._world_size, self._seen = rank, world_size, memory
        self.changed_s = time.monotonic()

    @property
    def step(self) -> int:
        return int(self._seen[2 * self._rank + 1])

    @step.setter
    def step(self, step: int) -> None:
        self._seen[2 * self._rank + 1] = step

    def come(self) -> None:
        """This rank comes to its next collective."""
        self.changed_s = time.monotonic()  # first: the watching thread may look in between
        self._seen[2 * self._rank] += 1

    def missing(self) -> str:
        """The ranks that have not come to the collective that this one has, and where they were last; "" if none."""
        own = self._seen[2 * self._rank]
        late = [rank for rank in range(self._world_size) if self._seen[2 * rank] < own]
        if not late:
            return ""
        waiting = [rank for rank in range(self._world_size) if rank not in late]
        where = ", ".join(f"rank {rank} was last seen {in_step(int(self._seen[2 * rank + 1]))}" for rank in late)
        return f"{ranks_named(late)} did not come to the collective operation of {ranks_named(waiting)}; {where}"

    def watch(self, limit_s: float, on_missing: Callable[[str], None]) -> None:
        """From now on call `on_missing`, in a thread, once this rank has waited for `limit_s` for a missing one."""

        def look() -> None:
            while True:
                time.sleep(limit_s / _LOOKS_PER_LIMIT)
                waited_s = time.monotonic() - self.changed_s
                if waited_s >= limit_s and (missing := self.missing()):
                    on_missing(f"{missing}. Waited for {waited_s:.0f} s; look for its last lines, or for what stops it")
                    return

        threading.Thread(target=look, name="roll-call", daemon=True).start()


def begin_roll_call(rank: int, world_size: int) -> RollCall | None:
    """The roll call of the process group, which has just been joined; all ranks together.

    None where a rank cannot have that memory (a sandbox without memfd, or without /proc of others): who hangs is then
    not named, and gloo and NCCL give up by themselves.
    """
    size_bytes = 2 * _WORD_BYTES * world_size
    place = torch.full((2,), -1, dtype=torch.int64)
    if rank == 0:
        with suppress(OSError):
            own = os.memfd_create("pgolf-roll-call")
            os.ftruncate(own, size_bytes)
            place[:] = torch.tensor([os.getpid(), own])
    dist.broadcast(place, src=0)
    pid, descriptor = place.tolist()
    memory = None
    with suppress(OSError):
        opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            memory = memoryview(mmap.mmap(opened, size_bytes)).cast("q")
        finally:
            os.close(opened)
    # Once all have come here they have opened it, so rank 0 may end whenever it likes.
    by_all = torch.tensor(int(memory is not None))
    dist.all_reduce(by_all, op=dist.ReduceOp.MIN)
    return None if memory is None or not by_all else RollCall(rank, world_size, memory)


@contextmanager
def naming_lost_ranks(roll: RollCall | None, rank: int) -> Iterator[None]:
    """Turn what gloo or NCCL says when another rank has gone into a LaunchError that says so."""
    if roll is not None:
        roll.come()
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistBackendError) and "gloo/transport" not in str(error):
            raise
        step = 0 if roll is None else roll.step
        first_line = str(error).partition("\n")[0]
        raise LaunchError(f"rank {rank} lost another rank {in_step(step)}: {first_line}") from error


def in_step(step: int) -> str:
    """Where a rank is, in words."""
    return f"in step {step:,}" if step else "outside the training's steps"


def ranks_named(ranks: Sequence[int]) -> str:
    """E.g. "rank 3" or "ranks 0, 2"."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
