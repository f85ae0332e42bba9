"""What is no regular file, or far too large, is an error at once: nothing follows it, waits for it, or reads it all."""

import os
import socket
from contextlib import chdir
from pathlib import Path

import pytest

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.documents import Documents
from pgolf.corpus.model_file import read_model
from pgolf.corpus.shards import read_shard
from pgolf.counts.count_stage import open_counts
from pgolf.counts.mass import read_mass
from pgolf.errors import PgolfError
from pgolf.eval.batch_means import read_batch_means
from pgolf.eval.hints import hint_orders
from pgolf.eval.trace import read_trace
from pgolf.model.checkpoint import load_checkpoint
from pgolf.model.published import read_published
from pgolf.pack.load import load_packed
from pgolf.pipeline.status import RUNNING, forget_the_gone, statuses
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.grid_text import with_grid
from pgolf.store.content import sha256_file
from pgolf.store.plain_file import open_plain, read_plain
from pgolf.store.scratch import load
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, chdir(path.parent):
        listener.bind(path.name)  # a socket's path has 107 bytes at most


MAKE = {
    "pipe": os.mkfifo,
    "socket": bind,
    "folder": Path.mkdir,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
}
READ = {
    "manifest.json": lambda path: open_dataset(path.parent),
    "a.model": read_model,
    "shard.bin": read_shard,
    "docs.jsonl": lambda path: list(Documents(path)),
    "docs.parquet": lambda path: list(Documents(path)),
    "trace.arrow": read_trace,
    "counts.arrow": open_counts,
    "mass.arrow": lambda path: read_mass(path, (2,)),
    "hints.arrow": hint_orders,
    "batches.arrow": read_batch_means,
    "checkpoint.safetensors": load_checkpoint,
    "final_model.pt": read_published,
    "model.pgolf": load_packed,
    "grid.toml": lambda path: with_grid(recipe_named("demo"), (), path),
    "scores/run.parquet": lambda path: read(path.parents[1], SCORES),
}


@pytest.mark.parametrize("kind", MAKE)
def test_a_reader_refuses_what_is_no_regular_file(tmp_path, kind):
    for name, reader in READ.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        MAKE[kind](path)
        with pytest.raises(PgolfError):
            reader(path)


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_only_looked_at_is_left_out(tmp_path, kind):
    (tmp_path / RUNNING).mkdir()
    MAKE[kind](tmp_path / RUNNING / "toy-0123456789ab.01234567.json")
    assert statuses(tmp_path) == []
    assert forget_the_gone(tmp_path) == 0
    if kind != "folder":
        MAKE[kind](tmp_path / "totals.npz")
        assert load(tmp_path / "totals.npz") is None


@pytest.mark.parametrize("kind", MAKE)
def test_a_digest_is_taken_of_regular_files_alone(tmp_path, kind):
    MAKE[kind](tmp_path / "file")
    with pytest.raises(OSError, match=r"not a regular file|No such device|Too many levels"):
        sha256_file(tmp_path / "file")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no space
    with pytest.raises(OSError, match="1,099,511,627,776 bytes, where at most 67,108,864 are read"):
        read_plain(path)
    for name in ("manifest.json", "a.model", "model.pgolf", "grid.toml"):
        if name != "manifest.json":
            (tmp_path / name).symlink_to(path)
        with pytest.raises(PgolfError, match=r"1,099,511,627,776 bytes"):
            READ[name](tmp_path / name)


def test_links_are_followed_unless_they_must_not_be(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match="Too many levels"):
        open_plain(tmp_path / "link", follow_links=False)
