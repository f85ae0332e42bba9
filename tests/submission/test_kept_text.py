"""What was packed once is not packed again, and a file that is damaged or of another text is never believed."""

import pytest

from pgolf.submission import kept_text


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The texts that had to be made, and where the last is kept."""
    monkeypatch.setattr(kept_text, "beside", lambda _module, name: str(tmp_path / "cache" / name))
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    texts = []

    def make(text):
        texts.append(text)
        return text.upper()

    return texts, make, tmp_path / "cache" / "packed_modules"


def test_a_text_is_made_once_and_another_anew(made):
    texts, make, file = made
    assert [kept_text.kept(text, make) for text in ("a", "a", "b", "b", "a")] == ["A", "A", "B", "B", "A"]
    assert texts == ["a", "b", "a"]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


DAMAGES = (
    lambda content: content[:-1],
    lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    lambda content: b"",
    lambda content: b"\xff\n\xff",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_counts_as_none(made, damage):
    texts, make, file = made
    kept_text.kept("abc", make)
    file.write_bytes(damage(file.read_bytes()))
    assert kept_text.kept("abc", make) == "ABC"
    assert texts == ["abc", "abc"]


def test_where_nothing_can_be_written_it_is_made_every_time(made, monkeypatch):
    texts, make, file = made
    file.parent.write_text("in the way")
    assert [kept_text.kept("abc", make) for _ in range(2)] == ["ABC", "ABC"]
    assert texts == ["abc", "abc"]
