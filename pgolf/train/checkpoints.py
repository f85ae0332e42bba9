"""Resumable checkpoints of a training: each rank writes its part asynchronously, then rank 0 commits a record.

All ranks copy the state to the host after the same step; a thread writes the copies. Once the files of all ranks are
durable, rank 0 writes the record that names them and removes older files. Tensors that are equal on all ranks are
distributed over the ranks for writing.
"""

import math
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from pgolf.model.tensor_file import load_tensors, save_tensors
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_line
from pgolf.store.durable import sync
from pgolf.store.scratch import save
from pgolf.train.checkpoint_record import (
    PART_FILE,
    PART_FILES,
    RECORD_FILE,
    CheckpointRecord,
    PartFile,
    read_record,
)
from pgolf.train.state import TrainingState, resumed_at
from pgolf.train.train_job import CheckpointPlace, Reached, StepLoss

_SIZE_BYTES, _SHA256_BYTES = 8, 32


class Checkpoints:
    """A `pgolf.train.state.Keeper` that writes to a folder."""

    def __init__(self, place: CheckpointPlace, ranks: Ranks) -> None:
        self.place = place
        self.ranks = ranks
        self.start: CheckpointRecord | None = read_record(place.folder) if place.resumes else None
        self.losses: list[StepLoss] = [] if self.start is None else list(self.start.losses)
        self._every_s = place.every_s or math.inf
        self._kept_s = 0.0 if self.start is None else self.start.elapsed_s
        self._host: dict[str, Tensor] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[PartFile | str] | None = None
        self._next: Reached | None = None  # the checkpoint being written
        self._has_begun = False
        self.is_told_to_end = False

    def restore(self, state: TrainingState) -> None:
        """Restore the last checkpoint, if any, and allocate the host buffers for later ones."""
        if self.start is not None:
            self._load(state)
            state.steps, state.elapsed_s = self.start.steps, self.start.elapsed_s
            state.rounding, state.snapshots_taken = self.start.rounding, self.start.snapshots
        if self._every_s < math.inf:
            # Only page-locked memory is copied to at full bus speed, and locking it takes as long as several copies.
            self._host = {
                name: torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
                for name, tensor in self._part(state).items()
            }
            self._has_begun = True

    def tell_to_end(self) -> bool:
        """Ask training to end after the current step with a last checkpoint; False if there is nothing to save yet.

        Safe to call from a signal handler.
        """
        self.is_told_to_end = self._has_begun
        return self._has_begun

    def is_due(self, elapsed_s: float) -> bool:
        """True if the last checkpoint is long enough ago and no rank is still writing it."""
        if self._writing is not None:
            (any_writing,) = self.ranks.largest(0.0 if self._writing.done() else 1.0)
            if any_writing:
                return False
            self._complete()
        return elapsed_s - self._kept_s >= self._every_s

    def keep(self, state: TrainingState) -> None:
        """Copy the state to the host and start writing it."""
        began_s = time.perf_counter()
        for name, tensor in self._part(state).items():
            self._host[name].copy_(tensor, non_blocking=True)
        if any(tensor.is_cuda for tensor in state.shared.values()):
            torch.cuda.synchronize()
        self._kept_s = state.elapsed_s
        self._next = Reached(
            steps=state.steps,
            elapsed_s=state.elapsed_s + time.perf_counter() - began_s,  # copying counts as training time
            rounding=state.rounding,
            snapshots=state.snapshots_taken,
            losses=list(self.losses),
            resumed_at=resumed_at(self.start),
        )
        self._writing = self._thread.submit(_write_part, self._path(self.ranks.rank, state.steps), self._host)

    def keep_last(self, state: TrainingState) -> None:
        """Save the state and its record, and wait until both are durable; all ranks together."""
        self.wait()
        self.keep(state)
        self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint being written, and its record, are durable; all ranks together."""
        if self._writing is not None:
            self._complete()
        self._thread.submit(int).result()  # runs after the record is written

    def close(self) -> None:
        """Wait for pending writes. The last checkpoint gets no record: a finished training needs none."""
        self._thread.shutdown()

    def _part(self, state: TrainingState) -> Mapping[str, Tensor]:
        """The tensors this rank writes: its own, and every W-th of the shared ones."""
        names = list(state.shared)[self.ranks.rank :: self.ranks.world_size]
        return {f"shared.{name}": state.shared[name] for name in names} | {
            f"own.{name}": tensor for name, tensor in state.own.items()
        }

    @torch.no_grad()
    def _load(self, state: TrainingState) -> None:
        assert self.start is not None
        missing = {f"shared.{name}": tensor for name, tensor in state.shared.items()}
        missing |= {f"own.{name}": tensor for name, tensor in state.own.items()}
        for rank in range(self.ranks.world_size):
            tensors, _ = load_tensors(self._path(rank, self.start.steps), remedy="run again, and training starts over")
            for name, tensor in tensors.items():
                if rank == self.ranks.rank or name.startswith("shared."):
                    missing.pop(name).copy_(tensor)
        assert not missing, f"a checkpoint of this training lacks {sorted(missing)}"

    def _path(self, rank: int, steps: int) -> Path:
        return self.place.folder / PART_FILE.format(steps=steps, rank=rank)

    def _complete(self) -> None:
        """After all ranks have written, commit the checkpoint, or discard it if one of them failed."""
        assert self._next is not None
        assert self._writing is not None
        own = self._writing.result()
        self._writing = None
        if isinstance(own, str):
            print_line(f"no checkpoint after step {self._next.steps}: {own}; training goes on")
        parts = self._gather(own)
        if self.ranks.rank > 0:
            return
        paths = [self._path(rank, self._next.steps) for rank in range(self.ranks.world_size)]
        files = {path.name: part for path, part in zip(paths, parts, strict=True) if part is not None}
        if len(files) < len(paths):
            self._thread.submit(_remove, paths)
            return
        record = CheckpointRecord(**self._next.model_dump(), of=self.place.of, files=files)
        self._thread.submit(_write_record, record, self.place.folder)

    def _gather(self, own: PartFile | str) -> list[PartFile | None]:
        """Size and digest of every rank's file; None for one that could not be written."""
        sent = bytes(_SIZE_BYTES + _SHA256_BYTES)
        if isinstance(own, PartFile):
            sent = own.size_bytes.to_bytes(_SIZE_BYTES, "little") + bytes.fromhex(own.sha256)
        received = bytes(self.ranks.gather(torch.tensor(list(sent), dtype=torch.uint8)).tolist())
        parts: list[PartFile | None] = []
        for i in range(0, len(received), len(sent)):
            size_bytes = int.from_bytes(received[i : i + _SIZE_BYTES], "little")
            sha256 = received[i + _SIZE_BYTES : i + len(sent)].hex()
            parts.append(PartFile(size_bytes=size_bytes, sha256=sha256) if size_bytes else None)
        return parts


def _write_part(path: Path, tensors: Mapping[str, Tensor]) -> PartFile | str:
    """Write and fsync a rank's part; returns its size and digest, or an error message."""
    try:
        save_tensors(path, tensors, {})
        sync(path)
        return PartFile.of(path)
    except OSError as error:
        _remove([path])
        return f"{path} cannot be written ({error.strerror})"


def _write_record(record: CheckpointRecord, folder: Path) -> None:
    """Write the record durably, and remove the files of earlier steps."""
    try:
        save(folder / RECORD_FILE, record.model_dump_json().encode())
    except OSError as error:
        _remove(folder / name for name in record.files)
        print_line(f"no checkpoint after step {record.steps}: {error.strerror}; training goes on")
        return
    # Files of later steps may be in progress.
    _remove(path for path in folder.glob(PART_FILES) if path.name < min(record.files))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
