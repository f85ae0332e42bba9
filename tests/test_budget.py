"""The byte budget and the size of the code, on generated packages and on our own."""

import lzma

import pytest

from pgolf.budget import BUDGET_BYTES, CODE_ENTRIES, code_bytes, packed_code
from pgolf.closure import import_closure
from pgolf.errors import ConfigError
from tests.test_closure import write_package

ENTRIES = ("pgolf.train.__main__", "pgolf.eval.score")
MODULES = {
    "pgolf.train.__main__": "from pgolf.model import gpt\n\nif __name__ == '__main__':\n    gpt.run()\n",
    "pgolf.eval.score": "from pgolf.model.gpt import run\n\ndef make():\n    return run()\n",
    "pgolf.model.gpt": "def run():\n    return 1\n",
    "pgolf.corpus.fetch": "def make():\n    return 'not shipped'\n",
}


def test_the_budget_is_sixteen_decimal_megabytes():
    assert BUDGET_BYTES == 16_000_000


def test_the_packed_code_holds_the_closure_of_training_and_evaluation_and_nothing_else(tmp_path):
    write_package(tmp_path, MODULES)
    text = lzma.decompress(packed_code(ENTRIES, root=tmp_path)).decode()
    names = [line[1:] for line in text.splitlines() if line.startswith("#")]
    assert names == list(import_closure(*ENTRIES, root=tmp_path))
    assert "pgolf.model.gpt" in names
    assert "pgolf.corpus.fetch" not in names
    assert code_bytes(ENTRIES, root=tmp_path) == len(packed_code(ENTRIES, root=tmp_path))


def test_comments_docstrings_and_layout_cost_nothing_and_code_does(tmp_path):
    write_package(tmp_path, MODULES)
    path = tmp_path / "pgolf/model/gpt.py"
    before = packed_code(ENTRIES, root=tmp_path)
    path.write_text('"""The network."""\n\n# why\ndef run():\n    """One."""\n    return (\n        1\n    )  # one\n')
    assert packed_code(ENTRIES, root=tmp_path) == before
    path.write_text("def run():\n    return 'something that takes room: 0123456789 abcdefghijklmnopqrstuvwxyz'\n")
    assert code_bytes(ENTRIES, root=tmp_path) > len(before)


def test_what_is_packed_is_valid_python_even_where_only_a_docstring_stood(tmp_path):
    modules = {**MODULES, "pgolf.model.gpt": '"""Doc."""\n\n\nclass Empty:\n    """Nothing else."""\n\n\nrun = Empty\n'}
    write_package(tmp_path, modules)
    compile(lzma.decompress(packed_code(ENTRIES, root=tmp_path)), "packed", "exec")


def test_a_missing_entry_is_an_error_that_names_it(tmp_path):
    write_package(tmp_path, {"pgolf.train.__main__": ""})
    with pytest.raises(ConfigError, match=r"pgolf\.eval\.score"):
        code_bytes(ENTRIES, root=tmp_path)


def test_our_own_code_takes_a_small_part_of_the_budget():
    # Published scripts of this size weigh 75 to 100 kB uncompressed; packed they are a few times smaller.
    assert CODE_ENTRIES == ENTRIES
    assert 1_000 < code_bytes() < 100_000
