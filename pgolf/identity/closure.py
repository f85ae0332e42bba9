"""A stage's code as its cache key sees it: every module its entry module reaches by import, and a digest of each.

Editing a function reruns every stage whose entry module reaches it; editing a comment reruns nothing. Modules of others
count like ours where no distribution installs them; of distributions the version counts. Nothing is imported or
executed here; what is parsed is what this process runs (`pgolf.identity.snapshot`), or files of a folder.
"""

import ast
import hashlib
import re
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal, Protocol

from pgolf.errors import ConfigError
from pgolf.identity.origins import distributions_of, is_own_code
from pgolf.identity.parse_cache import ParseCache, beside
from pgolf.identity.snapshot import CODE, IMPORTER, SourceFile

# Modules left out of a stage's identity. A stage that raises makes no output, so the exception classes and their
# messages cannot change bytes; a test holds that pgolf/errors.py defines nothing but exception classes. The others name
# and load the code whose digests the key holds; training reaches them because it starts ranks.
BYTES_NEUTRAL = (
    "pgolf.errors",
    "pgolf.identity.closure",
    "pgolf.identity.kernel_cache",
    "pgolf.identity.parse_cache",
    "pgolf.identity.snapshot",
)

# Modules that may do what a stage's code may not: they load the code, and clean the environment of stages.
MAY_HIDE = (*BYTES_NEUTRAL, "pgolf.identity.environment")

# The package's list of lazy exports names everything and computes nothing: following it would tie every stage to
# every module.
EXPORT_LISTS = ("pgolf",)

# Fields that repeat what position already says (ctx) or that formatting and comments decide (kind, type_comment).
_SKIPPED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_DYNAMIC_IMPORTS = ("import_module", "__import__")
_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "expandvars"})
_RUNNING_TEXT = frozenset({"exec", "eval", "compile"})
_PROCESSES = frozenset(
    {"multiprocessing", "ProcessPoolExecutor", "multiprocessing_context", "forkserver"}
    | {"_posixsubprocess", "posix_spawn", "posix_spawnp"}
)
_TEXT_OF_CODE = frozenset(
    {"getsource", "getsourcelines", "getdoc", "getcomments", "getblock", "findsource", "linecache"}
)
_DOCSTRINGS = frozenset({"__doc__", "model_json_schema", "json_schema", "schema_json", "pydoc"})
# Of these an argument's name or a string says as much as a name does.
_ALSO_AS_TEXT = frozenset({"__doc__", "multiprocessing_context", "dir_fd"})
_LOADERS = frozenset(
    {"spec_from_file_location", "spec_from_loader", "module_from_spec", "SourceFileLoader", "SourcelessFileLoader"}
    | {"ExtensionFileLoader", "run_path", "run_module", "load_source"}
)
# Where none of these words stands, a source hides nothing. As attributes exec, eval and compile are others' methods.
_WORDS = "|".join(
    sorted(
        {
            *_DYNAMIC_IMPORTS,
            *_ENVIRONMENT,
            *_LOADERS,
            *_TEXT_OF_CODE,
            *_PROCESSES,
            *_DOCSTRINGS,
            *_ALSO_AS_TEXT,
            "runpy",
        }
    )
)
_HIDING_WORD = re.compile(rf"\b(?:{_WORDS})\b|(?<![.\w])(?:{'|'.join(sorted(_RUNNING_TEXT))})\b")
_PARSING = threading.Lock()
_PARSE_TRIES = 10


