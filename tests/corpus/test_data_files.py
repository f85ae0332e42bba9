"""One data set is found, whatever lies around it; of several none is chosen."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pgolf.corpus.data_files import find_data
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import read_shard, write_shard
from pgolf.corpus.shards_config import ShardsConfig
from pgolf.corpus.shards_stage import make
from pgolf.errors import DataError, PgolfError, ShardError, TokenizerError
from pgolf.run_options import RunOptions
from tests.corpus.test_dataset import edit_manifest
from tests.data_folder import write_data_folder

TRAIN, VAL = [[1, 5], [6, 7, 8]], [[1, 9], [10]]


@pytest.fixture
def published(tmp_path: Path, toy_tokenizer: Path) -> Path:
    """A folder as the published downloader leaves it: two of three train shards, beside an entry that is not here."""
    folder = write_data_folder(tmp_path / "data", train=TRAIN, val=VAL, tokenizer=toy_tokenizer)

    def as_published(manifest: dict) -> None:
        (entry,) = manifest["datasets"]
        entry["stats"] = {"files_train": 3, "files_val": 2, "tokens_train": 7, "tokens_val": 3}
        manifest["datasets"].insert(0, entry | {"name": "bytes", "path": "datasets/bytes"})

    edit_manifest(folder, as_published)
    return folder


@pytest.fixture
def loose(tmp_path: Path, toy_tokenizer: Path) -> Path:
    """Shards and a tokenizer in one folder, without a manifest."""
    folder = tmp_path / "loose"
    folder.mkdir()
    for split, of_split in (("train", TRAIN), ("val", VAL)):
        for index, tokens in enumerate(of_split):
            write_shard(folder / f"fineweb_{split}_{index:06d}.bin", tokens)
    shutil.copy(toy_tokenizer, folder / "toy.model")
    return folder


def taken_in(folder: Path, out: Path, **given: Path) -> list[list[list[int]]]:
    """The tokens of every shard, train and val, of the data folder that the stage makes of it."""
    out.mkdir()
    made = make(ShardsConfig(), {"data": folder, **given}, out, RunOptions())
    data = open_dataset(out)
    assert data.vocab_size == made.facts["vocab_size"] == 340
    assert data.bos_id == 1
    paths = (data.train_shards, data.val_shards)
    assert all(path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 for path in paths[0] + paths[1])
    return [[read_shard(path).tolist() for path in of_split] for of_split in paths]


@pytest.mark.parametrize("kind", ["published", "loose"])
def test_a_data_set_on_disk_is_taken_in_as_it_is(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    assert taken_in(folder, tmp_path / "out") == [TRAIN, VAL]
    # A folder that pgolf has made is one too.
    assert taken_in(tmp_path / "out", tmp_path / "again") == [TRAIN, VAL]
    assert find_data(folder).about_missing() == ("2 of 3 train shards are here" if kind == "published" else "")


def test_where_the_files_lie_does_not_decide_the_bytes(loose: Path, tmp_path: Path) -> None:
    taken_in(loose, tmp_path / "a")
    (tmp_path / "elsewhere").mkdir()
    loose.rename(tmp_path / "elsewhere" / "other")
    taken_in(tmp_path / "elsewhere", tmp_path / "b")
    a, b = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert a == b


def beside(folder: Path, toy_tokenizer: Path) -> None:
    write_data_folder(folder.parent / "other", val=[[1]], tokenizer=toy_tokenizer)


def inside_it(folder: Path, _tokenizer: Path) -> None:
    (folder / "old").mkdir()
    write_shard(folder / "old" / "fineweb_val_000000.bin", [1, 2])


def continued_elsewhere(folder: Path, _tokenizer: Path) -> None:
    (folder / "more").mkdir()
    write_shard(folder / "more" / "fineweb_val_000002.bin", [1, 2])


def of_training_alone(folder: Path, _tokenizer: Path) -> None:
    (folder / "more").mkdir()
    write_shard(folder / "more" / "fineweb_train_000000.bin", [1, 2])


def of_another_kind(folder: Path, _tokenizer: Path) -> None:
    (folder / "kind").mkdir()
    write_shard(folder / "kind" / "fineweb_val_of_something.bin", [1, 2])


@pytest.mark.parametrize("kind", ["published", "loose"])
@pytest.mark.parametrize("add", [beside, inside_it, continued_elsewhere, of_training_alone, of_another_kind])
def test_two_candidates_are_an_error_that_names_both(
    kind: str, add: Callable[[Path, Path], None], request: pytest.FixtureRequest, toy_tokenizer: Path
) -> None:
    folder = request.getfixturevalue(kind)
    add(folder, toy_tokenizer)
    with pytest.raises(DataError, match="2 data sets") as refused:
        find_data(folder.parent)
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    assert any(str(folder / "manifest.json" if kind == "published" else folder) in line for line in lines[1:3])


def test_two_data_sets_of_one_manifest_are_two_candidates(published: Path) -> None:
    shutil.copytree(published / "datasets/toy", published / "datasets/bytes")
    with pytest.raises(DataError, match=r"2 data sets\n.*manifest\.json \(bytes\)\n.*manifest\.json \(toy\)\n"):
        find_data(published)


@pytest.mark.parametrize("kind", ["published", "loose"])
@pytest.mark.parametrize(
    "name",
    [
        *(f"fineweb_val_000002.bin{ending}" for ending in (".part", ".gz", ".zst", "~", " (1)")),
        *("fineweb_val_000002.BIN", "Fineweb_val_000002.bin", "FINEWEB_VAL_000002.BIN", ".fineweb_val_000002.bin.Xy1"),
        *("fineweb-val-000002.bin", "fineweb_val000002.bin", "fineweb_val_000002", "fineweb_val_000002.gz"),
        *("fineweb_train_000002.bin.part", "fineweb_val_bytes_000000.Bin"),
        *("fineweb10B_val_000000.bin", "fineweb_edu_train_000001.bin"),
    ],
)
def test_a_file_almost_named_like_a_shard_is_never_passed_over(
    kind: str, name: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    shards = folder / "datasets/toy" if kind == "published" else folder
    write_shard(shards / name, [1, 2])
    with pytest.raises(DataError, match=f"{re.escape(repr(name))} is almost named like a shard"):
        find_data(folder)
    (folder / "aside").mkdir()
    (shards / name).rename(folder / "aside" / name)
    with pytest.raises(DataError, match="2 data sets"):
        find_data(folder)


def test_what_a_downloader_notes_of_shards_is_none(published: Path, tmp_path: Path) -> None:
    notes = published / ".cache/huggingface/download/datasets/toy"
    notes.mkdir(parents=True)
    for name in ("fineweb_val_000000.bin.metadata", "fineweb_val_000001.bin.lock"):
        (notes / name).touch()
    (published / "datasets/toy/fineweb_train_vocab.model").touch()
    assert taken_in(published, tmp_path / "out") == [TRAIN, VAL]


def _shard_and_more(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "fineweb_train_000001.bin").read_bytes(), b"xx"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda f: (f / "fineweb_val_000000.bin").rename(f / "fineweb_val_000002.bin"),
            "fineweb_val_000002.bin is not",
        ),
        (lambda f: (f / "fineweb_val_000001.bin").rename(f / "fineweb_val_1.bin"), "000001.bin is missing"),
        (lambda f: write_shard(f / "fineweb_val_000000_copy.bin", [1]), "fineweb_val_000000_copy.bin is not"),
        (lambda f: write_shard(f / "fineweb_val_loss_000000.bin", [1]), "fineweb_val_loss_000000.bin is not"),
        (lambda f: (f / "fineweb_train_000000.bin").unlink(), "fineweb_train_000001.bin is not one of its 1 train"),
        (lambda f: (f / "fineweb_val_000001.bin").write_bytes(b"x" * 2000), "not a token shard"),
        (lambda f: (f / "fineweb_train_000001.bin").write_bytes(b"".join(_shard_and_more(f))), "truncated or damaged"),
        (lambda f: (f / "b.model").write_bytes(b"other"), "2 tokenizers"),
        (lambda f: (f / "toy.model").unlink(), r"0 tokenizers .*under .*\npass --tokenizer MODEL"),
        (lambda f: [p.unlink() for p in f.glob("*_val_*")], "no validation shard, fineweb_val_000000.bin"),
        (lambda f: [p.unlink() for p in f.glob("*.bin")], "no validation shard, fineweb_val_000000.bin"),
    ],
)
def test_a_folder_that_is_not_one_data_set_is_refused(loose: Path, spoil: Callable, says: str) -> None:
    spoil(loose)
    with pytest.raises((DataError, ShardError), match=says):
        find_data(loose)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m["datasets"][1]["stats"].update(files_val=3), "2 val shards, .* lists 3"),
        (lambda m: m["datasets"][1]["stats"].update(files_val=1), "2 val shards, .* lists 1"),
        (lambda m: m["datasets"][1]["stats"].update(files_train=1), "2 train shards, .* lists 1"),
        (lambda m: m["datasets"][1]["stats"].update(files_train=2), "hold 5 tokens, .* says 7"),
        (lambda m: m["datasets"][1].update(files_train_fetched=3), "2 train shards, .* lists 3"),
        (lambda m: m["datasets"][1]["stats"].update(tokens_val=4), "hold 3 tokens, .* says 4"),
        (lambda m: m["datasets"][1].pop("stats"), "not a manifest .*stats"),
        (lambda m: m["datasets"][1].update(tokenizer_name="other"), "lists 0 tokenizers named 'other'"),
        (lambda m: m["tokenizers"].append(m["tokenizers"][0]), "lists 2 tokenizers named 'toy'"),
        (lambda m: m["tokenizers"][0].update(model_path="t/gone.model"), "gone.model: tokenizer listed in"),
        (lambda m: m["datasets"][1].update(path="../../elsewhere"), "leaves the data folder"),
        (lambda m: m["datasets"][1].update(path="a\0b"), r"'a\\x00b' cannot be looked up \(.*null byte\); correct it"),
        (lambda m: m["datasets"][1].update(path="a\ud800b"), r"'a\\ud800b' cannot be looked up"),
        (lambda m: m["datasets"][0].update(path="x" * 300), r"cannot be looked up \(File name too long\)"),
        (lambda m: m["tokenizers"][0].update(model_path="a\0b"), r"'a\\x00b' cannot be looked up"),
        (lambda m: m["tokenizers"][0].update(model_path="x" * 300), r"cannot be looked up \(File name too long\)"),
        (lambda m: [entry.update(path="datasets/gone") for entry in m["datasets"]], "2 data sets"),
        (lambda m: m.update(datasets=7), "not a manifest"),
        (lambda m: m.pop("datasets"), "not a manifest"),
    ],
)
def test_a_manifest_that_says_other_than_the_files_is_refused(published: Path, edit: Callable, says: str) -> None:
    edit_manifest(published, edit)
    with pytest.raises(DataError, match=says):
        find_data(published)


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        (where, fields)
        for where in ("datasets", "tokenizers")
        for fields in ({"bos_id": 2}, {"vocab_size": 1024}, {"bos_id": None})
    ],
)
def test_a_manifest_that_says_other_than_the_tokenizer_is_refused(
    published: Path, tmp_path: Path, where: str, fields: dict
) -> None:
    edit_manifest(published, lambda manifest: manifest[where][-1].update(fields))
    ((name, value),) = fields.items()
    with pytest.raises(TokenizerError, match=f"says {name} is {value}, its tokenizer's model file says"):
        taken_in(published, tmp_path / "out")


def test_another_tokenizer_than_the_manifests_is_refused_and_the_same_one_is_not(
    published: Path, loose: Path, tmp_path: Path, toy_tokenizer: Path
) -> None:
    assert taken_in(published, tmp_path / "a", tokenizer=toy_tokenizer) == [TRAIN, VAL]
    (tmp_path / "other.model").write_bytes(toy_tokenizer.read_bytes() + b"\x7a\x00")
    with pytest.raises(DataError, match="is not the one of these shards"):
        find_data(published, tmp_path / "other.model")
    (loose / "toy.model").unlink()
    assert taken_in(loose, tmp_path / "b", tokenizer=toy_tokenizer) == [TRAIN, VAL]


def test_a_manifest_that_is_not_json_and_a_folder_that_is_not_there_are_errors(loose: Path) -> None:
    (loose / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not a manifest"):
        find_data(loose)
    with pytest.raises(PgolfError, match="cannot be read"):
        find_data(loose / "gone")


def test_a_manifest_that_cannot_be_read_is_an_error_where_there_are_shards(published: Path, loose: Path) -> None:
    for folder in (published, loose):
        (folder / "manifest.json").unlink(missing_ok=True)
        (folder / "manifest.json").symlink_to("gone")
        with pytest.raises(
            DataError, match=r"manifest\.json: .*\(no file, or a link to none\); get it again, or remove"
        ):
            find_data(folder)
        (folder / "manifest.json").unlink()
        os.mkfifo(folder / "manifest.json")
        with pytest.raises(DataError, match=r"manifest\.json: .*\(no file, or"):
            find_data(folder)


@pytest.mark.parametrize("kind", ["published", "loose"])
def test_what_has_nothing_to_do_with_the_data_is_passed_over(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    (folder / "fineweb_approval.bin").write_bytes(b"")
    for name, content in (("web", '{"name": "app", "icons": []}'), ("other", "// not JSON"), ("list/deep", "[1]")):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text(content)
    if kind == "loose":
        (folder / "manifest.json").write_text('{"name": "app"}')
        shutil.copy(folder / "toy.model", folder / "web" / "copy.model")
    assert taken_in(folder, tmp_path / "out") == [TRAIN, VAL]


def test_a_tokenizer_that_is_smaller_than_the_ids_is_refused(loose: Path, tmp_path: Path) -> None:
    write_shard(loose / "fineweb_val_000001.bin", [340])
    with pytest.raises(ShardError, match="id 340, the vocabulary ends at 339"):
        taken_in(loose, tmp_path / "out")


@pytest.mark.parametrize(
    ("counted", "says"),
    [
        ([[3] * 70, [4]], None),
        ([[3] * 70, [0]], None),  # a single token may have none
        ([[3] * 69, [4] * 2], r"val_bytes_000000\.bin: bytes of 69 tokens, fineweb_val_000000\.bin holds 70"),
        ([[0] * 70, [4]], r"val_bytes_000000\.bin: counts 0 bytes of text for 70 tokens"),
        ([[0] * 70, [0]], r"counts 0 bytes of text for 70 tokens"),
        ([[4] * 71], r"1 shards of bytes per token for 2 val shards"),
    ],
)
def test_bytes_that_cannot_be_those_of_the_tokens_are_refused(
    tmp_path: Path, toy_tokenizer: Path, counted: list[list[int]], says: str | None
) -> None:
    val = [[5] * 70, [9]]
    folder = write_data_folder(tmp_path / "data", train=TRAIN, val=val, val_bytes=counted, tokenizer=toy_tokenizer)
    if says is None:
        assert taken_in(folder, tmp_path / "out") == [TRAIN, val]
        assert [read_shard(path).tolist() for path in open_dataset(tmp_path / "out").val_byte_shards] == counted
        return
    with pytest.raises(DataError, match=says):
        taken_in(folder, tmp_path / "out")


def test_short_shards_without_any_bytes_are_refused_together(tmp_path: Path, toy_tokenizer: Path) -> None:
    folder = write_data_folder(tmp_path / "data", val=[[5], [9]], val_bytes=[[0], [0]], tokenizer=toy_tokenizer)
    with pytest.raises(ShardError, match="toy: counts 0 bytes of text for 2 tokens"):
        taken_in(folder, tmp_path / "out")


def test_the_manifest_is_part_of_what_is_read(published: Path) -> None:
    names = find_data(published).by_name
    shards = [f"fineweb_{split}_{index:06d}.bin" for split in ("train", "val") for index in range(2)]
    assert sorted(names) == [*shards, "manifest.json", "tokenizer"]
    assert json.loads(names["manifest.json"].read_bytes())["version"] == "10B"
