"""A manifest's promises are kept, or the error says which one is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgolf.corpus.dataset import open_dataset
from pgolf.errors import DataError

Build = Callable[..., Path]


def edit_manifest(folder: Path, edit: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_shards_come_in_name_order_with_the_tokenizer(data_folder: Build) -> None:
    folder = data_folder(train=[[1], [2], [3]], val=[[4], [5]])
    dataset = open_dataset(folder)
    assert [path.name for path in dataset.train_shards] == [f"fineweb_train_{i:06d}.bin" for i in range(3)]
    assert [path.name for path in dataset.val_shards] == [f"fineweb_val_{i:06d}.bin" for i in range(2)]
    assert (dataset.name, dataset.vocab_size, dataset.bos_id) == ("toy", 340, 1)
    assert dataset.tokenizer_model == folder / "tokenizers/toy.model"


def test_a_folder_without_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json.*pgolf tokenize.*pgolf fetch"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["fineweb_train_000001.bin", "fineweb_val_000000.bin"])
def test_a_missing_shard_is_counted_and_named(data_folder: Build, name: str) -> None:
    folder = data_folder(train=[[1], [2]], val=[[4]])
    (folder / "datasets/toy" / name).unlink()
    with pytest.raises(DataError, match=f"shards are missing, the first is {name}"):
        open_dataset(folder)


def test_a_shard_the_manifest_does_not_know_is_refused(data_folder: Build) -> None:
    folder = data_folder(train=[[1], [2]], val=[[4]])
    (folder / "datasets/toy/fineweb_train_000007.bin").write_bytes(b"?")
    with pytest.raises(DataError, match=r"1 train shards beyond the 2 .*fineweb_train_000007\.bin"):
        open_dataset(folder)


def test_a_partly_fetched_data_set_promises_only_what_was_fetched(data_folder: Build) -> None:
    folder = data_folder(train=[[1], [2]], val=[[4]])
    edit_manifest(folder, lambda m: m["datasets"][0]["stats"].update(files_train=195))
    with pytest.raises(DataError, match="193 of 195 train shards are missing"):
        open_dataset(folder)
    edit_manifest(folder, lambda m: m["datasets"][0].update(files_train_fetched=2))
    assert len(open_dataset(folder).train_shards) == 2


def test_a_missing_tokenizer_is_named(data_folder: Build) -> None:
    folder = data_folder(train=[[1]], val=[[4]])
    (folder / "tokenizers/toy.model").unlink()
    with pytest.raises(DataError, match=r"toy\.model: tokenizer listed"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("datasets"), "KeyError"),
        (lambda m: m.update(datasets="toy"), "lists 3 data sets|wrong type"),
        (lambda m: m["datasets"].append(m["datasets"][0]), "lists 2 data sets"),
        (lambda m: m["datasets"].clear(), r"lists 0 data sets \(none\)"),
        (lambda m: m["datasets"][0].pop("stats"), "'stats'"),
        (lambda m: m["datasets"][0].update(vocab_size="many"), "many"),
        (lambda m: m["datasets"][0]["stats"].update(files_val=0), "lists 0 val shards"),
        (lambda m: m["datasets"][0].update(path="../elsewhere"), "leaves the data folder"),
        (lambda m: m["datasets"][0].update(path="/etc"), "leaves the data folder"),
        (lambda m: m["datasets"][0].update(tokenizer_name="other"), r"'other' without a model file \(listed: toy\)"),
        (lambda m: m["tokenizers"][0].update(model_path=None), "without a model file"),
        (lambda m: m["tokenizers"][0].update(model_path="a" * 5000), r"cannot be looked up \(File name too long\)"),
        (lambda m: m["tokenizers"][0].update(model_path="a\0b"), r"'a\\x00b' cannot be looked up \(.*null byte\)"),
        (lambda m: m["datasets"][0].update(path="a" * 300), r"cannot be looked up \(File name too long\)"),
        (lambda m: m["datasets"][0].update(path="a/" * 3000), r"cannot be looked up \(File name too long\)"),
        (lambda m: m["datasets"][0].update(path="a\0b"), r"'a\\x00b' cannot be looked up \(.*null byte\); correct it"),
        (lambda m: m["datasets"][0].update(path="a\ud800b"), r"'a\\ud800b' cannot be looked up"),
        (lambda m: m["datasets"][0].update(vocab_size=-5), "vocab_size is -5, expected an integer of at least 0"),
        (lambda m: m["datasets"][0]["stats"].update(files_train=float("inf")), "files_train is inf"),
        (lambda m: m["datasets"][0]["stats"].update(files_train=1.7), r"files_train is 1\.7"),
        (lambda m: m["datasets"][0].update(files_train_fetched=True), "files_train_fetched is True"),
        (lambda m: m["datasets"][0]["stats"].update(files_val_bytes=2), r"files_val_bytes is 2, expected .* \(1\)"),
        (lambda m: m["datasets"][0]["stats"].update(files_val_bytes=1), "1 of 1 val_bytes shards are missing"),
        (lambda m: m["datasets"][0]["stats"].update(files_train=3_000_000), "at most 1,000,000 can be named"),
    ],
)
def test_a_malformed_manifest_is_a_data_error(data_folder: Build, edit: Callable[[dict], object], message: str) -> None:
    folder = data_folder(train=[[1]], val=[[4]])
    edit_manifest(folder, edit)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


def test_a_manifest_that_is_not_json_is_a_data_error(data_folder: Build) -> None:
    folder = data_folder(train=[[1]], val=[[4]])
    (folder / "manifest.json").write_bytes(b"\xff{")
    with pytest.raises(DataError, match="not JSON"):
        open_dataset(folder)
    (folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not JSON"):
        open_dataset(folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="wrong type"):
        open_dataset(folder)


def test_byte_shards_are_listed_apart_and_none_is_read_that_is_not_listed(data_folder: Build) -> None:
    folder = data_folder(val=[[4], [5]], val_bytes=[[1], [2]])
    dataset = open_dataset(folder)
    assert [path.name for path in dataset.val_shards] == [f"fineweb_val_{i:06d}.bin" for i in range(2)]
    assert [path.name for path in dataset.val_byte_shards] == [f"fineweb_val_bytes_{i:06d}.bin" for i in range(2)]
    edit_manifest(folder, lambda m: m["datasets"][0]["stats"].pop("files_val_bytes"))
    with pytest.raises(DataError, match="2 val_bytes shards beyond the 0 listed"):
        open_dataset(folder)
