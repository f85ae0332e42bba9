"""How a bundled script ends where something fails, alone and as one of torchrun's ranks."""

from contextlib import nullcontext

import pytest

from pgolf.errors import LaunchError
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

    monkeypatch.setattr(standalone, "_train", fail)
    monkeypatch.setattr(standalone.os, "_exit", end)
    monkeypatch.setattr(standalone, "_data_folder", lambda _options: nullcontext())
    monkeypatch.setattr(standalone.dist, "is_initialized", lambda: True)
    with pytest.raises(Ended):
        standalone.main(ARGUMENTS, {}, __file__)
    assert ended == [code]
    assert says in capsys.readouterr().err
    monkeypatch.setattr(standalone.dist, "is_initialized", lambda: False)
    if isinstance(error, LaunchError):
        assert standalone.main(ARGUMENTS, {}, __file__) == code
    else:
        with pytest.raises(ZeroDivisionError):
            standalone.main(ARGUMENTS, {}, __file__)
    assert ended == [code]
