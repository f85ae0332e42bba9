"""Where a flow runs: store, results folder, source files and devices. Never part of an output's identity."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pgolf.identity.fingerprint import digest
from pgolf.machine.lease_place import SETTING, chosen_folder, common_folder
from pgolf.pipeline.graph import Sources
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.store.remote import Remote, checked_url, is_url
from pgolf.store.shared import SharedStore

# Environment variables that choose the places of those who name none, on the command line and from Python.
STORE_SETTING, RESULTS_SETTING = "PGOLF_STORE", "PGOLF_RESULTS"
_MOST_NAME_BYTES = 255
_MOST_PATH_BYTES = 3500  # of 4,095; outputs and tables need the rest for names of their own


class Place(BaseModel):
    """Folders and devices of the machine that runs the stages; relative paths start at its working directory."""

    # An address may hold credentials by mistake, and messages would show them.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    store: Path = Field(
        Path("artifacts"), description="Folder of the artifact store; or its address, s3://bucket/prefix"
    )
    remote: str | None = Field(
        None, description="Address of an object store, s3://bucket/prefix; the folder above is then its cache"
    )
    cache_limit_bytes: int | None = Field(None, ge=0, description="Most that such a cache may hold; empty: no limit")
    results: Path = Field(Path("results"), description="Folder of the result tables")
    documents: Path | None = Field(None, description="Documents to tokenize: a file, or a folder of them")
    tokenizer: Path | None = Field(None, description="A SentencePiece .model file")
    data: Path | None = Field(
        None, description="Folder of one data set, shards and tokenizer, instead of fetching or tokenizing"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the network runs")
    processes: int = Field(
        0,
        ge=0,
        le=8,
        description="Ranks per training and scoring, one GPU each; 0: all GPUs (that share a step evenly)",
    )
    checkpoint_every_s: float = Field(
        60.0, ge=0, description="Seconds between two checkpoints of an unfinished training; 0: none are kept"
    )
    checkpoints: dict[int, Path] = Field({}, description="Seed -> file of weights that takes the place of training")
    checkpoint_steps: dict[int, Annotated[int, Field(ge=0)]] = Field(
        {}, description="Seed -> optimizer steps behind those weights; calibration reads on from there"
    )

    @model_validator(mode="before")
    @classmethod
    def _split_address(cls, given: Any) -> Any:
        """An address in place of the folder: the cache is then this machine's own. No path may be empty."""
        if not isinstance(given, dict):
            return given
        fields = dict(given)
        paths: dict[str, Any] = {
            name: fields.get(name) for name in ("store", "results", "documents", "tokenizer", "data")
        }
        checkpoints = fields.get("checkpoints")
        if isinstance(checkpoints, dict):
            paths |= {f"checkpoints[{seed}]": path for seed, path in checkpoints.items()}
        if empty := [name for name, path in paths.items() if path == ""]:
            raise ValueError(
                f"{empty[0]} is an empty path, which would be the current folder; name one, or leave it out"
            )
        if isinstance(fields.get("store"), str) and is_url(fields["store"]):
            fields["remote"] = fields.pop("store")
        if isinstance(fields.get("remote"), str):
            fields["remote"] = checked_url(fields["remote"])
            fields.setdefault("store", _cache_of(fields["remote"]))
        return fields

    @model_validator(mode="after")
    def _names_are_text(self) -> Self:
        """Jobs and records name what lies in these folders as JSON, which holds text alone."""
        for option in ("store", "results", "data"):
            if (path := getattr(self, option)) is not None and not _is_text(path):
                raise ValueError(
                    f"--{option} {str(path)!r} has a name that is not UTF-8, and jobs name it as text; rename that "
                    "folder, or choose another"
                )
        return self

    def unfit_for_prefect(self) -> str | None:
        """The path that Prefect could not hand to its flow, which it does as JSON, and what to do; None without one."""
        for path in (self.documents, self.tokenizer, *self.checkpoints.values()):
            if path is not None and not _is_text(path):
                return (
                    f"{path} has a name that is not UTF-8, and Prefect hands it on as text; rename it, or add "
                    "--no-prefect to the run"
                )
        return None

    @model_validator(mode="after")
    def _names_are_short(self) -> Self:
        """No file system could look such a path up, whatever it is for."""
        options = ("store", "results", "documents", "tokenizer", "data")
        named = [(option, getattr(self, option)) for option in options]
        named += [("checkpoint", path) for path in self.checkpoints.values()]
        for option, path in named:
            if path is None:
                continue
            longest = max(path.parts, key=lambda part: len(os.fsencode(part)), default="")
            if (size_bytes := len(os.fsencode(longest))) > _MOST_NAME_BYTES:
                raise ValueError(
                    f"--{option} has a name of {size_bytes:,} bytes, {longest[:40]}…, and a file system holds names of "
                    f"up to {_MOST_NAME_BYTES}; shorten it"
                )
            if (size_bytes := len(os.fsencode(path.absolute()))) > _MOST_PATH_BYTES:
                raise ValueError(f"--{option} is a path of {size_bytes:,} bytes; shorten it to {_MOST_PATH_BYTES:,}")
        return self

    def open_store(self) -> Store:
        """The artifact store."""
        if self.remote is None:
            return Store(self.store)
        return SharedStore(Remote(self.remote), self.store, limit_bytes=self.cache_limit_bytes)

    def memo(self) -> Memo:
        """Remembered digests of files outside the store."""
        return Memo(self.store.absolute() / ".sources.sqlite")

    def sources(self) -> Sources:
        """The recipe's own files."""
        return Sources(
            documents=self.documents,
            tokenizer=self.tokenizer,
            data=self.data,
            checkpoints=self.checkpoints,
            checkpoint_steps=self.checkpoint_steps,
        )

    def run_options(self) -> RunOptions:
        """How stages run here."""
        return RunOptions(
            device=self.device,
            processes=self.processes,
            lease_dir=lease_dir(),
            checkpoint_every_s=self.checkpoint_every_s,
        )


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def default_store() -> Path | str:
    """The store of those who name none: PGOLF_STORE, a folder or an address, else ./artifacts."""
    text = os.environ.get(STORE_SETTING) or "artifacts"
    return text if is_url(text) else Path(text)


def default_results() -> Path:
    """The results of those who name none: PGOLF_RESULTS, else ./results."""
    return Path(os.environ.get(RESULTS_SETTING) or "results")


def leases_are_set() -> bool:
    """Whether PGOLF_LEASES names the folder in which devices are leased."""
    return bool(os.environ.get(SETTING))


def lease_dir() -> Path:
    """Folder of the lock files through which this machine's devices are leased, whatever store is used.

    One for all users and jobs, unless PGOLF_LEASES names another. Raises LeaseError where none can be used.
    """
    text = os.environ.get(SETTING)
    return chosen_folder(text) if text else common_folder()


def _cache_of(url: str) -> Path:
    """The user's own cache folder of one object store, by a readable name that no other address has."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", url.removeprefix("s3://"))[:60]
    return base / "pgolf" / f"{readable}-{digest(url)[:8]}"
