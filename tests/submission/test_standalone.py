"""How a bundled script ends where something fails, alone and as one of torchrun's ranks."""

from pathlib import Path

import pytest

from pgolf.errors import DataError, LaunchError
from pgolf.submission import standalone

ARGUMENTS = ["train", "--data", ".", "--device", "cpu"]


class Ended(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [(LaunchError("rank 0 lost another rank"), 1, "LaunchError: rank 0 lost"), (ZeroDivisionError(), 1, "Traceback")],
)
def test_a_rank_of_a_bundled_script_ends_at_once_and_one_alone_as_python_does(monkeypatch, capsys, error, code, says):
    ended = []

    def fail(*_arguments, **_options):
        raise error

    def end(exit_code):
        ended.append(exit_code)
        raise Ended

    monkeypatch.setattr(standalone, "_work", fail)
    monkeypatch.setattr(standalone.os, "_exit", end)
    monkeypatch.setattr(standalone.dist, "is_initialized", lambda: True)
    with pytest.raises(Ended):
        standalone.main(ARGUMENTS, {}, __file__, {})
    assert ended == [code]
    assert says in capsys.readouterr().err
    monkeypatch.setattr(standalone.dist, "is_initialized", lambda: False)
    if isinstance(error, LaunchError):
        assert standalone.main(ARGUMENTS, {}, __file__, {}) == code
    else:
        with pytest.raises(ZeroDivisionError):
            standalone.main(ARGUMENTS, {}, __file__, {})
    assert ended == [code]


@pytest.mark.parametrize(
    ("joined", "error", "first", "other"),
    [
        (False, DataError("no shards"), "DataError: no shards\n", ""),
        (True, DataError("no shards"), "DataError: no shards\n", "DataError: no shards\n"),
        (True, LaunchError("lost rank 3"), "LaunchError: lost rank 3\n", ""),
    ],
)
def test_one_rank_says_what_all_see_and_any_what_it_alone_sees(monkeypatch, capsys, joined, error, first, other):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(standalone, "_work", fail)
    monkeypatch.setattr(standalone.os, "_exit", lambda _code: None)
    monkeypatch.setattr(standalone.dist, "is_initialized", lambda: joined)
    for rank, says in (("0", first), ("1", other)):
        assert standalone.main(ARGUMENTS, {}, __file__, {"RANK": rank}) == error.exit_code
        assert capsys.readouterr() == ("", says)


def test_variables_of_the_field_are_the_defaults_of_options():
    variables = {"SEED": "42", "DATA_PATH": "shards", "TOKENIZER_PATH": "m.model", "RANK": "3"}
    options = standalone._options([], variables)
    assert (options.seed, options.data, options.tokenizer) == ("42", Path("shards"), Path("m.model"))
    options = standalone._options(["--seed", "7", "--data", "d", "--tokenizer", "t"], variables)
    assert (options.seed, options.data, options.tokenizer) == ("7", Path("d"), Path("t"))
    options = standalone._options(["train"], {"SEED": ""})
    assert (options.seed, options.data, options.tokenizer) == ("1337", Path(), None)
