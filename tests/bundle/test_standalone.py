"""How a bundled script ends where something fails, alone and as one of torchrun's ranks."""

import json
from pathlib import Path

import pytest
import torch

from pgolf.bundle import standalone
from pgolf.bundle.bundle import settings_of
from pgolf.errors import DataError, LaunchError
from pgolf.ranks.group import Ranks
from pgolf.run_options import RunOptions
from tests.tiny import tiny_recipe

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


def test_what_follows_training_computes_as_in_a_process_of_its_own(monkeypatch, tmp_path):
    def switches():
        matmul = torch.backends.cuda.matmul.allow_tf32
        return torch.get_num_threads(), torch.get_deterministic_debug_mode(), matmul

    def train(job, _ranks, _device):
        torch.set_num_threads(1 + torch.get_num_threads())
        torch.set_deterministic_debug_mode("error")
        torch.backends.cuda.matmul.allow_tf32 = True
        reached = {
            "steps": 4,
            "tokens": 2048,
            "processes": 1,
            "device": "cpu",
            "train_clock_s": 0.5,
            "losses": [[3, 1]],
        }
        (job.out / "train.json").write_text(json.dumps(reached))

    class Reached(BaseException):
        pass

    def calibrate(*_arguments):
        seen.append(switches())
        raise Reached

    seen = [switches()]
    monkeypatch.setattr(standalone, "train_rank", train)
    monkeypatch.setattr(standalone.calibrate, "make", calibrate)
    options = standalone._options([], {})
    with pytest.raises(Reached):
        standalone._train(
            settings_of(tiny_recipe()), options, tmp_path, RunOptions(device="cpu"), Ranks(), code_bytes=1
        )
    assert seen[1] == seen[0]
