"""Exports a finished seed as the files one submits, the script and the packed model, and counts their bytes on disk."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pgolf.errors import ConfigError
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Artifact
from pgolf.submission.bundle import built
from pgolf.submission.explain import write_map

SCRIPT, MODEL = "train_gpt.py", "model.pgolf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The folder and what its files weigh on disk."""

    folder: Path
    code_bytes: int
    artifact_bytes: int
    budget_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything in the folder."""
        return self.code_bytes + self.artifact_bytes

    @property
    def fits_budget(self) -> bool:
        """Whether it may be submitted."""
        return self.total_bytes <= self.budget_bytes


def export(recipe: Recipe, compressed: Artifact, out: Path) -> Exported:
    """Write the recipe's script and a seed's packed model into the new folder `out`, both or neither.

    Beside the folder lies OUT.map.json, for `pgolf explain`.
    Raises ConfigError if `out` exists or its parent does not.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; name a new folder")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: its parent folder {out.parent} does not exist; create it, or name another folder")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        made = built(recipe)
        (folder / SCRIPT).write_bytes(made.script)
        shutil.copyfile(compressed.path / MODEL, folder / MODEL)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        os.rename(folder, out)
        write_map(made, out.with_name(f"{out.name}.map.json"))
    assert sizes.keys() == {SCRIPT, MODEL}
    return Exported(
        folder=out,
        code_bytes=sizes[SCRIPT],
        artifact_bytes=sizes[MODEL],
        budget_bytes=recipe.compress.budget_bytes,
    )
