"""Documents come out as they are stored; what is not a document is named by file and line."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.corpus.document_files import document_files
from pgolf.corpus.documents import Documents
from pgolf.errors import DocumentError

TEXTS = ["one\nline", "", " spaces stay ", "naïve ☕ \u2028 separator", "nul \0 inside", "two"]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)), "utf-8")
    return path


def write_parquet(path: Path, texts: list[str | None], **options: object) -> Path:
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": pa.array(texts, pa.string())}), path, **options)
    return path


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_jsonl_and_parquet_give_back_every_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("documents")
    assert list(Documents(write_jsonl(folder / "a.jsonl", texts))) == texts
    assert list(Documents(write_parquet(folder / "a.parquet", texts))) == texts


def test_jsonl_takes_raw_utf8_a_byte_order_mark_blank_lines_and_a_last_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "na\xc3\xafve"}\r\n\n  \n{"text": "last"}')
    assert list(Documents(path)) == ["naïve", "last"]


def test_parquet_is_read_across_row_groups_and_from_large_viewed_and_dictionary_strings(tmp_path: Path) -> None:
    texts = [f"document {i}" for i in range(1000)]
    assert list(Documents(write_parquet(tmp_path / "a.parquet", texts, row_group_size=300))) == texts
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"body": pa.array(texts).cast(kind)}), tmp_path / "b.parquet")
        assert list(Documents(tmp_path / "b.parquet", text_field="body")) == texts


def test_a_column_is_taken_by_its_name_beside_a_field_of_another_that_is_called_alike(tmp_path: Path) -> None:
    inner = pa.array([{"text": "inner"}])
    pq.write_table(pa.table({"a": inner, "a.text": ["right"]}), tmp_path / "b.parquet")
    assert list(Documents(tmp_path / "b.parquet", text_field="a.text")) == ["right"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b'{"text": "a"}', mtime=0), "begins like a gzip file, whose name ends in .gz"),
        ('{"text": "a"}'.encode("utf-16"), "begins like text in UTF-16"),
    ],
    ids=["gzip", "utf-16"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_what_is_no_text_is_said_to_be_what_it_looks_like(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=says):
        list(Documents(tmp_path / name))


def test_a_text_file_is_one_document_and_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("the second\ndocument\n")
    write_jsonl(tmp_path / "c.jsonl", ["third", "fourth"])
    write_parquet(tmp_path / "a.parquet", ["first"])
    (tmp_path / "README.md").write_text("not a document")
    (tmp_path / ".hidden.txt").write_text("not either")
    documents = Documents(tmp_path)
    for _ in range(2):
        assert list(documents) == ["first", "the second\ndocument\n", "third", "fourth"]
        assert documents.read_bytes == documents.total_bytes
    assert [path.name for path in documents.ignored] == [".hidden.txt", "README.md"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "\xff"}', r"a\.jsonl, line 2: not UTF-8 \(byte 0xff at offset 10"),
        (b'{"text": "x"', r"line 2: not JSON"),
        (b"[" * 100_000, r"line 2: not JSON"),
        (b'{"text": 7}', r"line 2: field 'text' is a JSON int, expected a string"),
        (b'{"text": null}', r"line 2: field 'text' is a JSON NoneType"),
        (b'{"body": "x"}', r"line 2: no field 'text' \(fields: 'body'\)"),
        (b"{}", r"line 2: no field 'text' \(fields: none\)"),
        (b'{"text": "x", "text": "y"}', r"line 2: has the field 'text' more than once"),
        (rb'{"text": "x", "te\u0078t": "y"}', r"line 2: has the field 'text' more than once"),
        (rb'{"\u0074ext": "x", "\u0074\u0065xt": "y"}', r"line 2: has the field 'text' more than once"),
        (b'"x"', r"line 2: a JSON str, expected an object"),
        (rb'{"text": "a\ud800b"}', r"line 2: not text \(character 1 is a lone surrogate\)"),
    ],
)
def test_a_bad_line_is_named_and_can_be_skipped(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "good too"}\n')
    with pytest.raises(DocumentError, match=message + ".*--skip-bad"):
        list(Documents(path))
    told: list[DocumentError] = []
    documents = Documents(path, skip_bad=1, on_skip=told.append)
    assert list(documents) == ["good", "good too"]
    assert documents.skipped == len(told) == 1


def test_the_first_bad_document_beyond_the_allowed_number_is_the_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\nx\ny\n{"text": "b"}\nz\n')
    assert list(Documents(path, skip_bad=3)) == ["a", "b"]
    with pytest.raises(DocumentError, match=r"line 5: not JSON.*2 bad documents were allowed"):
        list(Documents(path, skip_bad=2))


def test_a_bad_parquet_row_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ["good", None, "too"])
    with pytest.raises(DocumentError, match=r"a\.parquet, row 2: the value is null"):
        list(Documents(path))
    assert list(Documents(path, skip_bad=1)) == ["good", "too"]

    offsets = pa.array([0, 2, 3, 5], pa.int32()).buffers()[1]
    column = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"ok\xffok"))
    pq.write_table(pa.table({"text": column}), tmp_path / "b.parquet")
    with pytest.raises(DocumentError, match=r"b\.parquet, row 2: not UTF-8 \(byte 0xff"):
        list(Documents(tmp_path / "b.parquet"))
    assert list(Documents(tmp_path / "b.parquet", skip_bad=1)) == ["ok", "ok"]


def test_a_parquet_file_that_cannot_be_read_is_an_error_whatever_may_be_skipped(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [f"text {i}" * 50 for i in range(2000)], row_group_size=500)
    content = path.read_bytes()
    with pytest.raises(DocumentError, match=r"no column 'body' \(columns: id, text\)"):
        list(Documents(path, text_field="body", skip_bad=9))
    with pytest.raises(DocumentError, match="column 'id' is int64, expected string"):
        list(Documents(path, text_field="id", skip_bad=9))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DocumentError, match="not readable as Parquet"):
        list(Documents(path, skip_bad=9))
    path.write_bytes(b"PAR1" + bytes(len(content) // 2) + content[len(content) // 2 + 4 :])
    with pytest.raises(DocumentError, match="not readable as Parquet after row"):
        list(Documents(path, skip_bad=9))


def test_a_bad_text_file_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"line one\nline \xc3 two")
    (tmp_path / "b.txt").write_bytes(b" \n")
    (tmp_path / "c.txt").write_bytes(b"good")
    with pytest.raises(DocumentError, match=r"a\.txt, line 2: not UTF-8"):
        list(Documents(tmp_path))
    with pytest.raises(DocumentError, match=r"b\.txt: the file is empty"):
        list(Documents(tmp_path, skip_bad=1))
    assert list(Documents(tmp_path, skip_bad=2)) == ["good"]


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    with pytest.raises(DocumentError, match=r"a\.jsonl: the file is empty"):
        list(Documents(tmp_path / "a.jsonl"))
    with pytest.raises(DocumentError, match=r"no documents in 1 files \(1 bad ones skipped\)"):
        list(Documents(tmp_path / "a.jsonl", skip_bad=1))
    write_parquet(tmp_path / "b.parquet", [])
    with pytest.raises(DocumentError, match=r"b\.parquet: the file has no rows"):
        list(Documents(tmp_path / "b.parquet"))


def test_a_source_that_is_not_there_or_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    for source, message in (
        (tmp_path / "gone", "no such file or folder"),
        (tmp_path / ("x" * 300), "no such file or folder"),
        (Path("/dev/null"), "neither a file nor a folder; give a .jsonl"),
        (tmp_path / "a.csv", r"suffix '\.csv' is not one of \.jsonl"),
        (tmp_path, r"none of the folder's 1 entries"),
    ):
        with pytest.raises(DocumentError, match=message):
            Documents(source)


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("zst", zstd), ("GZ", gzip.compress)])
def test_compressed_documents_are_those_of_the_plain_file(tmp_path: Path, ending: str, compress) -> None:
    plain = write_jsonl(tmp_path / "a.jsonl", TEXTS).read_bytes()
    cut = len(plain) // 3
    # Frames one after the other, as parallel compressors and `cat` write them.
    (tmp_path / f"a.jsonl.{ending}").write_bytes(compress(plain[:cut]) + compress(plain[cut:]))
    documents = Documents(tmp_path / f"a.jsonl.{ending}")
    assert list(documents) == TEXTS
    assert documents.read_bytes == documents.total_bytes == (tmp_path / f"a.jsonl.{ending}").stat().st_size
    (tmp_path / f"b.TXT.{ending}").write_bytes(compress(TEXTS[0].encode()))
    assert list(Documents(tmp_path / f"b.TXT.{ending}")) == [TEXTS[0]]


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_a_damaged_compressed_file_is_an_error_whatever_may_be_skipped(tmp_path: Path, ending: str, compress) -> None:
    plain = b"".join(json.dumps({"text": f"document {i}"}).encode() + b"\n" for i in range(1000))
    whole, path = compress(plain), tmp_path / f"a.jsonl.{ending}"
    middle = len(whole) // 2
    for content in (whole[:-3], whole[:middle], whole[:middle] + b"xxxx" + whole[middle + 4 :], whole + b"xxxx", plain):
        path.write_bytes(content)
        with pytest.raises(DocumentError, match=rf"a\.jsonl\.{ending}.*(not readable as|line \d+: not )"):
            list(Documents(path, skip_bad=0))
    path.write_bytes(whole[:middle])
    with pytest.raises(DocumentError, match=r"not readable as \w+ after line \d+ \((Truncated|Compressed file ended)"):
        list(Documents(path, skip_bad=10**6))


def test_a_gzip_file_may_be_filled_up_with_zeros_and_with_nothing_else(tmp_path: Path) -> None:
    plain = write_jsonl(tmp_path / "a.jsonl", TEXTS).read_bytes()
    for index, padding in enumerate((b"\0", bytes(512), bytes(10**6))):
        (tmp_path / f"{index}.jsonl.gz").write_bytes(gzip.compress(plain) + padding)
        assert list(Documents(tmp_path / f"{index}.jsonl.gz")) == TEXTS
        (tmp_path / f"{index}.txt.gz").write_bytes(gzip.compress(b"one") + padding + gzip.compress(b" two"))
        assert list(Documents(tmp_path / f"{index}.txt.gz")) == ["one two"]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain) + bytes(512) + b"x")
    with pytest.raises(DocumentError, match=r"not readable as gzip .*Not a gzipped file \(b'x'\)"):
        list(Documents(tmp_path / "a.jsonl.gz"))


def test_a_folder_is_read_to_its_depths_and_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("sub/deep/e.jsonl", "A.JSONL", "sub/c.TXT", "b.jsonl", "sub.jsonl/d.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = Path(name).stem
        (tmp_path / name).write_text(text if name.endswith("TXT") else json.dumps({"text": text}))
    (tmp_path / "z.jsonl.gz").write_bytes(gzip.compress(b'{"text": "z"}'))
    for name in ("README.md", "sub/notes.md", "data.parquet.gz", "x.csv", ".hidden.jsonl", "LICENSE"):
        (tmp_path / name).write_text("?")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("?")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    found = document_files(tmp_path)
    assert [file.name for file in found.files] == [
        *("A.JSONL", "b.jsonl", "sub/c.TXT", "sub/deep/e.jsonl", "sub.jsonl/d.jsonl", "z.jsonl.gz")
    ]
    assert list(Documents(tmp_path)) == ["A", "b", "c", "e", "d", "z"]
    told = found.about_left_out()
    assert told.startswith("left out 6 of 12 files: ")
    assert told.endswith(
        "; not looked into: 2 folders (.git, linked); documents are " + told.rpartition("documents are ")[2]
    )
    assert {"2 .md", "1 .csv", "1 .gz", "1 .jsonl", "1 without suffix"} == set(
        told.partition(": ")[2].partition(" (")[0].split(", ")
    )
    assert document_files(tmp_path / "b.jsonl").about_left_out() == ""


def test_two_columns_of_the_same_name_are_an_error(tmp_path: Path) -> None:
    texts = pa.array(["a", "b"])
    pq.write_table(pa.Table.from_arrays([texts, texts], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(DocumentError, match=r"2 columns are named 'text' \(columns: text, text\)"):
        list(Documents(tmp_path / "a.parquet", skip_bad=9))
    pq.write_table(pa.Table.from_arrays([texts, texts, texts], names=["text", "id", "id"]), tmp_path / "a.parquet")
    assert list(Documents(tmp_path / "a.parquet")) == ["a", "b"]


def test_a_field_is_doubled_in_any_spelling_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"a/\"\u00e9": "x", "a\/\u0022\u00E9": "y"}')
    with pytest.raises(DocumentError, match="more than once"):
        list(Documents(tmp_path / "a.jsonl", text_field='a/"é'))
    (tmp_path / "b.jsonl").write_bytes(rb'{"te\u0078t": "x"}')
    assert list(Documents(tmp_path / "b.jsonl")) == ["x"]


def test_a_field_of_an_inner_object_is_not_the_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"meta": {"text": 1, "text": 2}, "text": "outer"}\n{"text": "say \\"text\\" twice"}\n')
    assert list(Documents(path)) == ["outer", 'say "text" twice']


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.jsonl"), "wb") as file:
        file.write(b'{"text": "a"}\nx')
    with pytest.raises(DocumentError, match="line 2: not JSON"):
        list(Documents(tmp_path))
    assert list(Documents(tmp_path, skip_bad=1)) == ["a"]


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd", "use_dictionary": False}, {"data_page_version": "2.0"}]
)
def test_a_page_that_claims_gigabytes_is_refused_before_they_are_allocated(tmp_path, options):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"other": [1] * 50, "text": ["word"] * 50}), path, **options)
    assert len(list(Documents(path))) == 50
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    content = path.read_bytes()
    # The header's second field, after the kind of page: a number in zigzag form, seven bits a byte.
    assert content[start + 2] == 0x15
    end = next(place for place in range(start + 3, start + 8) if content[place] < 128) + 1
    path.write_bytes(content[: start + 3] + b"\xfe\xff\xff\xff\x0f" + content[end:])  # 2^31 - 1
    with pytest.raises(DocumentError, match=r"claims [0-9,]+ bytes, 2,147,483,647 uncompressed"):
        list(Documents(path))