Kind = Literal["module", "attribute", "star", "dynamic", "computed"]


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a source line refers to.

    kind: "module" must have a file; "attribute" may be a submodule or anything else; "star" and "dynamic" are
    refused when the name lies inside our packages, because what they bring in cannot be seen; so is "computed", a call
    whose module nobody knows and whose own name stands here.
    """

    name: str
    line: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Source:
    """What one parsed module contributes: the digest of its code, and the modules it refers to, in order of lines.

    hidden: lines that read or run what no import statement shows, each with what it does.
    """

    digest: str
    imports: tuple[Import, ...]
    hidden: tuple[tuple[int, str], ...]


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


class Files(Protocol):
    """Where the source of modules is found."""

    def covers(self, top: str) -> bool:
        """Whether modules below this top-level name are followed."""
        ...

    def file(self, module: str) -> SourceFile | None:
        """A module's file by its dotted name; None where there is none."""
        ...

    def is_folder(self, module: str) -> bool:
        """Whether a module is a folder without __init__.py, which holds others and has no code."""
        ...


# What `parse_source` has found, by its arguments.
_SOURCES: dict[tuple[bytes, str, bool, str], Source] = {}
_KEPT = ParseCache(beside(__name__, "parsed"), (__name__,))


@dataclass(frozen=True, slots=True)
class StageCode:
    """All the code that a stage reaches. modules: name -> digest. distributions: name -> version, "absent" if there is
    none: what the stage does without it may differ.
    """

    modules: Mapping[str, str]
    distributions: Mapping[str, str]


@cache
def stage_code(entry: str) -> StageCode:
    """The code behind a stage's entry module. Raises ConfigError like `import_closure`, and for what cannot be named.

    What cannot be named is code whose bytes are not those that run, and what reads more than a key knows: environment
    variables, `exec`, loaders of files.
    """
    outside: set[str] = set()
    modules = list(walk_closure(entry, outside=outside))
    for module in modules:
        if module.source.hidden and module.name not in MAY_HIDE:
            line, what = module.source.hidden[0]
            raise ConfigError(
                f"{module.path}:{line}: {what}, so that a stage would do what its key does not show; pass a value in "
                "the stage's config, data as an input, and write code into a module that is imported"
            )
    digests = sorted((module.name, module.source.digest) for module in modules if module.name not in BYTES_NEUTRAL)
    return StageCode(dict(digests), _distributions_behind(outside))


def distributions_reached(*entries: str) -> dict[str, str]:
    """Versions of the distributions that the import closure of `entries` imports. Raises ConfigError like it."""
    outside: set[str] = set()
    for _module in walk_closure(*entries, outside=outside):
        pass
    return _distributions_behind(outside)


