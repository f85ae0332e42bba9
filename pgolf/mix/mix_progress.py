"""Checkpoint a mix: its sums, kept in the scratch folder, let a killed sweep resume after the last unit kept."""

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from pgolf.identity.fingerprint import digest
from pgolf.store.scratch import load, save

FILE = "totals.npz"
SAVE_EVERY_S = 5.0

Arrays = Mapping[str, npt.NDArray[np.generic]]


class _About(BaseModel):
    """What kept sums are of: a digest, over how many records, and the seconds behind them."""

    of: str
    records: int
    elapsed_s: float


class MixProgress:
    """Keeps sums in `folder` now and then; without a folder, nothing. of: what the sums are of, as plain data.

    began_s: when this run began, by `time.perf_counter`. before_s: seconds behind the sums that were loaded, of all
    killed runs; what such a run did after it had kept them is done again, and is in the seconds of the next.
    """

    def __init__(self, folder: Path | None, of: Mapping[str, Any], *, began_s: float) -> None:
        self._path = None if folder is None else folder / FILE
        self._of = digest(dict(of))
        self._saved_s = time.monotonic()
        self._began_s = began_s
        self.before_s = 0.0

    def load(self) -> tuple[int, dict[str, npt.NDArray[np.generic]]]:
        """Records that are in the sums, and the sums; 0 and nothing where none were kept, or of something else."""
        content = None if self._path is None else load(self._path)
        if content is None:
            return 0, {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                sums = {name: arrays[name] for name in arrays.files}
            about = _About.model_validate_json(bytes(sums.pop("about")))
        except (ValueError, KeyError, EOFError, BadZipFile):
            return 0, {}
        if about.of != self._of:
            return 0, {}
        self.before_s = about.elapsed_s
        return about.records, sums

    def keep(self, records: int, sums: Arrays) -> None:
        """Write the sums over so many records, if the last time was long enough ago."""
        if self._path is None or time.monotonic() - self._saved_s < SAVE_EVERY_S:
            return
        elapsed_s = self.before_s + time.perf_counter() - self._began_s
        about = _About(of=self._of, records=records, elapsed_s=elapsed_s).model_dump_json().encode()
        content = io.BytesIO()
        np.savez(content, about=np.frombuffer(about, np.uint8), **sums)  # type: ignore[arg-type]
        save(self._path, content.getvalue())
        self._saved_s = time.monotonic()
