"""Checks a submission's folder, whoever wrote it, without running anything of it."""

import ast
import sys
import warnings
from collections.abc import Collection, Iterable
from pathlib import PurePath

from pgolf.budget import CLOCK_LIMIT_S
from pgolf.submission.checked import Checked
from pgolf.submission.folder_bytes import check_bytes
from pgolf.submission.folder_files import JSON, README, REQUIREMENTS, SCRIPT, FolderFiles, is_result
from pgolf.submission.folder_json import gaps, is_record, seed_results, wrong_fields
from pgolf.submission.folder_numbers import (
    disagreements,
    missing_seeds,
    other_code_bytes,
    other_scores,
    slow_clocks,
)
from pgolf.submission.requirements_check import undeclared
from pgolf.submission.requirements_text import imported

# Of these no program takes anything: they are about the submission.
_ABOUT = (".md", ".png", ".jpg", ".svg", ".pdf", ".pgolf")

_LAST = "the result is the last score of its log, and a code length"
_REQUIRES = "requirements.txt names what is imported beside torch, numpy and sentencepiece"


def check_folder(files: FolderFiles) -> list[Checked]:
    """Files, fields, script, numbers and bytes: a finding per check that holds, or per thing that is wrong."""
    script_lacks, program = _script(files)
    about = files.about or {}
    found = [
        *_judged("files", "all files of a submission are there", _missing(files), f"{len(files.sizes)} files"),
        *_judged("json", f"{JSON} has the fields of a record", _json(files), f"{len(about)} fields"),
        *_judged("script", f"{SCRIPT} is a program", script_lacks, f"{files.sizes.get(SCRIPT, 0):,} bytes compile"),
        *_judged("seeds", "all seeds have a result and a log", missing_seeds(files), f"{len(files.logs)} logs"),
        *_judged(
            "numbers",
            f"{JSON} = logs = {README} = files on disk",
            disagreements(files),
            f"{len(seed_results(about)) or 1} results agree",
        ),
        *_judged(
            "code bytes",
            f"the bytes of code in {JSON} are those of {SCRIPT} on disk, not of a packed copy",
            other_code_bytes(files),
            f"{files.sizes.get(SCRIPT, 0):,} bytes",
        ),
        *(_checked("score", _LAST, passed, said) for passed, said in other_scores(files)),
        *_clocks(files),
        *check_bytes(files, local_files(files, program), unseen_files(files, program)),
    ]
    if program is not None and is_packed(program):
        said = f"{SCRIPT} is packed: what it imports is seen where it runs (--data)"
        found.append(_checked("requirements", _REQUIRES, None, said))
    elif program is not None:
        found += check_requirements(files, imported_by(program))
    if left := gaps(about, files.readme):
        found.append(_checked("gaps", "nothing is left to fill in", None, f"left to the author: {', '.join(left)}"))
    return found


def check_requirements(files: FolderFiles, imports: Iterable[str]) -> list[Checked]:
    """Whether requirements.txt names what is imported. imports: top-level modules that are not of the folder."""
    imports = sorted(imports)
    missing = undeclared(imports, files.requirements)
    where = "requirements.txt does not name" if files.requirements is not None else "no requirements.txt names"
    wrong = [f"imports {', '.join(missing)}, which {where}"] if missing else []
    return _judged("requirements", _REQUIRES, wrong, f"{len(imports)} imports beside the standard library")


def local_files(files: FolderFiles, program: ast.Module | None) -> list[str]:
    """Files of the folder that the program imports or names in a text, as far as it can be read."""
    if program is None:
        return []
    imports = imported(program)
    texts = {node.value for node in ast.walk(program) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {PurePath(text).name for text in texts if len(text) < 200}
    other = [name for name in files.sizes if name not in (SCRIPT, REQUIREMENTS) and not is_result(name)]
    return [name for name in other if _is_of_import(name, imports) or _is_named(name, named)]


def unseen_files(files: FolderFiles, program: ast.Module | None) -> list[str]:
    """Files of the folder that a packed program may use, and nobody sees before it runs."""
    if program is None or not is_packed(program):
        return []
    models = {path.name for path in files.models.values()}
    return [
        name
        for name in files.sizes
        if name not in (SCRIPT, REQUIREMENTS, *models) and not is_result(name) and PurePath(name).suffix not in _ABOUT
    ]


def _is_of_import(name: str, imports: Collection[str]) -> bool:
    """Whether a file holds a module, compiled or not, or lies in a package, of one of these top-level names."""
    first, *rest = PurePath(name).parts
    compiled = rest[0] if first == "__pycache__" and rest else first
    return compiled.partition(".")[0] in imports and (bool(rest) or "." in first)


def _is_named(name: str, named: Collection[str]) -> bool:
    return PurePath(name).name in named and PurePath(name).suffix not in _ABOUT


def imported_by(program: ast.Module) -> set[str]:
    """Top-level modules beside the standard library that the program imports by statements."""
    return imported(program) - sys.stdlib_module_names - {"pgolf"}


def is_packed(program: ast.Module) -> bool:
    """Whether it makes code of data, which says nothing of what that imports."""
    names = (node.func for node in ast.walk(program) if isinstance(node, ast.Call))
    return any(isinstance(one, ast.Name) and one.id in ("exec", "eval") for one in names)


def _script(files: FolderFiles) -> tuple[list[str], ast.Module | None]:
    """What is wrong with the script, and its program; of a packed one the part that unpacks it."""
    if not files.script:
        return [], None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(files.script)
            compile(files.script, SCRIPT, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return [f"{SCRIPT}{line} does not compile: {getattr(error, 'msg', None) or error}"], None
    return [], tree


def _missing(files: FolderFiles) -> list[str]:
    wanted = [name for name in (SCRIPT, JSON, README) if name not in files.sizes]
    wrong = [f"no {', no '.join(wanted)}"] if wanted else []
    if not files.logs:
        wrong.append("no log of a seed, train_seed<N>.log")
    return wrong


def _clocks(files: FolderFiles) -> Iterable[Checked]:
    wrong, known = slow_clocks(files)
    if not known or not is_record(files.about or {}):
        return []
    proves = "training with calibration, and all evaluations together, keep their clocks, for every seed"
    return _judged("clocks", proves, wrong, f"{known} clocks within {CLOCK_LIMIT_S:g} s")


def _json(files: FolderFiles) -> list[str]:
    if files.about is None:
        return [files.about_lack]
    return list(wrong_fields(files.about))


def _judged(name: str, proves: str, wrong: Iterable[str], right: str) -> list[Checked]:
    found = [_checked(name, proves, False, said) for said in wrong]
    return found or [_checked(name, proves, True, right)]


def _checked(name: str, proves: str, passed: bool | None, said: str) -> Checked:
    return Checked(name=name, proves=proves, passed=passed, said=said)
