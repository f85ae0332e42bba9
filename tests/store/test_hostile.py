"""What others may have written into a store: nothing of it leads out of the store, runs, or is shown to anybody."""

import json
import os
import pickle
from pathlib import Path

import pytest

from pgolf.corpus.dataset import open_dataset
from pgolf.errors import DataError, PgolfError, StoreError
from pgolf.identity.fingerprint import digest
from pgolf.model.checkpoint import load_checkpoint
from pgolf.model.published import read_published
from pgolf.pipeline.status import RUNNING, forget_the_gone, statuses
from pgolf.pipeline.upkeep import delete, garbage
from pgolf.run_options import Made, RunOptions
from pgolf.store.artifact import Artifact, Damaged, Store, build_once
from pgolf.store.output_record import RECORD_FILE, parse_record, read_record
from tests.toy_stage import TOY, toy_key


def build(root: Path) -> Artifact:
    return build_once(Store(root), TOY, toy_key(), node="toy", inputs={}, parents={}, run=RunOptions())[0]


def signed(data: dict) -> bytes:
    """The record as a forger writes it: with every digest in it right."""
    data = {**data, "key_digest": digest(data["key"])}
    data["checksum"] = digest({name: value for name, value in data.items() if name != "checksum"})
    return json.dumps(data).encode()


@pytest.fixture
def data(tmp_path) -> dict:
    artifact = build(tmp_path / "source")
    return json.loads((artifact.path / RECORD_FILE).read_bytes())


FILE = {"size_bytes": 6, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "name",
    [
        *("../outside.txt", "/etc/passwd", "a/../../b", "a/./b", "a//b", "./a", "a/", "/", "", ".", "..", "a/.."),
        *("..\\outside", "a\\b", "a\0b", "a\nb", "\x1b[2J", "record.json", ".tmp-x", ".hidden/a", "a/.b"),
        *("ﬁle", "e\u0301", "é", "a\u202egpj", "\u2215etc", "\uff0e\uff0e/a", "\ud800", "a" * 2000, "C:\\x", "~/x\t"),
    ],
)
def test_a_forged_record_with_a_path_that_no_output_may_have_is_refused(data, name):
    data["files"][name] = FILE
    with pytest.raises(StoreError, match="outside its folder"):
        parse_record(signed(data))


@pytest.mark.parametrize("names", [("a", "a/b"), ("A.txt", "a.txt"), ("sub/x", "SUB/X"), ("Dir", "dir/x")])
def test_two_names_for_one_file_are_refused(data, names):
    data["files"] |= dict.fromkeys(names, FILE)
    with pytest.raises(StoreError, match="names"):
        parse_record(signed(data))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"node": "a", "node": "b"}',
        b"9" * 10_000,
        b" " * ((16 << 20) + 1),
    ],
)
def test_what_is_no_record_is_an_error_and_no_crash(content):
    with pytest.raises(StoreError):
        parse_record(content)


NESTED = b"[" * 100_000


@pytest.mark.parametrize("content", [b"", b"null", b"{}", NESTED, b'{"facts": ' + NESTED, b'{"node": ' * 100_000])
def test_what_is_no_status_is_left_out_and_no_crash(tmp_path, content):
    (tmp_path / RUNNING).mkdir()
    (tmp_path / RUNNING / "toy-0123456789ab.01234567.json").write_bytes(content)
    assert statuses(tmp_path) == []
    assert forget_the_gone(tmp_path) == 0


@pytest.mark.parametrize("change", [{"wall_s": float("nan")}, {"facts": {"x": float("inf")}}])
def test_a_record_with_a_number_that_is_none_is_an_error_and_no_crash(data, change):
    with pytest.raises(StoreError, match="not a record"):
        parse_record(json.dumps(data | change).encode())


@pytest.mark.parametrize("size_bytes", [-1, 1 << 63, 1 << 4000])
def test_a_size_that_no_file_has_is_refused(data, size_bytes):
    data["files"]["text.txt"]["size_bytes"] = size_bytes
    with pytest.raises(StoreError, match="not a record"):
        parse_record(signed(data))


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir])
def test_a_record_that_is_no_plain_file_is_neither_followed_nor_waited_for(tmp_path, make):
    artifact = build(tmp_path)
    (artifact.path / RECORD_FILE).unlink()
    make(artifact.path / RECORD_FILE)
    with pytest.raises(StoreError):
        read_record(artifact.path)
    assert isinstance(Store(tmp_path).look(toy_key()), Damaged)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo])
