"""Writes pgolf/bundle/reserved_names.py: which names of ours the libraries have too.

`python -m bench.bundle_reserved` after the code that a script may hold has new names; tests/submission says when.
"""

import ast
import importlib
import textwrap
from pathlib import Path
from types import ModuleType

from pgolf.bundle.stands_for import STAND_INS
from pgolf.identity.closure import syntax_tree, walk_closure

# Modules whose objects the code handles.
_MODULES = """
argparse ast bz2 collections collections.abc concurrent.futures contextlib copy ctypes dataclasses datetime enum
errno functools hashlib heapq importlib io itertools json logging lzma math mmap operator os os.path pathlib
platform queue random re shutil signal socket stat string struct subprocess sys tempfile textwrap threading time
traceback types typing unicodedata warnings weakref zipfile numpy numpy.lib.stride_tricks numpy.random numpy.linalg
numpy.typing pyarrow pyarrow.ipc pyarrow.parquet pyarrow.compute torch torch.nn torch.nn.functional torch.nn.init
torch.nn.parameter torch.optim torch.distributed torch.cuda torch.backends torch.backends.cuda torch.backends.cudnn
torch.backends.mha torch.version torch.random torch.storage torch.autograd torch.utils torch.nn.attention
torch.linalg numba sentencepiece safetensors safetensors.torch zstandard brotli
"""
MODULES = _MODULES.split()


def library_names() -> set[str]:
    """Attributes of the modules, and of the classes in them."""
    found: set[str] = set(dir(int)) | set(dir(str)) | set(dir(bytes)) | set(dir(dict)) | set(dir(BaseException))
    for name in MODULES:
        module = importlib.import_module(name)
        # Which other modules are loaded is chance; a name that is reached through an import is known as such anyway.
        found |= {one for one in dir(module) if one in MODULES or type(vars(module).get(one)) is not ModuleType}
        for value in vars(module).values():
            if issubclass(type(value), type):  # `isinstance` asks torch's deprecated names, which then warn
                annotations = vars(value).get("__annotations__")
                found |= set(dir(value)) | (set(annotations) if isinstance(annotations, dict) else set())
    for made in (ast.parse(""), Path(), memoryview(b""), slice(0), range(0), iter(()), frozenset(), 1j, OSError()):
        found |= set(dir(made))
    return found


def own_names() -> set[str]:
    """Every name in the code that a script may hold."""
    found: set[str] = set()
    for module in walk_closure("pgolf.bundle.standalone", STAND_INS):
        for node in ast.walk(syntax_tree(module.text)):
            found |= {
                value for field in ("attr", "arg", "name", "id") if isinstance(value := getattr(node, field, 0), str)
            }
    return found


def reserved() -> list[str]:
    """Names of ours that a library has too, sorted."""
    return sorted(name for name in own_names() & library_names() if not name.startswith("__"))


def main() -> None:
    """Write the file."""
    names = textwrap.fill(" ".join(reserved()), width=118, break_long_words=False, break_on_hyphens=False)
    path = Path(__file__).parents[1] / "pgolf/bundle/reserved_names.py"
    path.write_text(
        '"""Names of ours that a library has too: as attributes they keep their spelling in a script.\n\n'
        "Written by `python -m bench.bundle_reserved`, so that a plan, which needs the list, loads no library; "
        'a\ntest holds that it is complete.\n"""\n\n_NAMES = """\n'
        + names
        + '\n"""\n\nRESERVED = frozenset(_NAMES.split())\n'
    )


if __name__ == "__main__":
    main()
