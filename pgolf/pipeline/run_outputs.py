"""The outputs of a finished run.

They are found by the folders that its table of stages names, not by keys worked out anew: what is looked at is what was
scored, whatever the code has become since.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.errors import PgolfError, ResultsError
from pgolf.mix.config import MixConfig
from pgolf.mix.files import CELLS_FILE
from pgolf.pipeline.listen import Listener
from pgolf.recipes.recipe import MIX
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Damaged, Store
from pgolf.store.content import Memo
from pgolf.store.output_record import Parent
from pgolf.tables.columns import moments_of
from pgolf.tables.parquet import read
from pgolf.tables.schema import STAGES


class Gone(PgolfError):
    """An output of a run is no longer in the store, or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where losses by document are made. results: folder of the tables."""

    store: Store
    memo: Memo
    run: RunOptions
    listener: Listener
    results: Path


@dataclass(frozen=True, slots=True)
class Mixed:
    """A seed's mix in the store, and what it read, by role."""

    mix: Artifact
    inputs: Mapping[str, Artifact]

    @property
    def config(self) -> MixConfig:
        """What it was made with."""
        # As JSON: lists are tuples there.
        return MixConfig.model_validate_json(json.dumps(self.mix.record.key["config"]))

    def cells(self) -> list[dict[str, Any]]:
        """Its rows, a scorer each. Raises ResultsError for a file that cannot be read."""
        path = self.mix.path / CELLS_FILE
        try:
            with pq.ParquetFile(path) as file:
                rows: list[dict[str, Any]] = file.read().to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise ResultsError(f"{path} cannot be read: {error}") from None
        return rows


def mixed_of(run_key: str, seed: int, shop: Workshop) -> Mixed:
    """A seed's mix and what it read. Raises Gone with the folder that is no longer there."""
    table = read(shop.results, STAGES, {"node": f"{MIX.name}[{seed}]"}, columns=["run_key", "folder", "started_utc"])
    rows = zip(*(table.column(name).to_pylist() for name in ("run_key", "folder")), moments_of(table["started_utc"]))
    folders = [(when, folder) for key, folder, when in rows if key.rpartition("-")[0] == run_key and folder]
    if not folders:
        raise Gone(f"the tables do not say where the outputs of {run_key}, seed {seed}, are")
    mix = _output(max(folders)[1], shop.store)
    return Mixed(mix, {role: parent_of(parent, shop.store) for role, parent in mix.record.parents.items()})


def parent_of(parent: Parent, store: Store) -> Artifact:
    """What an output was made from. Raises Gone where it is no longer there."""
    found = _output(parent.folder, store)
    if any(found.outputs.get(name) != digest for name, digest in parent.outputs.items()):
        raise Gone(f"{parent.folder} is another than the mix has read")
    return found


def _output(folder: str, store: Store) -> Artifact:
    found = store.at(folder)
    if found is None:
        raise Gone(f"{folder} is no longer in {store.root}; `pgolf run` makes it again")
    if isinstance(found, Damaged):
        raise Gone(f"{folder} is damaged: {found.why}")
    return found