def distributions_imported(modules: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions that modules of the running code import themselves.

    Of a closure they are what its key holds. Raises ConfigError for source that does not parse.
    """
    files = _Running()
    parsed = (
        _parsed(file.text, name, file.is_package, file.path)[0]
        for name in modules
        if name not in EXPORT_LISTS and name not in BYTES_NEUTRAL and (file := CODE.files.get(name)) is not None
    )
    tops = {
        reference.name.partition(".")[0] for one in parsed for reference in one.imports if reference.kind != "computed"
    }
    return _distributions_behind(top for top in tops - sys.stdlib_module_names if not files.covers(top))


def _distributions_behind(tops: Iterable[str]) -> dict[str, str]:
    return dict(sorted((name, version) for top in tops for name, version in _distributions(top).items()))


def _distributions(top: str) -> Mapping[str, str]:
    """Versions of all distributions behind a top-level name."""
    if found := distributions_of(top):
        return found
    spec = IMPORTER.look_for(top)
    return {} if spec is not None and spec.origin is None else {top: "absent"}


def import_closure(*entries: str, packages: Sequence[str] = ("pgolf",), root: Path | None = None) -> dict[str, Path]:
    """Every module that `entries` reach by static import and no distribution installs, by name, with its file.

    Imports are followed wherever they stand (functions included), except under `if TYPE_CHECKING:`; the `__init__`
    of every parent package belongs to the closure, apart from the list of lazy exports, pgolf/__init__.py.
    root: the folder that holds `packages`, outside of which nothing is followed (default: the code that runs).
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


def walk_closure(
    *entries: str,
    packages: Sequence[str] = ("pgolf",),
    root: Path | None = None,
    outside: set[str] | None = None,
) -> Iterator[Module]:
    """The modules of `import_closure`, each once, as they are found. Raises ConfigError like it.

    outside: receives the top-level names that are imported and not followed, but for the standard library's and those
    that neutral modules import.
    """
    if not entries:
        raise ConfigError("an import closure needs at least one entry module, got none")
    files: Files = _Running() if root is None else _Folder(root, packages)
    waiting: list[tuple[str, str]] = []
    for entry in entries:
        if not files.covers(entry.partition(".")[0]):
            raise ConfigError(f"entry module {entry!r} lies outside the packages {', '.join(packages)}")
        waiting.append((entry, "the entry module"))
    seen: set[str] = set()
    while waiting:
        name, wanted_by = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = files.file(name)
        if file is None and files.is_folder(name):
            continue
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
            top = reference.name.partition(".")[0]
            if reference.kind == "computed":
                raise ConfigError(
                    f"{at}: {reference.name}() of a computed or relative name cannot be followed, so a change behind "
                    "it would go unnoticed; write an import statement"
                )
            if not files.covers(top):
                if outside is not None and top not in sys.stdlib_module_names and name not in BYTES_NEUTRAL:
                    outside.add(top)
            elif _is_followed(reference, at, files):
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
    Raises ConfigError for source that does not parse.
    """
    return _parsed(source, module, is_package, where)[0]


def _parsed(source: bytes, module: str, is_package: bool, where: str) -> tuple[Source, ast.Module | None]:
    """`parse_source`, and the syntax tree if it had to be made."""
    key = (source, module, is_package, where)
    known = _SOURCES.get(key)
    if known is not None:
        return known, None
    if (kept := _KEPT.get(module, source)) is not None:
        digest, imports, hidden = kept
        lines = tuple((line, what) for line, what in hidden)
        found = _SOURCES[key] = Source(digest, tuple(Import(*reference) for reference in imports), lines)
        return found, None
    try:
        tree = syntax_tree(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise ConfigError(f"{where}:{line}: cannot be parsed ({error}); a stage's code must be valid Python") from error
    pieces: list[str] = []
    _write_canonical(tree, pieces, keep_docstrings=b"__doc__" in source)
    digest = hashlib.sha256("".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()
    package = module if is_package else module.rpartition(".")[0]
    hidden = tuple(_hidden(tree)) if _may_hide(source) else ()
    found = _SOURCES[key] = Source(digest, _imports(tree, package, where), hidden)
    imports = [(reference.name, reference.line, reference.kind) for reference in found.imports]
    _KEPT.put(module, source, (digest, imports, hidden))
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


def _is_followed(reference: Import, at: str, files: Files) -> bool:
    name = reference.name
    if reference.kind == "star":
        raise ConfigError(f"{at}: `from {name} import *` hides what it brings in; import the names themselves")
    if reference.kind == "dynamic":
        raise ConfigError(
            f"{at}: the import of {name!r} by a call cannot be followed, so a change behind it would go unnoticed; "
            "write an import statement"
        )
    if reference.kind == "attribute":
        return name not in EXPORT_LISTS and files.file(name) is not None
    if name in EXPORT_LISTS:
        raise ConfigError(
            f"{at}: imports {name!r} itself, whose lazy exports cannot be followed; "
            f"import the module that defines the name, as in `from {name}.budget import ...`"
        )
    return True


class _Running:
    """What this process runs."""

    def __init__(self) -> None:
        self._not_followed: set[str] = set()
        if sys.meta_path[0] is not IMPORTER:  # a finder that somebody put before it would read files of ours
            sys.meta_path[:] = [IMPORTER, *(finder for finder in sys.meta_path if finder is not IMPORTER)]

    def covers(self, top: str) -> bool:
        if top in IMPORTER.packages:
            return True
        if top in self._not_followed:
            return False
        spec = PathFinder.find_spec(top) if top in sys.stdlib_module_names else IMPORTER.look_for(top)
        if spec is None or not is_own_code(spec):
            self._not_followed.add(top)
            return False
        if top in sys.stdlib_module_names:
            raise ConfigError(
                f"{spec.origin} hides {top!r} of Python's standard library from the stages; rename it, or take its "
                "folder off PYTHONPATH"
            )
        return True

    def file(self, module: str) -> SourceFile | None:
        top = module.partition(".")[0]
        if top in IMPORTER.packages:
            loaded = sys.modules.get(module)
            loader = getattr(getattr(loaded, "__spec__", None), "loader", None)
            is_ours = loader is IMPORTER or loaded is IMPORTER.module or module in IMPORTER.earlier
            if loaded is not None and not is_ours:
                raise ConfigError(
                    f"module {module!r} was loaded by {type(loader).__name__}, which an import hook chose, so its key "
                    "might not be of the code that runs; install import hooks after the stages have run, or not at all"
                )
            return CODE.files.get(module)
        spec = IMPORTER.look_for(module)
        if spec is None or spec.origin is None:
            return None
        if module not in CODE.files:
            raise ConfigError(
                f"module {module!r} is {spec.origin}, and no installed distribution has it; a stage's code must be "
                "Python source or belong to a distribution, else its bytes cannot be named"
            )
        loaded = sys.modules.get(module)
        if loaded is not None and getattr(loaded.__spec__, "loader", None) is not IMPORTER:
            raise ConfigError(
                f"module {module!r} ({spec.origin}) was imported before a stage asked for it, so its key might not be "
                "of the code that runs; import pgolf's stages or ask for a plan first, or install the module as a "
                "distribution"
            )
        return CODE.files[module]

    def is_folder(self, module: str) -> bool:
        if module.partition(".")[0] in IMPORTER.packages:
            return False
        spec = IMPORTER.look_for(module)
        return spec is not None and spec.origin is None


class _Folder:
    """Packages below a folder; every file is read once."""

    def __init__(self, root: Path, packages: Sequence[str]) -> None:
        self._root, self._packages = root, packages
        self._found: dict[str, SourceFile | None] = {}

    def covers(self, top: str) -> bool:
        return top in self._packages

    def file(self, module: str) -> SourceFile | None:
        if module not in self._found:
            base = self._root.joinpath(*module.split("."))
            # A folder shadows a file of the same name, as it does for Python's own import.
            paths = (base / "__init__.py", base.with_name(base.name + ".py"))
            path = next((path for path in paths if path.is_file()), None)
            self._found[module] = None if path is None else SourceFile(str(path), _read_bytes(path))
        return self._found[module]

    def is_folder(self, module: str) -> bool:
        return False


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

    def add(name: str, line: int, kind: Kind) -> None:
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
            if isinstance(node, ast.Call) and (called := _name_of_import(node)) is not None:
                target = _target(node)
                add(target or called, node.lineno, "computed" if target is None else "dynamic")
            waiting.extend(ast.iter_child_nodes(node))
    # `import pgolf.a` also binds pgolf, and `from pgolf import a` binds a package: their submodules are in reach
    # without a statement of their own.
    for names, line in dotted_names:
        if names[0] in bound:
            full = [*bound[names[0]].split("."), *names[1:]]
            for length in range(2, len(full) + 1):
                add(".".join(full[:length]), line, "attribute")
    return tuple(sorted(found.values(), key=lambda reference: (reference.line, reference.name, reference.kind)))


def _may_hide(source: bytes) -> bool:
    """Whether any of the words for which `_hidden` looks stands in a source, as the parser reads it."""
    if any(b"coding" in line for line in source.splitlines()[:4]):  # utf-7 spells any word in other letters
        return True
    try:
        text = source.decode()
    except UnicodeDecodeError:
        return True
    # Names may be spelled with other letters; the parser takes this form of them.
    return _HIDING_WORD.search(text if text.isascii() else unicodedata.normalize("NFKC", text)) is not None


def _hidden(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and description of whatever does more than a digest of code shows."""
    nodes = [*ast.walk(tree)]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    others = _names_of_their_own(tree)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.keyword) and node.arg in _ALSO_AS_TEXT:
            name = node.arg or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _ALSO_AS_TEXT:
            name = node.value
        elif isinstance(node, ast.ImportFrom):
            name = (node.module or "").partition(".")[0]
        elif isinstance(node, ast.alias):
            name = node.name.rpartition(".")[2]
            if node.name.startswith("multiprocessing."):
                name = "multiprocessing"
            if name in _DYNAMIC_IMPORTS and node.asname not in (None, name):
                yield node.lineno, f"calls {name} by another name"
        elif isinstance(node, ast.Name):
            name = node.id
            if name in _RUNNING_TEXT and isinstance(node.ctx, ast.Load) and id(node) not in others:
                yield node.lineno, f"uses {name}()"
            if name == "__doc__":  # its own, which it therefore keeps
                continue
        else:
            continue
        if name in _DYNAMIC_IMPORTS and id(node) not in called and not isinstance(node, ast.alias):
            yield node.lineno, f"hands on {name}"
        elif name in _ENVIRONMENT:
            yield node.lineno, f"reads environment variables ({name})"
        elif name in _TEXT_OF_CODE:
            yield node.lineno, f"reads the text of code by {name}, whose comments are in no digest"
        elif name in _DOCSTRINGS:
            yield node.lineno, f"reads a docstring ({name}), which is in no digest"
        elif name == "dir_fd":
            yield node.lineno, "opens files by dir_fd, so that nothing shows where they lie"
        elif name in _PROCESSES:
            yield node.lineno, f"starts processes by {name}, which would run the code as it is on the disk then"
        elif name in _LOADERS or name == "runpy":
            yield node.lineno, f"loads code by {name}"


