"""Whatever is done to the file of an index, a row that was put comes back or none does; the next put mends it."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench import flips
from pgolf.run_options import RunOptions
from pgolf.store import table_file
from pgolf.store.artifact import Artifact, Store, build_once
from pgolf.store.content import Memo, sha256_file
from pgolf.store.table_file import TableFile
from tests.toy_stage import TOY, toy_key

TABLES = {"digests": ("name", "signature", "sha256"), "words": ("word", "meaning")}
DIGESTS = [(b"caf\xe9/%d" % number, f"{number} 1 2 3", f"{number:064x}") for number in range(300)]
WORDS = [("ape", "ein Affe"), ("café", "ein Kaffee"), ("nul", "a\0b")]


def file_of(path: Path) -> TableFile:
    return TableFile(path, TABLES)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "index.sqlite"
    file_of(path).put({"digests": DIGESTS, "words": WORDS})
    return path


def change(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(statement)

    return run


def patch(place: int, content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(content)

    return write


def in_the_schema(old: bytes, new: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(old, new))

    return replace


def in_its_place(make: Callable[[Path], object], ending: str = "") -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        place = path.with_name(path.name + ending)
        place.unlink(missing_ok=True)
        make(place)

    return replace


def full_of_other_rows(path: Path) -> None:
    """A file elsewhere, whole and sealed, to which a link leads."""
    elsewhere = path.with_name("elsewhere")
    file_of(elsewhere).put({"words": [("ape", "ein anderer Affe")]})
    path.symlink_to(elsewhere)


def a_former_layout(path: Path) -> None:
    change(
        "CREATE TABLE digests (name TEXT PRIMARY KEY, signature TEXT, sha256 TEXT);"
        "CREATE TABLE words (word TEXT PRIMARY KEY, meaning TEXT);"
        "INSERT INTO words VALUES ('ape', 'ein anderer Affe')"
    )(path)


MENDED = {
    "no database": in_its_place(lambda path: path.write_bytes(b"no database" * 1000)),
    "empty": in_its_place(Path.touch),
    "cut off within a page": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "cut off behind a page": lambda path: os.truncate(path, 4096),
    "cut off in its header": lambda path: os.truncate(path, 50),
    "pages of zeros": patch(4096, bytes(3 * 4096)),
    "pages of ones": patch(2 * 4096, b"\xff" * 4096),
    "a header of a later format": patch(44, b"\0\0\0\x09"),
    "a header that may not be written": patch(18, b"\x03"),
    "a header that may not be read": patch(19, b"\x03"),
    "another size of pages": patch(16, b"\x20\0"),
    "texts that are none": change("UPDATE words SET meaning = CAST(x'ff80' AS TEXT)"),
    "numbers": change("UPDATE words SET meaning = 5; UPDATE digests SET sha256 = 1.5"),
    "null": change("UPDATE words SET meaning = NULL, seal = NULL; UPDATE digests SET name = NULL"),
    "bytes for texts": change("UPDATE words SET meaning = CAST(meaning AS BLOB)"),
    "texts for bytes": change("UPDATE digests SET name = CAST(name AS TEXT)"),
    "rows of another": change("UPDATE words SET meaning = 'ein Affe', seal = (SELECT seal FROM words LIMIT 1)"),
    "names exchanged": change("UPDATE digests SET name = name || 'x'; UPDATE words SET word = word || 'x'"),
    "endless texts": change("UPDATE words SET meaning = hex(zeroblob(1000000))"),
    "no such table": change("DROP TABLE words; DROP TABLE digests"),
    "another layout": change("ALTER TABLE words RENAME COLUMN meaning TO sense; ALTER TABLE digests ADD COLUMN more"),
    "a schema that is no text": in_the_schema(b"digests", b"dig\xe5sts"),
    "a schema that is no SQL": in_the_schema(b"CREATE TABLE", b"CREATE TAXLE"),
    "a view": change("ALTER TABLE words RENAME TO w; CREATE VIEW words AS SELECT word, 'x' AS meaning, seal FROM w"),
    "a former layout": in_its_place(a_former_layout),
    "a pipe": in_its_place(os.mkfifo),
    "a link to a device": in_its_place(lambda path: path.symlink_to("/dev/zero")),
    "a link to nowhere": in_its_place(lambda path: path.symlink_to("/nowhere/at/all")),
    "a link to another": in_its_place(full_of_other_rows),
    "a link to itself": in_its_place(lambda path: path.symlink_to(path)),
    "a pipe for a journal": in_its_place(os.mkfifo, "-journal"),
    "a journal of another": in_its_place(lambda path: path.write_bytes(random.Random(0).randbytes(8192)), "-journal"),
}


def assert_none_is_wrong(file: TableFile) -> None:
    assert set(file.rows("digests")) <= set(DIGESTS)
    assert set(file.rows("words")) <= set(WORDS)
    for row in DIGESTS[::50]:
        assert file.rows("digests", name=row[0], signature=row[1]) in ([], [row])
    for row in WORDS:
        assert file.rows("words", word=row[0]) in ([], [row])


@pytest.mark.parametrize("read_first", [True, False])
@pytest.mark.parametrize("damage", MENDED)
def test_a_damaged_file_gives_no_other_rows_and_the_next_that_are_put_mend_it(path, damage, read_first):
    MENDED[damage](path)
    file = file_of(path)
    if read_first:
        assert_none_is_wrong(file)
    file.put({"digests": DIGESTS, "words": WORDS})
    for reader in (file, file_of(path)):
        assert sorted(reader.rows("digests")) == sorted(DIGESTS)
        assert sorted(reader.rows("words")) == sorted(WORDS)
    assert path.is_file()
    assert not path.is_symlink()


@pytest.mark.parametrize("ending", ["", "-journal"])
def test_a_folder_in_its_place_is_left_alone_with_all_that_is_in_it(path, ending):
    place = path.with_name(path.name + ending)
    in_its_place(Path.mkdir, ending)(path)
    (place / "precious").touch()
    file = file_of(path)
    assert_none_is_wrong(file)
    file.put({"words": WORDS})
    assert_none_is_wrong(file)
    assert (place / "precious").is_file()


def test_where_an_index_of_sqlite_leads_to_another_row_it_is_not_taken(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        # The same names, one row further.
        connection.execute("CREATE TABLE copy (word PRIMARY KEY, meaning, seal)")
        connection.execute("INSERT INTO copy (rowid, word) SELECT rowid % 3 + 1, word FROM words")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_copy_1'"
        ).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'sqlite_autoindex_words_1'", (root,))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT meaning FROM words WHERE word = 'ape'").fetchall() != [("ein Affe",)]
    file = file_of(path)
    assert file.rows("words", word="ape") == []
    file.put({"words": WORDS})
    assert file.rows("words", word="ape") == [("ape", "ein Affe")]


def test_a_file_that_is_locked_for_long_is_waited_for_once_and_kept(path, monkeypatch):
    monkeypatch.setattr(table_file, "_BUSY_S", 0.2)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        file = file_of(path)
        start_s = time.monotonic()
        assert [file.rows("words") for _ in range(100)] == [[]] * 100
        assert time.monotonic() - start_s < 10
        file.put({"words": [("bee", "eine Biene")]})
    assert sorted(file_of(path).rows("words")) == sorted(WORDS)


def test_a_file_of_another_user_is_kept(path, monkeypatch):
    content = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # as root may write to all
    patch(18, b"\x03")(path)
    file_of(path).put({"words": [("bee", "eine Biene")]})
    patch(18, content[18:19])(path)
    assert path.read_bytes() == content


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Iterator[dict[str, flips.Target]]:
    with flips.settled():
        yield flips.made_up_indexes(tmp_path_factory.mktemp("flips"), runs=1)


@pytest.mark.parametrize("name", [".memo.sqlite", ".sources.sqlite", ".records.sqlite"])
def test_a_flipped_bit_costs_time_alone(targets, name):
    assert {outcome for _bit, outcome in flips.flipped(targets[name], 50, seed=5)} == {"right"}


@pytest.mark.parametrize("known", ["0" * 64, "not even a digest", ""])
def test_no_output_is_called_damaged_by_what_is_remembered_alone(tmp_path, known):
    """Whatever became of the index: sealed rows too may be wrong, as those that a faulty program wrote."""
    artifact, _built = build_once(Store(tmp_path), TOY, toy_key(), node="toy", inputs={}, parents={}, run=RunOptions())
    memo = Memo(tmp_path / ".memo.sqlite")
    for path in sorted(artifact.path.rglob("*.txt")):
        memo.sha256_in_store(path, str(path.relative_to(tmp_path)))
    memo._learned = {name: (then, known) for name, (then, _value) in memo._learned.items()}
    memo.save()
    store = Store(tmp_path)
    assert isinstance(store.look(toy_key()), Artifact)
    store.save_memo()
    text = artifact.path / "text.txt"
    assert Memo(tmp_path / ".memo.sqlite").sha256_in_store(text, str(text.relative_to(tmp_path))) == sha256_file(text)
