"""The code that is hashed is the code that runs, whatever happens to its files: edits in copies of the package."""

import os
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pgolf.identity.snapshot import CODE, Snapshot

ROOT = Path(__file__).parents[2]
PROBE = "pgolf/probe.py"
# One line for each kind of place where an edit hides, and what a process that runs it prints.
PLACES = {
    "a constant": ("V = 11", "print(V)"),
    "a default argument": ("def f(x=11): return x", "print(f())"),
    "a decorator": ("def by(n): return lambda f: n\n@by(11)\ndef v(): pass", "print(v)"),
    "a class attribute": ("class A:\n    v: int = 11", "print(A.v)"),
    "a function of a base class": ("class B:\n    def v(self): return 11\nclass A(B): pass", "print(A().v())"),
    "a string": ("V = '11'", "print(V)"),
}


def run(root: Path, code: str, *, path: Path | None = None) -> str:
    """What a new process prints whose pgolf lies in `root`; `path` comes before it."""
    paths = os.pathsep.join(str(entry) for entry in (path, root) if entry)
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**ours, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def write(root: Path, code: str, *, module: str = PROBE, mtime_s: int = 1_700_000_000) -> None:
    """Write a module, the probe unless said otherwise, with a given time of change."""
    (root / module).write_text(code + "\n")
    os.utime(root / module, (mtime_s, mtime_s))


def write_places(root: Path, *, edited: bool = False) -> None:
    """Write a module for each of the places."""
    for number, (code, _show) in enumerate(PLACES.values()):
        write(root, code.replace("11", "12") if edited else code, module=f"pgolf/place{number}.py")


SHOW_PLACES = "\n".join(
    f"from pgolf.place{number} import *; {show}" for number, (_, show) in enumerate(PLACES.values())
)
UNEDITED, EDITED = (["11"] * len(PLACES), ["12"] * len(PLACES))


def test_an_edit_of_the_same_size_and_time_is_what_the_next_process_runs(copy):
    write_places(copy)
    assert [run(copy, SHOW_PLACES).split(), run(copy, SHOW_PLACES).split()] == [UNEDITED] * 2
    compiled = {path.name.partition(".")[0] for path in (copy / "pgolf/__pycache__").iterdir()}
    assert compiled >= {f"place{number}" for number in range(len(PLACES))}, "there was something stale to take"
    write_places(copy, edited=True)
    assert run(copy, SHOW_PLACES).split() == EDITED


@pytest.mark.parametrize("mode", list(py_compile.PycInvalidationMode))
def test_compiled_code_that_others_left_counts_by_its_source_alone(copy, mode):
    write(copy, "V = 11")
    py_compile.compile(str(copy / PROBE), invalidation_mode=mode)
    write(copy, "V = 12")
    assert run(copy, "from pgolf.probe import *; print(V)") == "12"


def test_compiled_code_of_a_folder_that_was_copied_names_its_own_files(copy):
    shutil.copytree(copy / "pgolf", copy / "a/pgolf")
    (copy / "a/pgolf/probe.py").write_text("def f():\n    def g(): return 11\n    return g\n")
    show = "from pgolf.probe import f; import inspect; print(f.__code__.co_filename, inspect.getsource(f()))"
    run(copy / "a", show)
    shutil.copytree(copy / "a", copy / "b")
    (copy / "a/pgolf/probe.py").write_text("def f():\n    def g(): return 12\n    return g\n")
    assert run(copy / "b", show) == f"{copy}/b/pgolf/probe.py     def g(): return 11"


