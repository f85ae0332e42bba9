"""The import closure and its digests, on generated packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pgolf.errors
from pgolf.errors import ConfigError
from pgolf.identity.closure import BYTES_NEUTRAL, code_digests, import_closure, module_digest, syntax_tree


def write_package(root: Path, modules: dict[str, str]) -> Path:
    """Write `modules` (dotted name -> source) under `root`, with an empty __init__.py in every package."""
    for name, source in modules.items():
        path = root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        folder = path.parent
        while folder != root:
            (folder / "__init__.py").touch()
            folder = folder.parent
    return root


CHAIN = {
    "pgolf.errors": "class PgolfError(Exception): ...\n",
    "pgolf.stage": "from pgolf.quant import gptq\n\ndef make():\n    return gptq.run()\n",
    "pgolf.quant.gptq": "def run():\n    from .grid import snap\n    return snap(1)\n",
    "pgolf.quant.grid": "from ..errors import PgolfError\nfrom ..deep import step\n\nsnap = step\n",
    "pgolf.deep": "def step(x):\n    return x + 1\n",
    "pgolf.unrelated": "def other():\n    return 0\n",
}


def digests(root: Path) -> dict[str, str]:
    return code_digests("pgolf.stage", root=root)


def test_the_closure_follows_imports_of_every_form_and_nothing_else(tmp_path):
    write_package(tmp_path, CHAIN)
    closure = import_closure("pgolf.stage", root=tmp_path)
    assert list(closure) == [
        "pgolf.deep", "pgolf.errors", "pgolf.quant", "pgolf.quant.gptq", "pgolf.quant.grid", "pgolf.stage",
    ]  # fmt: skip
    assert closure["pgolf.quant"] == tmp_path / "pgolf/quant/__init__.py"
    assert closure["pgolf.deep"] == tmp_path / "pgolf/deep.py"


def test_several_entries_give_the_union_of_their_closures(tmp_path):
    write_package(tmp_path, CHAIN)
    both = import_closure("pgolf.deep", "pgolf.unrelated", root=tmp_path)
    assert list(both) == ["pgolf.deep", "pgolf.unrelated"]


@pytest.mark.parametrize(
    "edited",
    [
        "# why\ndef step(x):\n    return x + 1\n",
        '"""What the file is for."""\n\n\ndef step(x):\n    """Step."""\n    return (x +\n        1)  # one\n',
        "def step(x):\n    pass\n    'a note'\n    return x + 0x1\n",
    ],
)
def test_comments_docstrings_and_formatting_change_no_digest(tmp_path, edited):
    write_package(tmp_path, CHAIN)
    before = digests(tmp_path)
    (tmp_path / "pgolf/deep.py").write_text(edited)
    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    "edited",
    [
        "def step(x):\n    return x + 2\n",
        "def step(x):\n    return x + 1.0\n",
        "def step(x):\n    return x - 1\n",
        "def step(x=None):\n    return x + 1\n",
        "def step(x: int):\n    return x + 1\n",
        "def step(y):\n    return y + 1\n",
        "def step(x):\n    return x + True\n",
        "def step(x):\n    return x + '1'\n",
        "def step(x):\n    return x + b'1'\n",
        "async def step(x):\n    return x + 1\n",
        "def step(x):\n    x + 1\n",
    ],
)
def test_an_edit_of_code_three_imports_away_changes_that_modules_digest_only(tmp_path, edited):
    write_package(tmp_path, CHAIN)
    before = digests(tmp_path)
    (tmp_path / "pgolf/deep.py").write_text(edited)
    after = digests(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {"pgolf.deep"}


def test_the_code_of_every_parent_package_belongs_to_the_closure(tmp_path):
    write_package(tmp_path, {"pgolf.a.b.c": "x = 1\n"})
    assert list(import_closure("pgolf.a.b.c", root=tmp_path)) == ["pgolf.a", "pgolf.a.b", "pgolf.a.b.c"]
    before = code_digests("pgolf.a.b.c", root=tmp_path)
    (tmp_path / "pgolf/a/__init__.py").write_text("import os\nos.umask(0o077)\n")
    after = code_digests("pgolf.a.b.c", root=tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"pgolf.a"}


def test_an_edit_outside_the_closure_changes_nothing(tmp_path):
    write_package(tmp_path, CHAIN)
    before = digests(tmp_path)
    (tmp_path / "pgolf/unrelated.py").write_text("def other():\n    return 1\n")
    (tmp_path / "pgolf/__init__.py").write_text("from pgolf.unrelated import other\n")
    assert digests(tmp_path) == before


def test_a_new_import_brings_its_module_into_the_digests(tmp_path):
    write_package(tmp_path, CHAIN)
    (tmp_path / "pgolf/deep.py").write_text("def step(x):\n    import pgolf.unrelated\n    return x + 1\n")
    assert "pgolf.unrelated" in digests(tmp_path)


def test_modules_that_import_each_other_are_visited_once(tmp_path):
    write_package(tmp_path, {"pgolf.a": "import pgolf.b\n", "pgolf.b": "from pgolf import a\n"})
    assert list(import_closure("pgolf.a", root=tmp_path)) == ["pgolf.a", "pgolf.b"]


def test_imports_for_the_type_checker_only_are_not_followed(tmp_path):
    source = (
        "import typing\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from pgolf.b import B\nelse:\n    import pgolf.c\n"
        "if typing.TYPE_CHECKING:\n    import pgolf.b\n"
    )
    write_package(tmp_path, {"pgolf.a": source, "pgolf.b": "B = 1\n", "pgolf.c": ""})
    assert list(import_closure("pgolf.a", root=tmp_path)) == ["pgolf.a", "pgolf.c"]


@pytest.mark.parametrize(
    "source",
    [
        "import pgolf.pack\nx = pgolf.pack.inner.f()\n",
        "import pgolf.pack as p\nx = p.inner.f()\n",
        "from pgolf import pack\nx = pack.inner.f()\n",
        "from . import pack\nx = pack.inner.f()\n",
        "from .pack import inner as i\n",
        "try:\n    from pgolf.pack.inner import f\nexcept ImportError:\n    raise\n",
        "class C:\n    def f(self):\n        import pgolf.pack.inner\n",
    ],
)
def test_a_submodule_is_found_however_it_is_reached(tmp_path, source):
    write_package(tmp_path, {"pgolf.a": source, "pgolf.pack.inner": "def f(): return 1\n"})
    assert "pgolf.pack.inner" in import_closure("pgolf.a", root=tmp_path)


def test_a_local_name_that_resembles_a_package_is_not_an_import(tmp_path):
    write_package(tmp_path, {"pgolf.a": "tasks = []\ntasks.b.append(1)\n", "tasks.b": ""})
    assert list(import_closure("pgolf.a", packages=("pgolf", "tasks"), root=tmp_path)) == ["pgolf.a"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from pgolf.b import *\n", r"a\.py:1: `from pgolf\.b import \*`"),
        ("import importlib\nimportlib.import_module('pgolf.b')\n", r"a\.py:2: .*'pgolf\.b' by a call"),
        ("__import__('pgolf.b')\n", r"a\.py:1: .*by a call"),
        ("from importlib import import_module\nimport_module('pgolf.' + x)\n", r"a\.py:2: .*computed"),
        ("from importlib import import_module\nimport_module('.b', 'pgolf')\n", r"a\.py:2: .*relative name"),
        ("import pgolf\n", r"a\.py:1: imports 'pgolf' itself"),
        ("from pgolf import run_recipe\n", r"module 'pgolf\.run_recipe', wanted by .*a\.py:1"),
        ("import pgolf.missing\n", r"module 'pgolf\.missing', wanted by .*a\.py:1"),
        ("from ... import b\n", r"a\.py:1: a relative import climbs 3 levels"),
        ("def f(:\n", r"a\.py:1: cannot be parsed"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_line(tmp_path, source, message):
    write_package(tmp_path, {"pgolf.a": source, "pgolf.b": "x = 1\n"})
    with pytest.raises(ConfigError, match=message):
        import_closure("pgolf.a", root=tmp_path)


def test_star_and_dynamic_imports_of_other_peoples_packages_are_no_business_of_ours(tmp_path):
    source = "from math import *\nimport importlib\nimportlib.import_module('json')\n"
    write_package(tmp_path, {"pgolf.a": source})
    assert list(import_closure("pgolf.a", root=tmp_path)) == ["pgolf.a"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [("pgolf.nothing", "no file under"), ("numpy.linalg", "outside the packages"), ("pgolf", "is empty")],
)
def test_an_entry_that_computes_nothing_is_refused(tmp_path, entry, message):
    write_package(tmp_path, {"pgolf.a": ""})
    with pytest.raises(ConfigError, match=message):
        import_closure(entry, root=tmp_path)
    with pytest.raises(ConfigError, match="at least one"):
        import_closure(root=tmp_path)


def test_the_exception_classes_are_left_out_of_the_digests_but_stay_in_the_closure(tmp_path):
    write_package(tmp_path, CHAIN)
    assert "pgolf.errors" in import_closure("pgolf.stage", root=tmp_path)
    assert "pgolf.errors" not in digests(tmp_path)
    assert "pgolf.errors" in code_digests("pgolf.stage", root=tmp_path, neutral=())


def test_the_bytes_neutral_modules_load_code_or_define_nothing_but_exception_classes():
    loaders = {
        "pgolf.identity.closure",
        "pgolf.identity.kernel_cache",
        "pgolf.identity.parse_cache",
        "pgolf.identity.snapshot",
    }
    assert set(BYTES_NEUTRAL) == {"pgolf.errors"} | loaders
    tree = ast.parse(Path(pgolf.errors.__file__).read_text())
    for statement in tree.body:
        is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        assert is_docstring or isinstance(statement, ast.ClassDef), ast.dump(statement)
        if isinstance(statement, ast.ClassDef):
            assert issubclass(getattr(pgolf.errors, statement.name), Exception)
            # A class body holds its docstring and constants such as exit_code. The base alone has methods: those by
            # which Python makes and shows an exception.
            methods = [inner.name for inner in statement.body if isinstance(inner, ast.FunctionDef)]
            assert methods == (["__init__", "__str__"] if statement.name == "PgolfError" else []), statement.name
            rest = [inner for inner in statement.body if not isinstance(inner, ast.FunctionDef)]
            assert all(isinstance(inner, ast.Expr | ast.Assign | ast.Pass) for inner in rest), statement.name


def test_a_module_that_uses_its_docstrings_keeps_them_in_its_digest(tmp_path):
    path = tmp_path / "a.py"
    seen = []
    for text in ("one", "two"):
        path.write_text(f'"""{text}"""\nprint(__doc__)\n')
        seen.append(module_digest(path))
    assert seen[0] != seen[1]


def test_the_digest_of_a_given_module_is_pinned(tmp_path):
    # A change of this value changes every cache key there is: all stages of all users run again.
    path = tmp_path / "a.py"
    path.write_text('import os\n\ndef f(x, *, y=None, **z):\n    return {**z, "a": f"{x!r:>{y}}", 1.5: b"\\xff"}[-1]\n')
    assert module_digest(path) == "9c421883e36b99afed7af6f6d4bc49fc0d4f6feefec05d203bda020228486629"


def test_our_own_package_can_be_read_and_reading_imports_nothing():
    code = (
        "import sys; from pgolf.identity.closure import code_digests; d = code_digests('pgolf.identity.fingerprint');"
        "assert set(d) == {'pgolf.identity', 'pgolf.identity.fingerprint'}, d;"
        "assert not {'torch', 'numpy', 'prefect', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_tree_is_parsed_again_where_another_threads_parsing_got_in_the_way(monkeypatch):
    parse, refusals = ast.parse, iter((True, True, False))

    def crossed(source):
        if next(refusals):
            raise SystemError("AST constructor recursion depth mismatch (before=57, after=74)")
        return parse(source)

    monkeypatch.setattr(ast, "parse", crossed)
    assert ast.dump(syntax_tree(b"x = 1")) == ast.dump(parse("x = 1"))
