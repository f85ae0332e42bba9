"""What decides the bytes of an output that is made from outside files is in its key: content, reader and order."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from flows.commands.cli import main
from pgolf.corpus.config import TokenizeConfig
from pgolf.errors import ConfigError, DataError
from pgolf.pipeline.graph import External, Sources, content_digest, data_node, key_of, left_out, pipeline
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.store.content import Memo

CONFIG = TokenizeConfig(source="documents", vocab_size=300, val_documents=5)
LINES = "".join(json.dumps({"text": f"a document of number {number} and of some words"}) + "\n" for number in range(60))


def key_for(documents: Path, tmp_path: Path) -> str:
    return key_of(data_node(CONFIG, Sources(documents=documents)), {}, Memo(tmp_path / "memo")).digest


def write(path: Path, content: str | bytes = LINES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_same_bytes_read_in_another_way_have_another_key(tmp_path):
    names = ("a.jsonl", "a.txt", "a.parquet", "a.jsonl.gz", "a.jsonl.zst", "a.txt.gz", "a.txt.zst")
    keys = {key_for(write(tmp_path / name), tmp_path) for name in names}
    assert len(keys) == len(names)


def test_another_name_that_is_read_in_the_same_way_has_the_same_key(tmp_path):
    names = ("a.jsonl", "other.jsonl", "A.JSONL", "sub/c.jsonl")
    assert len({key_for(write(tmp_path / name), tmp_path) for name in names}) == 1


def test_in_a_folder_the_order_counts_and_what_is_not_read_does_not(tmp_path):
    for folder, first, second in (("one", "a", "b"), ("two", "b", "a")):
        write(tmp_path / folder / f"{first}.jsonl", '{"text": "first"}')
        write(tmp_path / folder / f"{second}.jsonl", '{"text": "second"}')
    key = key_for(tmp_path / "one", tmp_path)
    assert key_for(tmp_path / "two", tmp_path) != key
    write(tmp_path / "one" / "README.md", "?")
    assert key_for(tmp_path / "one", tmp_path) == key
    write(tmp_path / "one" / "sub" / "c.jsonl", '{"text": "third"}')
    assert key_for(tmp_path / "one", tmp_path) != key


def test_a_file_of_another_kind_is_refused_even_where_its_bytes_were_read_before(tmp_path, capsys):
    arguments = ["--vocab-size", "300", "--val-documents", "5", "--store", str(tmp_path / "store")]
    assert main(["tokenize", "--documents", str(write(tmp_path / "ok.jsonl")), *arguments]) == 0
    capsys.readouterr()
    for name in ("ok.json", "ok", "ok.parquet.gz"):
        assert main(["tokenize", "--documents", str(write(tmp_path / name)), *arguments]) == 2
        told = capsys.readouterr()
        assert "is not one of .jsonl or .txt" in told.err
        assert told.out == ""


def test_what_is_left_out_is_said_on_the_terminal_whether_it_is_built_or_reused(tmp_path, capsys):
    write(tmp_path / "docs" / "a.jsonl")
    write(tmp_path / "docs" / "sub" / "b.JSONL.gz", gzip.compress(LINES.encode()))
    write(tmp_path / "docs" / "notes.csv", "?")
    source = ["--documents", str(tmp_path / "docs"), "--store", str(tmp_path / "store")]
    for _ in range(2):
        assert main(["tokenize", *source, "--vocab-size", "300", "--val-documents", "5"]) == 0
        told = capsys.readouterr()
        assert "left out 1 of 3 files: 1 .csv (notes.csv)" in told.err
        assert "of 120 documents" in told.out
    assert main(["plan", "demo", *source, "--set", "tokenize.source=documents"]) == 0
    assert "left out 1 of 3 files: 1 .csv (notes.csv)" in capsys.readouterr().err
    (tmp_path / "docs" / "notes.csv").unlink()
    assert left_out([data_node(CONFIG, Sources(documents=tmp_path / "docs"))]) == ()


def test_a_document_and_a_folder_whose_names_are_not_utf_8_are_tokenized(tmp_path, capsys):
    folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"d\xe9")))
    write(folder / os.fsdecode(b"caf\xe9.jsonl"))
    arguments = ["--vocab-size", "300", "--val-documents", "5"]
    for number, source in enumerate((folder, next(folder.iterdir()))):
        store = str(tmp_path / f"store{number}")
        for _ in range(2):
            assert main(["tokenize", "--documents", str(source), *arguments, "--store", store]) == 0
            assert "of 60 documents" in capsys.readouterr().out
        assert main(["verify", "--store", store]) == 0
        capsys.readouterr()


def test_a_folder_in_place_of_a_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match="cannot be read: a folder, not a regular file"):
        content_digest(External(tmp_path), Memo(tmp_path / "memo"))


def test_a_folder_that_cannot_be_looked_into_is_an_error(tmp_path):
    write(tmp_path / "docs" / "a.jsonl")
    (tmp_path / "docs" / "sub").mkdir(mode=0)
    if os.access(tmp_path / "docs" / "sub", os.R_OK):
        shutil.rmtree(tmp_path / "docs")
        pytest.skip("this user may look into every folder")
    with pytest.raises(DataError, match="sub: cannot be read"):
        key_for(tmp_path / "docs", tmp_path)


@pytest.mark.parametrize(
    ("role", "name", "says"),
    [
        ("documents", "pipe", "is neither a file nor a folder; give a file of documents or a folder of them"),
        ("documents", "null", "is neither a file nor a folder; give a file"),
        ("documents", "dead", "no such file or folder; give a file of documents"),
        ("documents", "x" * 300, r"cannot be looked up \(File name too long\); give a file"),
        ("documents", "a\0b", r"cannot be looked up \(.*null byte\); give a file"),
        ("documents", "loop", r"cannot be looked up \(Too many levels of symbolic links\)"),
        ("documents", "file/below", "no such file or folder"),
        ("tokenizer", ".", "is a folder; give a SentencePiece .model file"),
        ("tokenizer", "pipe", "is neither a file nor a folder; give a SentencePiece .model file"),
        ("data", "file", "is a file; give the folder of one data set"),
        ("data", "x" * 300, r"cannot be looked up \(File name too long\); give the folder"),
        ("checkpoint", ".", "is a folder; give a file of weights"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_with_what_it_should_be(tmp_path, role, name, says):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for link, target in (("null", "/dev/null"), ("dead", "gone"), ("loop", "loop")):
        (tmp_path / link).symlink_to(target)
    path = tmp_path / name
    given = {
        "documents": (["tokenize.source=documents"], Sources(documents=path)),
        "tokenizer": (["tokenize.tokenizer=given"], Sources(tokenizer=path)),
        "data": ([], Sources(data=path)),
        "checkpoint": (["seeds=7"], Sources(checkpoints={7: path})),
    }
    overrides, sources = given[role]
    with pytest.raises(ConfigError, match=rf"^--{role} \S*{re.escape(str(tmp_path))}.*{says}"):
        pipeline(apply_overrides(recipe_named("demo"), overrides), sources)
