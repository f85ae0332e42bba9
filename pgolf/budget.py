"""The byte budget, and how many bytes of it the code takes."""

import ast
import lzma
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pgolf.closure import import_closure, strip_prose

# Decimal, as in the rules: code plus packed weights, both counted in bytes on disk.
BUDGET_BYTES = 16_000_000

# What has to travel with the weights: the process that trains them and the one that scores them.
CODE_ENTRIES = ("pgolf.train.__main__", "pgolf.eval.score")

# 1 MiB of dictionary is more than all our source; the preset's own 64 MiB would only cost memory.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 20}]


def code_bytes(
    entries: Sequence[str] = CODE_ENTRIES, *, packages: Sequence[str] = ("pgolf",), root: Path | None = None
) -> int:
    """Length of the xz-packed source that training and evaluation import, without comments and docstrings.

    Only code counts, as `ast.unparse` writes it: editing a comment or the layout of a file changes nothing. This
    stands for the self-contained script that a submission ships, until that bundle exists; then the bundle's
    length replaces it.
    root: the folder that holds the packages (default: this pgolf's). Raises ConfigError like `import_closure`.
    """
    return len(packed_code(entries, packages=packages, root=root))


def packed_code(
    entries: Sequence[str] = CODE_ENTRIES, *, packages: Sequence[str] = ("pgolf",), root: Path | None = None
) -> bytes:
    """The xz stream whose length is `code_bytes`: the closure's modules in order of names, each under its name."""
    closure = import_closure(*entries, packages=packages, root=root)
    text = "".join(f"#{name}\n{_bare_code(path.read_bytes())}\n" for name, path in closure.items())
    return lzma.compress(text.encode("utf-8"), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=_FILTERS)


@lru_cache(maxsize=4096)
def _bare_code(source: bytes) -> str:
    return ast.unparse(strip_prose(ast.parse(source)))
