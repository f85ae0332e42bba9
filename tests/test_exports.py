"""What `import pgolf` offers, and that it costs nothing until it is used."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import pgolf


def in_new_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_pgolf_reads_our_files_and_loads_none_but_the_reader():
    # -c alone loads what the interpreter and its site packages start with; only what comes on top counts.
    loaded = in_new_process("import sys; before = set(sys.modules); import pgolf; print(*set(sys.modules) - before)")
    others = {name for name in loaded.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"pgolf", "pgolf.identity.snapshot"}


@pytest.mark.parametrize("heavy", ["torch", "prefect", "pandas", "numba"])
def test_using_every_export_loads_neither_torch_nor_prefect(heavy):
    assert in_new_process(f"import sys; from pgolf import *; print({heavy!r} in sys.modules)").strip() == "False"


def test_the_homes_and_the_list_of_exports_name_the_same():
    assert sorted([*pgolf._MODULE_OF, "__version__"]) == sorted(pgolf.__all__)


def test_type_checkers_see_the_exports_and_their_homes_as_they_are():
    tree = ast.parse(Path(pgolf.__file__).read_bytes())
    shown = {
        alias.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == {name: f"pgolf.{home}" for name, home in pgolf._MODULE_OF.items()}


@pytest.mark.parametrize("name", pgolf.__all__)
def test_every_export_resolves_to_what_its_module_defines(name):
    found = getattr(pgolf, name)
    assert name in dir(pgolf)
    if name == "__version__":
        assert found == metadata.version("pgolf")
    else:
        assert found.__name__ == name
        assert found.__module__ == f"pgolf.{pgolf._MODULE_OF[name]}"


def test_no_export_has_the_name_of_a_module():
    # `import pgolf.pipeline` binds the room to pgolf.pipeline, whatever an export of that name said before.
    modules = {path.stem for path in Path(pgolf.__file__).parent.iterdir()}
    assert not modules & set(pgolf.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pgolf' has no attribute 'Recpie'"):
        _ = pgolf.Recpie
