"""Files of unfinished work: whole and sound, or none."""

import pytest

from pgolf.store.scratch import load, save


def test_what_was_saved_is_loaded_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "sums"
    assert load(path) is None
    for content in (b"", b"first", b"second" * 1000):
        save(path, content)
        assert load(path) == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("harm", [lambda c: c[:-1], lambda c: c[:10], lambda c: b"", lambda c: c[:40] + b"X" + c[41:]])
def test_a_damaged_file_is_discarded(tmp_path, harm):
    path = tmp_path / "sums"
    save(path, b"sums of many units" * 10)
    path.write_bytes(harm(path.read_bytes()))
    assert load(path) is None
    assert not path.exists()


def test_a_write_that_was_cut_off_leaves_the_one_before(tmp_path):
    path = tmp_path / "sums"
    save(path, b"before")
    (tmp_path / ".sums.unfinished").write_bytes(b"half")
    assert load(path) == b"before"