def _names_of_their_own(tree: ast.Module) -> set[int]:
    """ids of the nodes that say exec, eval or compile and mean what the module itself calls so."""
    found: set[int] = set()

    def visit(node: ast.AST, bound: frozenset[str]) -> None:
        if isinstance(node, ast.Name) and node.id in bound:
            found.add(id(node))
        inside: frozenset[str] = bound
        body: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]  # type: ignore[assignment]
            inside = bound | {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
            inside |= frozenset(_bound(body, in_function=True))
        elif isinstance(node, ast.Module):
            inside = frozenset(_bound(node.body, in_function=False))
            body = [*node.body]
        within = {id(statement) for statement in body}
        for child in ast.iter_child_nodes(node):
            visit(child, inside if id(child) in within else bound)

    visit(tree, frozenset())
    return found


def _bound(body: Sequence[ast.AST], *, in_function: bool) -> Iterator[str]:
    """Which of exec, eval and compile a scope binds to something else than what Python calls so."""
    waiting: list[ast.AST] = [*body]
    elsewhere: set[str] = set()
    names: list[str] = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
            continue
        if isinstance(node, ast.Global):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "builtins":
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign) and not in_function:  # else `eval = eval` would hide the use
            if any(isinstance(part, ast.Name) and part.id in _RUNNING_TEXT for part in ast.walk(node.value)):
                continue
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and in_function:
            names.append(node.id)
        if not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    yield from (name for name in names if name in _RUNNING_TEXT and name not in elsewhere)


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


def _name_of_import(node: ast.Call) -> str | None:
    """What a call that imports is called; None for other calls."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    return name if name in _DYNAMIC_IMPORTS else None


def _target(node: ast.Call) -> str | None:
    """The module that a call imports; None where that is computed or relative."""
    target = node.args[0] if node.args else None
    if isinstance(target, ast.Constant) and isinstance(target.value, str) and not target.value.startswith("."):
        return target.value
    return None
