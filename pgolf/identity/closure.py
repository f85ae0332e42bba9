"""A stage's code as its cache key sees it: every module its entry module reaches by import, and a digest of each.

Editing a function reruns every stage whose entry module reaches it; editing a comment reruns nothing. Nothing is
imported or executed here; what is parsed is what this process runs (`pgolf.identity.snapshot`), or files of a folder.
"""

import ast
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pgolf.errors import ConfigError
from pgolf.identity.snapshot import CODE, SourceFile

# Modules left out of a stage's identity. A stage that raises makes no output, so the exception classes and their
# messages cannot change bytes; a test holds that pgolf/errors.py defines nothing but exception classes. The others name
# and load the code whose digests the key holds; training reaches them because it starts ranks.
BYTES_NEUTRAL = (
    "pgolf.errors",
    "pgolf.identity.closure",
    "pgolf.identity.kernel_cache",
    "pgolf.identity.snapshot",
)

# The package's list of lazy exports names everything and computes nothing: following it would tie every stage to
# every module.
EXPORT_LISTS = ("pgolf",)

# Fields that repeat what position already says (ctx) or that formatting and comments decide (kind, type_comment).
_SKIPPED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_DYNAMIC_IMPORTS = ("import_module", "__import__")
_PARSING = threading.Lock()
_PARSE_TRIES = 10


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a source line refers to.

    kind: "module" must have a file; "attribute" may be a submodule or anything else; "star" and "dynamic" are
    refused when the name lies inside our packages, because what they bring in cannot be seen.
    """

    name: str
    line: int
    kind: Literal["module", "attribute", "star", "dynamic"]


@dataclass(frozen=True, slots=True)
class Source:
    """What one parsed module contributes: the digest of its code, and the modules it refers to, in order of lines."""

    digest: str
    imports: tuple[Import, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a closure. text: its file's bytes.

    tree: its syntax tree if it was parsed for this walk, the receiver's to change; None if it was parsed before.
    """

    name: str
    path: Path
    text: bytes
    source: Source
    tree: ast.Module | None


Find = Callable[[str], SourceFile | None]
"""A module's file by its dotted name; None where there is none."""

# What `parse_source` has found, by its arguments.
_SOURCES: dict[tuple[bytes, str, bool, str], Source] = {}


def import_closure(*entries: str, packages: Sequence[str] = ("pgolf",), root: Path | None = None) -> dict[str, Path]:
    """Every module inside `packages` that `entries` reach by static import, in order of names, with its file.

    Imports are followed wherever they stand (functions included), except under `if TYPE_CHECKING:`; the `__init__`
    of every parent package belongs to the closure, apart from the list of lazy exports, pgolf/__init__.py.
    root: the folder that holds the packages (default: the code that this process runs).
    Raises ConfigError for an entry or import that has no file, a star import, a dynamic import, or source that
    does not parse.
    """
    return dict(sorted((module.name, module.path) for module in walk_closure(*entries, packages=packages, root=root)))


def code_digests(
    *entries: str,
    packages: Sequence[str] = ("pgolf",),
    root: Path | None = None,
    neutral: Sequence[str] = BYTES_NEUTRAL,
) -> dict[str, str]:
    """Module name -> digest of its code, over the import closure of `entries` without the `neutral` modules."""
    closure = walk_closure(*entries, packages=packages, root=root)
    return dict(sorted((module.name, module.source.digest) for module in closure if module.name not in neutral))


def walk_closure(*entries: str, packages: Sequence[str] = ("pgolf",), root: Path | None = None) -> Iterator[Module]:
    """The modules of `import_closure`, each once, as they are found. Raises ConfigError like it."""
    if not entries:
        raise ConfigError("an import closure needs at least one entry module, got none")
    find = _running if root is None else _Folder(root)
    waiting: list[tuple[str, str]] = []
    for entry in entries:
        if not _is_inside(entry, packages):
            raise ConfigError(f"entry module {entry!r} lies outside the packages {', '.join(packages)}")
        waiting.append((entry, "the entry module"))
    seen: set[str] = set()
    while waiting:
        name, wanted_by = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = find(name)
        if file is None:
            raise ConfigError(f"module {name!r}, wanted by {wanted_by}, has no file under {root or CODE.root}")
        source, tree = _parsed(file.text, name, file.is_package, file.path)
        if name not in EXPORT_LISTS:
            yield Module(name, Path(file.path), file.text, source, tree)
        parent = name.rpartition(".")[0]
        if parent and parent not in EXPORT_LISTS:
            waiting.append((parent, f"{name} (its package)"))
        for reference in source.imports:
            at = f"{file.path}:{reference.line}"
            if _is_inside(reference.name, packages) and _is_followed(reference, at, find):
                waiting.append((reference.name, at))
    if seen <= set(EXPORT_LISTS):
        raise ConfigError(f"the import closure of {', '.join(entries)} is empty; name a module that computes something")


