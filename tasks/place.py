"""Where a flow works: the store, the results and the devices. Never part of an output's identity."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pgolf.artifact import Store
from pgolf.content import Memo
from pgolf.pipeline import Sources
from pgolf.run import RunOptions


class Place(BaseModel):
    """Folders and devices of the machine that runs the stages; relative paths start at its working directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path = Field(Path("artifacts"), description="Folder of the artifact store")
    results: Path = Field(Path("results"), description="Folder of the result tables")
    documents: Path | None = Field(None, description="Documents to tokenize: a file, or a folder of them")
    tokenizer: Path | None = Field(None, description="A SentencePiece .model file")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the network runs")
    processes: int = Field(
        0,
        ge=0,
        le=8,
        description="Ranks per training and scoring, one GPU each; 0: all GPUs (that share a step evenly)",
    )
    checkpoints: dict[int, Path] = Field({}, description="Seed -> file of weights that takes the place of training")
    checkpoint_steps: dict[int, Annotated[int, Field(ge=0)]] = Field(
        {}, description="Seed -> optimizer steps behind those weights; calibration reads on from there"
    )

    def open_store(self) -> Store:
        """The artifact store."""
        return Store(self.store)

    def memo(self) -> Memo:
        """Remembered digests of files outside the store."""
        return Memo(self.store.absolute() / ".sources.sqlite")

    def sources(self) -> Sources:
        """The recipe's own files."""
        return Sources(
            documents=self.documents,
            tokenizer=self.tokenizer,
            checkpoints=self.checkpoints,
            checkpoint_steps=self.checkpoint_steps,
        )

    def run_options(self) -> RunOptions:
        """How stages run here; devices are leased through the node's own lock files, whatever store is used."""
        lease_dir = Path(tempfile.gettempdir()) / f"pgolf-devices-{os.getuid()}"
        return RunOptions(device=self.device, processes=self.processes, lease_dir=lease_dir)
