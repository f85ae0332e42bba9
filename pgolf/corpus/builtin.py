"""The built-in corpus: English text found in every Python installation, so that the demo needs no download.

One document per pydoc topic and one per standard-library module (its module, class and function docstrings in source
order, parsed from the source without importing it).
"""

import ast
import hashlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from pgolf.errors import DocumentError

# Shorter documents are a line or two of boilerplate.
MIN_CHARACTERS = 200

TOPICS_FILE = "pydoc_data/topics.py"

# Not the library's own documentation: tests, bundled programs, generated tables, installed packages.
_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idle_test",
        "idlelib",
        "lib-dynload",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


def stdlib_folder() -> Path:
    """Folder of the running interpreter's standard-library sources."""
    return Path(sysconfig.get_path("stdlib"))


def identity(stdlib: Path | None = None) -> str:
    """Digest of every source file of the corpus, so that another Python version is another corpus."""
    folder = stdlib or stdlib_folder()
    digest = hashlib.sha256(sys.version.encode())
    for path in [folder / TOPICS_FILE, *_module_files(folder)]:
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def builtin_documents(stdlib: Path | None = None) -> list[str]:
    """The documents sorted by SHA-256: shuffled, yet the same for the same installation.

    In name order a short training run would see only the topics and the first letters of the alphabet. An installation
    without pydoc topics yields the modules only. Raises DocumentError if there are neither, as in an interpreter whose
    library is a zip file or has no sources.
    """
    folder = stdlib or stdlib_folder()
    texts = {text for text in [*topics(folder), *_module_texts(folder)] if len(text) >= MIN_CHARACTERS}
    if not texts:
        raise DocumentError(
            f"{folder}: no pydoc topics and no standard-library sources with docstrings here; use a Python whose "
            "library is installed as files, or your own documents"
        )
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def topics(stdlib: Path) -> list[str]:
    """The pydoc topics in name order; empty if the installation lacks pydoc_data."""
    path = stdlib / TOPICS_FILE
    if not path.is_file():
        return []
    for statement in _parse(path).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            table = ast.literal_eval(statement.value)
            return [table[name] for name in sorted(table)]
    return []


def module_text(source: ast.Module) -> str:
    """All docstrings of a parsed module in source order, unindented, separated by blank lines."""
    return "\n\n".join(_docstrings(source))


def _docstrings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node, clean=False)
        if docstring and (text := inspect.cleandoc(docstring)):
            # An escape such as "\\ud800" yields a lone surrogate, which cannot be encoded as UTF-8.
            yield text.encode("utf-8", "ignore").decode("utf-8")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child)


def _module_texts(stdlib: Path) -> Iterator[str]:
    for path in _module_files(stdlib):
        try:
            yield module_text(_parse(path))
        except (SyntaxError, ValueError):
            # A template, a fixture, or a file for another interpreter: not a module of this installation.
            continue


def _module_files(stdlib: Path) -> list[Path]:
    if not stdlib.is_dir():
        return []
    files = []
    for folder, folders, names in os.walk(stdlib):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("config-")]
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(files, key=lambda path: path.relative_to(stdlib).parts)


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        # Invalid escapes such as "\d" in others' sources are not ours to report.
        warnings.simplefilter("ignore", category=SyntaxWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        return ast.parse(path.read_bytes(), filename=str(path))
