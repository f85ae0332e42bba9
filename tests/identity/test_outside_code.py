"""Code outside the package: modules in other folders are followed and run as hashed, distributions count by version."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import sys
from pgolf.errors import ConfigError
from pgolf.identity.closure import stage_code
{before}
try:
    code = stage_code("pgolf.probe")
    import pgolf.probe
    print(pgolf.probe.V, sorted(set(code.modules) - {{"pgolf.probe"}}), dict(code.distributions))
except ConfigError as error:
    print("REFUSED", error)
"""


def run(root: Path, *, before: str = "", path: str = "beside", code: str = SHOW, **environment: str) -> str:
    paths = os.pathsep.join([str(root), *(str(root / entry) for entry in path.split())])
    result = subprocess.run(
        [sys.executable, "-c", code.format(before=before)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


# What the probe imports, the files that this needs, and the modules that must be named. The edit is 11 -> 12.
OUTSIDE = {
    "a module": ("from scale import V", {"beside/scale.py": "V = 11"}, ["scale"]),
    "one of several on a line": ("import os, scale\nV = scale.V", {"beside/scale.py": "V = 11"}, ["scale"]),
    "one behind another": (
        "import scale\nV = scale.V",
        {"beside/scale.py": "from factor import V", "beside/factor.py": "V = 11"},
        ["factor", "scale"],
    ),
    "a package": (
        "from scale.factor import V",
        {"beside/scale/__init__.py": "", "beside/scale/factor.py": "V = 11"},
        ["scale", "scale.factor"],
    ),
    "a submodule by its package": (
        "import scale.factor\nV = scale.factor.V",
        {"beside/scale/__init__.py": "", "beside/scale/factor.py": "V = 11"},
        ["scale", "scale.factor"],
    ),
    "a relative import": (
        "from scale import V",
        {"beside/scale/__init__.py": "from .factor import V", "beside/scale/factor.py": "V = 11"},
        ["scale", "scale.factor"],
    ),
    "a folder without __init__.py": (
        "from scale.factor import V",
        {"beside/scale/factor.py": "V = 11"},
        ["scale.factor"],
    ),
    "an import in a function": (
        "def f():\n    from scale import V\n    return V\nV = f()",
        {"beside/scale.py": "V = 11"},
        ["scale"],
    ),
    "an import that may fail": (
        "try:\n    from scale import V\nexcept ImportError:\n    V = 0",
        {"beside/scale.py": "V = 11"},
        ["scale"],
    ),
    "a file in site-packages that no distribution has": (
        "from scale import V",
        {"site-packages/scale.py": "V = 11"},
        ["scale"],
    ),
    "our own command line": (
        "from flows.scale import V",
        {"flows/__init__.py": "", "flows/scale.py": "V = 11"},
        ["flows", "flows.scale"],
    ),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_modules_that_no_distribution_installs_are_followed_and_run_as_hashed(copy, what):
    probe, files, modules = OUTSIDE[what]
    write(copy, {"pgolf/probe.py": probe, **files})
    path = "beside site-packages"
    keys = SHOW.replace("print(", "print(dict(code.modules), ")
    before = run(copy, path=path, code=keys)
    assert before.endswith(f" 11 {modules} {{}}")
    edited = {name: text.replace("11", "12") for name, text in files.items()}
    edit = f"from pathlib import Path\nstage_code('pgolf.probe')\nfor name, text in {edited}.items(): " + (
        f"Path({str(copy)!r}, name).write_text(text)"
    )
    assert run(copy, path=path, before=edit, code=keys) == before, "edited between the key and the import"
    after = run(copy, path=path, code=keys)
    assert after.endswith(f" 12 {modules} {{}}")
    assert after.removesuffix(f" 12 {modules} {{}}") != before.removesuffix(f" 11 {modules} {{}}")


def test_children_get_the_modules_of_others_too(copy):
    write(
        copy,
        {
            "pgolf/probe.py": "from scale import V\nfrom folder.factor import W",
            "beside/scale.py": "V = 11",
            "beside/folder/factor.py": "W = 11",
        },
    )
    archive = copy / "code.zip"
    run(
        copy,
        before=f"from pgolf.identity.snapshot import CODE; stage_code('pgolf.probe'); CODE.write({str(archive)!r})",
    )
    write(copy, {"beside/scale.py": "V = 12", "beside/folder/factor.py": "W = 12"})
    shown = "import pgolf.probe as p; print(p.V, p.W)"
    child = subprocess.run(
        [sys.executable, "-c", shown],
        env={**os.environ, "PYTHONPATH": f"{archive}", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert child.stdout.split() == ["11", "11"], child.stderr


@pytest.mark.parametrize("statement", ["import json; import scale; V = scale.V", "if True: import scale; V = scale.V"])
def test_modules_that_are_imported_before_keys_are_made_join_however_they_are_imported(copy, statement):
    write(copy, {"pgolf/probe.py": statement, "beside/scale.py": "V = 11"})
    assert run(copy, before="import pgolf.probe") == "11 ['scale'] {}"


def test_of_a_folder_that_distributions_share_all_versions_count(copy):
    for name in ("aaa", "bbb"):
        folder = f"site-packages/kit_{name}-1.0.dist-info"
        about = f"Metadata-Version: 2.1\nName: kit-{name}\nVersion: 1.0\n"
        write(copy, {f"site-packages/kit/{name}.py": "V = 11", f"{folder}/METADATA": about})
        write(copy, {f"{folder}/RECORD": f"kit/{name}.py,,\n"})
    write(copy, {"pgolf/probe.py": "from kit.aaa import V"})
    assert run(copy, path="site-packages") == "11 [] {'kit-aaa': '1.0', 'kit-bbb': '1.0'}"


def test_a_name_that_only_begins_like_one_of_ours_is_watched_while_it_is_imported(copy):
    write(copy, {"table.txt": "11", "pgolf/probe.py": "from flows_table import V"})
    write(copy, {"beside/flows_table.py": f"V = open({str(copy / 'table.txt')!r}).read()"})
    with pytest.raises(AssertionError, match="UndeclaredRead"):
        run(copy)


def distribution(version: str, *, name: str = "Scale-Kit", top: str = "scale") -> dict[str, str]:
    folder = f"site-packages/{name.replace('-', '_').lower()}-{version}.dist-info"
    return {
        f"site-packages/{top}.py": "V = 11",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/RECORD": f"{top}.py,,\n",
    }


@pytest.mark.parametrize("name", ["scale", "Scale-Kit"])
def test_of_a_distribution_the_version_counts_without_what_is_behind_a_plus(copy, name):
    write(copy, {"pgolf/probe.py": "from scale import V", **distribution("1.2+cpu", name=name)})
    assert run(copy, path="site-packages") == f"11 [] {{'{name}': '1.2'}}"


def test_a_module_of_another_name_than_its_distribution_and_one_that_is_absent(copy):
    # A distribution of the module's name that does not install it is not the one.
    write(copy, distribution("3.0", name="scale", top="other"))
    write(copy, distribution("1.2", name="kit"))
    write(copy, {"pgolf/probe.py": "from scale import V\ntry:\n    import no_such_module\nexcept ImportError: pass"})
    assert run(copy, path="site-packages") == "11 [] {'kit': '1.2', 'no_such_module': 'absent'}"


def test_of_several_distributions_that_install_one_module_all_versions_count(copy):
    for name, version in {"sight": "1.0", "Sight-Headless": "2.0"}.items():
        write(copy, distribution(version, name=name, top="see"))
    write(copy, distribution("3.0", name="see.more", top="see_more"))  # is only called like a part of it
    write(copy, {"pgolf/probe.py": "from see import V"})
    assert run(copy, path="site-packages") == "11 [] {'Sight-Headless': '2.0', 'sight': '1.0'}"


def test_a_folder_that_pip_has_filled_may_have_any_name(copy):
    files = {name.replace("site-packages/", "libs/"): text for name, text in distribution("1.2").items()}
    write(copy, {"pgolf/probe.py": "from scale import V\nfrom beside import W", **files, "libs/beside.py": "W = 1"})
    assert run(copy, path="libs") == "11 ['beside'] {'Scale-Kit': '1.2'}"
    (copy / "libs/scale.py").unlink()
    (copy / "libs/scale.so").write_text("")
    write(copy, {"libs/scale_kit-1.2.dist-info/RECORD": "scale.so,,\n"})
    write(copy, {"pgolf/probe.py": "try:\n    from scale import V\nexcept ImportError: V = 12"})
    assert run(copy, path="libs") == "12 [] {'Scale-Kit': '1.2'}"


REFUSED = {
    "an extension module": ({"beside/scale.so": ""}, "from scale import V", "scale.so, and no installed"),
    "compiled code without source": ({"beside/scale.pyc": ""}, "from scale import V", "scale.pyc, and no installed"),
    "a hidden library": ({"beside/colorsys.py": "V = 11"}, "from colorsys import V", "hides 'colorsys'"),
    "a star": ({"beside/scale.py": "V = 11"}, "from scale import *", "hides what it brings in"),
    "a call that imports": ({"beside/scale.py": "V = 11"}, "V = __import__('scale').V", "by a call"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_code_whose_bytes_cannot_be_named_is_refused(copy, what):
    files, probe, message = REFUSED[what]
    write(copy, {"pgolf/probe.py": probe, **files})
    printed = run(copy)
    assert printed.startswith("REFUSED ")
    assert message in printed


def test_a_module_that_was_imported_before_is_refused_and_says_what_to_do(copy):
    write(copy, {"pgolf/probe.py": "from scale import V", "beside/scale.py": "V = 11"})
    printed = run(copy, code="import scale\n" + SHOW)
    assert "module 'scale'" in printed
    assert "was imported before a stage asked for it" in printed
    assert "ask for a plan first" in printed


HIDDEN = {
    "an environment variable": "import os\nV = os.environ.get('V', '11')",
    "getenv": "from os import getenv\nV = getenv('V')",
    "bytes of the environment": "import os\nV = os.environb",
    "expandvars": "import os.path\nV = os.path.expandvars('$V')",
    "exec": "exec(open('scale.txt').read())",
    "exec by another name": "run = exec\nrun('V = 11')",
    "eval": "V = eval('11')",
    "compile": "V = compile('11', '', 'eval')",
    "runpy": "import runpy\nV = runpy.run_path('scale.py')",
    "run_path alone": "from runpy import run_path\nV = 11",
    "a loader by file": "import importlib.util as u\nV = u.spec_from_file_location('scale', 'scale.py')",
    "an import by another name": "from importlib import import_module as load\nV = load('scale').V",
    "an import handed on": "import importlib\nV = list(map(importlib.import_module, ['scale']))",
    "a docstring of another": "import json\nV = json.__doc__",
    "the text of code": "import inspect, json\nV = inspect.getdoc(json)",
    "processes": "import multiprocessing as m\nV = 11",
    "processes by another way": "from multiprocessing.pool import Pool\nV = 11",
    "a pool of processes": "from concurrent.futures import ProcessPoolExecutor\nV = 11",
    "a loader by its class": "from importlib.machinery import SourceFileLoader\nV = 11",
    "a word in other letters": "\uff45xec('V = 11')",
    "a word in another encoding": "# coding: utf-7\n+AGUAeABlAGM-('V = 11')",
    "a docstring by its name as text": "import json\nV = getattr(json, '__doc__')",
    "a model's schema, with its docstring": "def v(model): return model.model_json_schema()\nV = 11",
    "processes of a library": "def v(loader): return loader(multiprocessing_context='spawn')\nV = 11",
    "a server of processes": "from multiprocessing import forkserver\nV = 11",
    "a program without an event": "import _posixsubprocess\nV = 11",
    "a folder by its number": "import os\nV = [lambda p, f: os.open(p, f, dir_fd=3)]",
    "the text of code by its lines": "import linecache\nV = 11",
    "exec beside a parameter of its name": "def v(exec): return exec(1)\nV = exec('11')",
    "eval by its own name": "eval = eval\nV = eval('11')",
    "eval imported": "from builtins import eval\nV = eval('11')",
    "exec of the default of a parameter": "def v(exec=exec): return exec\nV = 11",
    "compile beside a method": "class A:\n    def compile(self): return compile('1', '', 'eval')\nV = 11",
}
# The same words where they mean something else.
HARMLESS = {
    "a function of a library": "from re import compile\nV = compile('1').pattern",
    "a parameter": "def v(compile, eval=1): return lambda: compile + eval\nV = v(compile=1)",
    "a local name": "def v():\n    exec = 11\n    return exec\nV = v()",
    "a function of its own": "def eval(x): return x\nV = eval(11)",
    "another name of a method": "import re\ncompile = re.compile\nV = compile('11')",
    "a method": "def v(model): return model.eval()\nV = 11",
    "its own docstring": '"11"\nV = __doc__',
}


# Probes one after the other in one process: a process each would be most of the work.
EACH = """
from pgolf.errors import ConfigError
from pgolf.identity.closure import stage_code
{before}
for number in range(count):
    try:
        stage_code(f"pgolf.probe{{number}}")
        print("TAKEN")
    except ConfigError as error:
        print("REFUSED", repr(str(error)))
"""


@pytest.mark.parametrize("place", ["pgolf/probe{}.py", "beside/scale{}.py"])
def test_code_that_reads_more_than_a_key_shows_is_refused_with_its_line(copy, place):
    for number, code in enumerate(HIDDEN.values()):
        probe = {f"pgolf/probe{number}.py": f"from scale{number} import V", f"beside/scale{number}.py": "V = 11"}
        write(copy, probe | {place.format(number): code})
    lines = run(copy, code=EACH, before=f"count = {len(HIDDEN)}").splitlines()
    for number, (what, line) in enumerate(zip(HIDDEN, lines, strict=True)):
        assert line.startswith("REFUSED "), what
        assert re.search(rf"{place.format(number)}:[12]: ", line), what
        assert "would do what its key does not show" in line, what


def test_words_that_mean_something_else_are_no_reason_to_refuse(copy):
    for number, code in enumerate(HARMLESS.values()):
        write(copy, {f"pgolf/probe{number}.py": code})
    lines = run(copy, code=EACH, before=f"count = {len(HARMLESS)}").splitlines()
    assert dict(zip(HARMLESS, lines, strict=True)) == dict.fromkeys(HARMLESS, "TAKEN")


HOOK = """
import sys, pgolf, importlib.machinery
class Hook:
    def find_spec(self, name, path, target=None):
        if name.startswith("pgolf."):
            return importlib.machinery.PathFinder.find_spec(name, path)
sys.meta_path.insert(0, Hook())
{before}
"""


def test_code_that_an_import_hook_has_loaded_is_refused_and_later_the_hook_comes_second(copy):
    write(copy, {"pgolf/probe.py": "from pgolf.factor import V", "pgolf/factor.py": "V = 11"})
    edit = f"open({str(copy / 'pgolf/factor.py')!r}, 'w').write('V = 12')"
    hook = "import pgolf.identity.closure" + HOOK
    printed = run(copy, code=hook + SHOW, before=f"{edit}; import pgolf.factor")
    assert printed.startswith("REFUSED module 'pgolf.factor' was loaded by SourceFileLoader")
    assert "import hook" in printed
    write(copy, {"pgolf/factor.py": "V = 11"})
    assert run(copy, code=hook + SHOW, before=edit) == "11 ['pgolf.factor'] {}"