def test_a_payload_that_is_no_plain_file_is_damage(tmp_path, make):
    artifact = build(tmp_path)
    (artifact.path / "text.txt").unlink()
    make(artifact.path / "text.txt")
    found = Store(tmp_path).look(toy_key())
    assert isinstance(found, Damaged)
    assert "not a regular file" in found.why


def test_a_forged_stage_name_leads_nowhere(tmp_path, data):
    folder = build(tmp_path / "store").path
    data["key"]["stage"] = "../../outside"
    (folder / RECORD_FILE).chmod(0o644)
    (folder / RECORD_FILE).write_bytes(signed(data))
    store = Store(tmp_path / "store")
    assert list(store.records()) == []
    assert isinstance(store.inspect(folder), Damaged)


def outside_of(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    (outside / "toy-0123456789ab").mkdir(parents=True)
    (outside / "toy-0123456789ab" / "precious.txt").write_text("precious")
    return outside


def untouched(outside: Path) -> bool:
    return [path.name for path in sorted(outside.rglob("*"))] == ["toy-0123456789ab", "precious.txt"]


@pytest.mark.parametrize("name", ["quarantine", "partial", "failed", ".locks"])
def test_a_link_in_the_place_of_one_of_the_stores_folders_is_not_written_through(tmp_path, name):
    outside, root = outside_of(tmp_path), tmp_path / "store"
    build(root)
    if (root / name).is_dir():
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()
    (root / name).symlink_to(outside)
    store = Store(root)
    (root / toy_key().folder / "text.txt").unlink()
    if name == "failed":
        with pytest.raises(ValueError, match="told to fail"):
            build_once(store, TOY, toy_key(fail="value"), node="toy", inputs={}, parents={}, run=RunOptions())
    else:
        with pytest.raises(StoreError, match="is a link"):
            build(root)
    delete(store, garbage(store, []))
    assert untouched(outside)


def test_an_output_that_is_a_link_is_damage_and_what_it_leads_to_stays(tmp_path):
    outside, root = outside_of(tmp_path), tmp_path / "store"
    root.mkdir()
    (root / toy_key().folder).symlink_to(outside / "toy-0123456789ab")
    assert isinstance(Store(root).look(toy_key()), Damaged)
    assert build(root).path.is_dir()
    (root / ".tmp-toy-0123456789ab-1").symlink_to(outside / "toy-0123456789ab")
    store = Store(root)
    delete(store, garbage(store, []))
    assert untouched(outside)


def test_a_stage_cannot_publish_links_or_names_that_no_record_may_hold(tmp_path):
    def writes(name: str):
        def write(out: Path) -> Made:
            (out / "text.txt").write_text("x")
            if name == "link":
                (out / name).symlink_to("/etc/passwd")
            else:
                (out / name).write_text("x")
            return Made(digests={"shout": "X"})

        return write

    store, key = Store(tmp_path), toy_key()
    for name in ("link", "é.txt", ".hidden", "a\\b"):
        with store.lock(key), pytest.raises(StoreError):
            store.publish(key, stage=TOY, node="toy", parents={}, write=writes(name))
    assert list(store.artifacts()) == []


class Bomb:
    """Its pickle makes a file when it is loaded by anything that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["bare", "torch", "named safetensors"])
def test_weights_from_outside_run_nothing(tmp_path, form):
    import torch

    path = tmp_path / ("final.safetensors" if form == "named safetensors" else "final_model.pt")
    if form == "torch":
        torch.save({"weight": Bomb(tmp_path / "ran")}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Bomb(tmp_path / "ran")}))
    with pytest.raises(DataError):
        read_published(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_the_place_of_a_checkpoint_or_a_manifest_runs_nothing(tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    (tmp_path / "checkpoint.safetensors").write_bytes(bomb)
    (tmp_path / "manifest.json").write_bytes(bomb)
    for load in (lambda: load_checkpoint(tmp_path / "checkpoint.safetensors"), lambda: open_dataset(tmp_path)):
        with pytest.raises(PgolfError):
            load()
    assert not (tmp_path / "ran").exists()