def test_the_module_that_takes_the_snapshot_is_itself_never_taken_from_stale_compiled_code(copy):
    path = copy / "pgolf/identity/snapshot.py"
    edited = path.read_text().replace(
        'PACKAGES = ("pgolf", "tasks", "flows")', 'PACKAGES = ("pgolf", "tasks", "other")'
    )
    (copy / "old.py").write_text(edited)
    old = py_compile.compile(str(copy / "old.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    cache = copy / "pgolf/identity/__pycache__"
    cache.mkdir(exist_ok=True)
    shutil.copy(old or "", cache / f"snapshot.{sys.implementation.cache_tag}.pyc")
    assert run(copy, "import pgolf.identity.snapshot as s; print(s.PACKAGES[2])") == "flows"


def test_an_edit_while_a_process_lives_changes_neither_its_keys_nor_what_it_imports(copy):
    write_places(copy)
    modules = [f"pgolf.place{number}" for number in range(len(PLACES))]
    keys = f"[code_digests(name) for name in {modules}]"
    read = "from pgolf.identity.closure import code_digests; import importlib, sys; from pathlib import Path\n"
    edit = (
        f"for path in Path({str(copy / 'pgolf')!r}).glob('place*.py'):\n"
        "    path.write_text(path.read_text().replace('11', '12'))\n"
    )
    again = f"for name in {modules}: importlib.reload(sys.modules[name])\n"
    printed = run(
        copy,
        f"{read}before = {keys}\n{edit}{SHOW_PLACES}\nprint({keys} == before)\n"
        f"{again}{SHOW_PLACES}\nprint({keys} == before)",
    )
    assert printed.split() == [*UNEDITED, "True"] * 2
    show = f"{read}print(*{keys}, sep='\\n')"
    after = run(copy, show).splitlines()
    write_places(copy)
    before = run(copy, show).splitlines()
    assert len(before) == len(PLACES)
    assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "meanwhile",
    [
        "shutil.rmtree(root / 'pgolf')",
        "(root / 'pgolf').rename(root / 'elsewhere')",
        "(root / 'pgolf/probe.py').unlink()",
        "(root / 'pgolf/probe').mkdir(); (root / 'pgolf/probe/__init__.py').write_text('V = 12')",
    ],
)
def test_another_branch_checked_out_meanwhile_is_not_seen(copy, meanwhile):
    write(copy, "V = 11")
    code = f"import shutil; from pathlib import Path; root = Path({str(copy)!r}); import pgolf; {meanwhile}\n"
    assert run(copy, code + "import pgolf.probe; print(pgolf.probe.V)") == "11"


def test_a_module_that_was_added_meanwhile_is_not_there(copy):
    printed = run(
        copy,
        f"import pgolf; open({str(copy / PROBE)!r}, 'w').write('V = 12')\n"
        "try: import pgolf.probe\nexcept ModuleNotFoundError as error: print(error.name)",
    )
    assert printed == "pgolf.probe"


def test_what_editors_and_people_leave_among_the_files_is_no_code(copy):
    write(copy, "V = 11")
    (copy / "pgolf/.#probe.py").symlink_to("me@host.1:2")
    (copy / "pgolf/gone.py").symlink_to("nowhere.py")
    os.mkfifo(copy / "pgolf/pipe.py")
    (copy / "pgolf/loop").symlink_to(copy / "pgolf")
    assert run(copy, "from pgolf.probe import V; print(V)") == "11"


def test_code_that_is_gone_when_it_is_read_is_not_there_and_what_cannot_be_read_is_named(copy, monkeypatch):
    write(copy, "V = 11")
    is_file = os.path.isfile

    def then_removed(path: str) -> bool:
        found = is_file(path)
        if str(path).endswith("probe.py"):
            os.unlink(path)
        return found

    monkeypatch.setattr(os.path, "isfile", then_removed)
    assert "pgolf.probe" not in Snapshot.of_folder(str(copy)).files
    monkeypatch.undo()
    (copy / PROBE).symlink_to("/proc/self/mem")  # opened, and then not read, even by root
    with pytest.raises(ImportError, match=rf"^{copy}/{PROBE} is code of pgolf and cannot be read \(Input/output"):
        Snapshot.of_folder(str(copy))


def test_a_part_that_is_a_link_to_another_folder_is_code(copy):
    (copy / "elsewhere").mkdir()
    (copy / "elsewhere/__init__.py").write_text("V = 11\n")
    (copy / "pgolf/part").symlink_to(copy / "elsewhere")
    assert run(copy, "import pgolf.part; print(pgolf.part.V)") == "11"


@pytest.mark.parametrize(
    "again",
    [
        "import importlib; importlib.reload(pgolf)",
        "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith('pgolf')]; import pgolf",
    ],
)
def test_a_process_has_one_snapshot_however_often_pgolf_is_imported(copy, again):
    write(copy, "V = 11")
    edit = f"open({str(copy / PROBE)!r}, 'w').write('V = 12')"
    code = f"import pgolf, sys; {edit}; {again}; import pgolf.probe\nfrom pgolf.identity.snapshot import CODE\n"
    assert run(copy, code + "print(pgolf.probe.V, CODE.is_on_disk())") == "11 False"


def test_pgolf_runs_from_a_zip_file_that_somebody_packed(copy):
    write(copy, "V = 11")
    shutil.make_archive(str(copy / "packed"), "zip", copy, "pgolf")
    (copy / "src").mkdir()
    (copy / "pgolf").rename(copy / "src/pgolf")
    shutil.make_archive(str(copy / "inside"), "zip", copy, "src")
    shutil.rmtree(copy / "src")
    code = "from pgolf.probe import V; from pgolf.identity.closure import code_digests; code_digests('pgolf.probe')"
    for path in ("packed.zip", "inside.zip/src"):
        assert run(copy, f"{code}; print(V)", path=copy / path) == "11"


def test_files_beside_the_code_are_found_as_in_any_package(copy):
    (copy / "pgolf/identity/notes.txt").write_text("11")
    code = "import pkgutil, importlib.resources as r; print(pkgutil.get_data('pgolf.identity', 'notes.txt').decode(),"
    assert run(copy, f"{code} r.files('pgolf.identity').joinpath('notes.txt').read_text())") == "11 11"


def test_a_traceback_shows_the_line_that_ran(copy):
    write(copy, "def f():\n    return 1 / 0  # as it ran")
    printed = run(
        copy,
        f"import traceback; from pgolf.probe import f; open({str(copy / PROBE)!r}, 'w').write('#\\n# edited\\n')\n"
        "try: f()\nexcept ZeroDivisionError: print(traceback.format_exc())",
    )
    assert "as it ran" in printed
    assert "edited" not in printed


@pytest.mark.parametrize("name", ["plain", "Straße", "with spaces", os.fsdecode(b"caf\xe9")])
def test_children_run_the_code_of_their_parent_from_a_file_named_by_its_digest(copy, name):
    root = copy / name
    root.mkdir()
    shutil.move(copy / "pgolf", root / "pgolf")
    write(root, "V = 11")
    archive = copy / run(
        root, f"from pgolf.identity.snapshot import CODE; CODE.write({str(copy)!r} + '/code.zip'); print(CODE.digest)"
    )
    (copy / "code.zip").rename(archive)
    write(root, "V = 12")
    show = (
        "import pgolf.probe; from pgolf.identity.closure import CODE, code_digests\n"
        "print(pgolf.probe.V, code_digests('pgolf.probe'), CODE.digest, CODE.is_on_disk(), ascii(pgolf.probe.__file__))"
    )
    child = run(root, show, path=archive)
    assert child.endswith(f"{archive.name} False {str(root / PROBE)!a}")
    write(root, "V = 11")
    assert run(root, show) == child.replace("False", "True")


def test_a_digest_is_of_names_and_bytes(tmp_path):
    def digest_of(files: dict[str, str]) -> str:
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        for name, text in {"p/__init__.py": "", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return Snapshot.of_folder(str(tmp_path), ["p"]).digest

    members = [
        {},
        {"p/a.py": ""},
        {"p/a.py": "1"},
        {"p/b.py": "1"},
        {"p/a/__init__.py": "1"},
        {"p/a/__init__.py": "", "p/a/b.py": "1"},
        {"p/a.py": "1", "p/b.py": "1"},
        {"p/a.py": "1\np.b False 1\n1"},
    ]
    assert len({digest_of(files) for files in members}) == len(members)
    assert digest_of(members[1]) == digest_of({**members[1], "p/notes.txt": "1", "p/__pycache__/c.py": "1"})


def test_the_snapshot_of_this_process_holds_every_module_of_ours(tmp_path):
    folders = [folder for name in ("pgolf", "tasks", "flows") for folder in (ROOT / name).rglob("*.py")]
    assert {file.path for file in CODE.files.values()} == {str(path) for path in folders}
    CODE.write(str(tmp_path / "code.zip"))
    again = Snapshot.of_zip(str(tmp_path / "code.zip"))
    assert (again.digest, again.root, again.files) == (CODE.digest, CODE.root, CODE.files)
    assert zipfile.ZipFile(tmp_path / "code.zip").testzip() is None


EDITS: dict[str, Callable[[Path], object]] = {
    "a comment": lambda path: path.write_text(path.read_text() + "# more\n"),
    "removed": Path.unlink,
    "added": lambda path: path.with_name("more.py").write_text(""),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_names_no_commit_that_the_code_is_not_of(copy, edit):
    write(copy, "V = 11")
    snapshot = Snapshot.of_folder(str(copy))
    assert snapshot.is_on_disk()
    EDITS[edit](copy / PROBE)
    assert not snapshot.is_on_disk()


def test_code_in_a_folder_that_may_not_be_written_runs(copy):
    write(copy, "V = 11")
    shutil.rmtree(copy / "pgolf/__pycache__", ignore_errors=True)
    (copy / "pgolf/__pycache__").write_text("a file, where a folder of compiled code would be")
    assert run(copy, "from pgolf.probe import *; print(V)") == "11"