def module_digest(path: Path) -> str:
    """sha256 (hex) of a module's syntax tree, blind to comments, docstrings, bare `pass` and formatting.

    Fields that are empty are left out, so that fields which later Python versions add (3.12: type_params) change
    nothing. What remains tied to the interpreter is how its parser splits the pieces of nested f-strings.
    A module that mentions `__doc__` keeps its docstrings, since they can decide what it does.
    Raises ConfigError if the file cannot be read or parsed.
    """
    return parse_source(_read_bytes(path), path.stem, path.name == "__init__.py", str(path)).digest


def parse_source(source: bytes, module: str, is_package: bool, where: str) -> Source:
    """Digest and imports of one module: a pure function of its arguments, so its results are kept.

    module: the dotted name, from which relative imports are resolved. where: how errors name the file.
    Raises ConfigError for source that does not parse and for imports of a computed name.
    """
    return _parsed(source, module, is_package, where)[0]


def _parsed(source: bytes, module: str, is_package: bool, where: str) -> tuple[Source, ast.Module | None]:
    """`parse_source`, and the syntax tree if it had to be made."""
    key = (source, module, is_package, where)
    known = _SOURCES.get(key)
    if known is not None:
        return known, None
    try:
        tree = syntax_tree(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise ConfigError(f"{where}:{line}: cannot be parsed ({error}); a stage's code must be valid Python") from error
    pieces: list[str] = []
    _write_canonical(tree, pieces, keep_docstrings=b"__doc__" in source)
    digest = hashlib.sha256("".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()
    package = module if is_package else module.rpartition(".")[0]
    found = _SOURCES[key] = Source(digest, _imports(tree, package, where))
    return found, tree


def syntax_tree(source: bytes) -> ast.Module:
    """The source's syntax tree. Raises SyntaxError, ValueError.

    One thread at a time, and again where another library's thread parsed meanwhile: CPython 3.11 counts the depth of
    all its threads' trees in one place, and ends with a SystemError when they meet (seen in a flow of 14 tasks).
    """
    with _PARSING:
        for _ in range(_PARSE_TRIES - 1):
            try:
                return ast.parse(source)
            except SystemError:
                continue
        return ast.parse(source)


def is_bare_string(statement: ast.AST) -> bool:
    """Whether a statement is nothing but a string: a docstring, or a note."""
    return (
        type(statement) is ast.Expr and type(statement.value) is ast.Constant and isinstance(statement.value.value, str)
    )


def _is_followed(reference: Import, at: str, find: Find) -> bool:
    name = reference.name
    if reference.kind == "star":
        raise ConfigError(f"{at}: `from {name} import *` hides what it brings in; import the names themselves")
    if reference.kind == "dynamic":
        raise ConfigError(
            f"{at}: the import of {name!r} by a call cannot be followed, so a change behind it would go unnoticed; "
            "write an import statement"
        )
    if reference.kind == "attribute":
        return name not in EXPORT_LISTS and find(name) is not None
    if name in EXPORT_LISTS:
        raise ConfigError(
            f"{at}: imports {name!r} itself, whose lazy exports cannot be followed; "
            f"import the module that defines the name, as in `from {name}.budget import ...`"
        )
    return True


def _is_inside(name: str, packages: Sequence[str]) -> bool:
    return name.partition(".")[0] in packages


def _running(name: str) -> SourceFile | None:
    """A module's file as this process runs it."""
    return CODE.files.get(name)


class _Folder:
    """Finds modules below a folder; every file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, SourceFile | None] = {}

    def __call__(self, name: str) -> SourceFile | None:
        if name not in self._found:
            base = self._root.joinpath(*name.split("."))
            # A folder shadows a file of the same name, as it does for Python's own import.
            paths = (base / "__init__.py", base.with_name(base.name + ".py"))
            path = next((path for path in paths if path.is_file()), None)
            self._found[name] = None if path is None else SourceFile(str(path), _read_bytes(path))
        return self._found[name]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); a stage's code must be readable") from error


def _write_canonical(node: ast.AST, pieces: list[str], *, keep_docstrings: bool) -> None:
    """Append `Name(field=value;…)` for the tree under `node`: ast.dump's job at a third of its time."""
    kind = type(node)
    if kind is ast.Constant:
        value = node.value  # type: ignore[attr-defined]
        pieces.append(f"{type(value).__name__}:{value!r};")
        return
    if kind is ast.Name:
        pieces.append(f"Name:{node.id};")  # type: ignore[attr-defined]
        return
    pieces.append(f"{kind.__name__}(")
    for field in kind._fields:
        if field in _SKIPPED_FIELDS:
            continue
        value = getattr(node, field, None)
        if value is None:
            continue
        if isinstance(value, ast.AST):
            pieces.append(f"{field}=")
            _write_canonical(value, pieces, keep_docstrings=keep_docstrings)
        elif isinstance(value, list):
            if not value:
                continue
            pieces.append(f"{field}=[")
            for item in value:
                if isinstance(item, ast.AST):
                    if type(item) is ast.Pass or (not keep_docstrings and is_bare_string(item)):
                        continue
                    _write_canonical(item, pieces, keep_docstrings=keep_docstrings)
                else:  # None stands for `**mapping` in a dict display; strings are names after `global`
                    pieces.append(f"{item};")
            pieces.append("]")
        else:
            pieces.append(f"{field}={value};")
    pieces.append(")")


def _imports(tree: ast.Module, package: str, where: str) -> tuple[Import, ...]:
    """Every name a tree refers to: import statements and calls, and dotted names reached through what they bind."""
    found: dict[tuple[str, str], Import] = {}
    bound: dict[str, str] = {}
    dotted_names: list[tuple[list[str], int]] = []

    def add(name: str, line: int, kind: Literal["module", "attribute", "star", "dynamic"]) -> None:
        found.setdefault((name, kind), Import(name, line, kind))

    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Name, ast.Constant)):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, node.lineno, "module")
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            base = _from_base(node, package, where)
            # A list of lazy exports is not followed, so what is taken from it must itself be a module.
            from_exports = base in EXPORT_LISTS
            for alias in node.names:
                if alias.name == "*":
                    add(base, node.lineno, "star")
                else:
                    add(f"{base}.{alias.name}", node.lineno, "module" if from_exports else "attribute")
                    bound[alias.asname or alias.name] = f"{base}.{alias.name}"
            if not from_exports:
                add(base, node.lineno, "module")
        elif isinstance(node, ast.Attribute) and (names := _dotted_name(node)) is not None:
            dotted_names.append((names, node.lineno))
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting.extend(node.orelse)
        else:
            if isinstance(node, ast.Call) and (target := _dynamic_target(node, where)) is not None:
                add(target, node.lineno, "dynamic")
            waiting.extend(ast.iter_child_nodes(node))
    # `import pgolf.a` also binds pgolf, and `from pgolf import a` binds a package: their submodules are in reach
    # without a statement of their own.
    for names, line in dotted_names:
        if names[0] in bound:
            full = [*bound[names[0]].split("."), *names[1:]]
            for length in range(2, len(full) + 1):
                add(".".join(full[:length]), line, "attribute")
    return tuple(sorted(found.values(), key=lambda reference: (reference.line, reference.name, reference.kind)))


def _from_base(node: ast.ImportFrom, package: str, where: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".") if package else []
    if node.level > len(parents):
        raise ConfigError(f"{where}:{node.lineno}: a relative import climbs {node.level} levels out of {package!r}")
    return ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])


def _dotted_name(node: ast.Attribute) -> list[str] | None:
    names = [node.attr]
    value = node.value
    while isinstance(value, ast.Attribute):
        names.append(value.attr)
        value = value.value
    if not isinstance(value, ast.Name):
        return None
    names.append(value.id)
    return names[::-1]


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _dynamic_target(node: ast.Call, where: str) -> str | None:
    """The module name in a call that imports; None for other calls. Raises ConfigError if the name is computed."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name not in _DYNAMIC_IMPORTS:
        return None
    target = node.args[0] if node.args else None
    if isinstance(target, ast.Constant) and isinstance(target.value, str) and not target.value.startswith("."):
        return target.value
    raise ConfigError(
        f"{where}:{node.lineno}: {name}() of a computed or relative name cannot be followed, so a change behind it "
        "would go unnoticed; write an import statement"
    )
