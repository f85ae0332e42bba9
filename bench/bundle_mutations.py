"""Which functions of a recipe's script could be dropped without a run noticing: those named here, with reasons.

`python -m bench.bundle_mutations pr792-tiny demo`: trains and evaluates by the script under a profiler. A function that
ran cannot be dropped: its body would be an error. What did not run is in SURVIVORS, for a circumstance that these runs
do not have, or it is code that the bundle should leave out. Compiled loops are seen where numba compiles them.
"""

import argparse
import ast
import contextlib
import io
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any

from pgolf.bundle.built import Built
from pgolf.bundle.bundle import built
from pgolf.bundle.script import program_of
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo

# Functions (module.function, with * for any) that runs on one CPU process do not reach, and in what circumstance they
# would. This table is checked: what is in neither it nor a run fails the tool.
_RANKS = "several ranks under torchrun; tests/submission runs two"
_CUDA = "on CUDA"
_DATA = "data of another kind: no byte shards, no manifest, or a folder that is refused"
_TINY = "probabilities below the least double"
_STRUCTURE = "named by code that a switch leaves, and costs a few bytes: abstract methods, a table's other entries"
_POLICY = "reached by name only: another policy or method of quantization"
SURVIVORS: dict[str, str] = {
    "pgolf.ranks.*": _RANKS,
    "pgolf.bundle.standalone._leave": _RANKS,
    "pgolf.eval.forward._Slot.*": _CUDA,
    "pgolf.eval.forward._pipelined_copies": _CUDA,
    "pgolf.identity.environment.fix_cublas_workspace": _CUDA,
    "pgolf.model.kernels._last_queries_by_flash": _CUDA,
    "pgolf.corpus.byte_lengths.*": _DATA,
    "pgolf.corpus.data_files.*": _DATA,
    "pgolf.corpus.model_proto.*": _DATA,
    "pgolf.mix.mixture.*": _TINY,
    "pgolf.mix.interpolation.Interpolation.tiles": _TINY,
    "pgolf.mix.grid._Work._add_left_out": _TINY,
    "pgolf.mix.grid._slice_records": _TINY,
    "pgolf.mix.grid._slice": "Bayes mixtures; ruled out, and raises",
    "pgolf.mix.bayes.padded": "Bayes mixtures",
    "pgolf.mix.grid.Grid.restore": "a resumed mix",
    "pgolf.mix.interpolation._constant": _STRUCTURE,
    "pgolf.mix.cells._hinted": "mixers that need hints",
    "pgolf.counts.hint_stage.columns_of": "hints",
    "pgolf.eval.hints.hint_orders": "hints; ruled out, and raises",
    "pgolf.eval.scoring.Scoring.facts": "one process without ranks to join",
    "pgolf.eval.scoring._Meter.*": "a network that learns the text before it scores it",
    "pgolf.eval.windows.WindowPlan.windows": _STRUCTURE,
    "pgolf.model.fake_quant.fake_quantized": "late quantization-aware training",
    "pgolf.pack.named_arrays.*": "the codec rans",
    "pgolf.pack.packing.PackedParts.forget_oldest": "more packed parts than are remembered",
    "pgolf.pack.quantizer.*": _POLICY,
    "pgolf.quant.*": _POLICY,
    "pgolf.run_options.ignore_progress": "nobody to report to",
    "pgolf.bundle.stand_ins.complaint": "a packed model with fields of another version",
    "pgolf.bundle.stand_ins.over_budget": "a model over the budget",
    "pgolf.train.schedule.rate_scale_by_clock": "training by the clock",
    "pgolf.train.state.TrainingState.snapshots": "averaging by snapshots",
}


def functions_of(script: Built) -> dict[str, set[int]]:
    """Every function of the program, as module.function -> lines on which it may begin."""
    found: dict[str, set[int]] = {}
    tree = ast.parse(program_of(script.script))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.lineno in script.lines:
            source = script.lines[node.lineno]
            lines = {node.lineno, *(one.lineno for one in node.decorator_list)}
            found.setdefault(f"{source.module}.{source.function}", set()).update(lines)
    return found


def compiled_by_numba(script: Built) -> set[str]:
    """Functions that never run as Python."""
    tree = ast.parse(program_of(script.script))
    return {
        f"{source.module}.{source.function}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(one) for one in node.decorator_list)
        for source in [script.lines[node.lineno]]
    }


@contextlib.contextmanager
def calls_seen(found: set[int]) -> Iterator[None]:
    """Notes the first line of every function of a script that is called inside, in any thread."""

    def hook(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.endswith(":code"):
            found.add(frame.f_code.co_firstlineno)

    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def lines_run(recipe: Recipe, script: Built, folder: Path) -> set[int]:
    """First lines of the functions that training and evaluation by the script have called."""
    nodes = [node for node in pipeline(recipe) if node.name == "data"]
    data = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(device="cpu"))["data"].path
    folder = folder / "alone"
    folder.mkdir()
    for path in (*data.glob("datasets/*/*.bin"), *data.glob("tokenizers/*.model")):
        shutil.copy(path, folder / path.name)
    path = folder / "train_gpt.py"
    path.write_bytes(script.script)
    found: set[int] = set()
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "pgolf"}
    for command in ("train", "eval"):
        arguments = [command, "--data", str(folder), "--artifact", str(folder / "model.pgolf"), "--threads", "2"]
        namespace: dict[str, Any] = {"__name__": "script", "__file__": str(path)}
        with calls_seen(found), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(script.script, str(path), "exec"), namespace)
            assert namespace["m"].start(arguments, str(path), {}) == 0
        sys.modules |= ours
    return found


def not_run(recipe: Recipe) -> list[str]:
    """Functions of the recipe's script that could be dropped without a run noticing, by name."""
    script = built(recipe)
    with tempfile.TemporaryDirectory() as folder:
        lines = lines_run(recipe, script, Path(folder))
    compiled = compiled_by_numba(script)
    return sorted(name for name, own in functions_of(script).items() if not own & lines and name not in compiled)


def reason_for(function: str) -> str | None:
    """In what circumstance a function runs, if not in these runs."""
    return next((reason for pattern, reason in SURVIVORS.items() if fnmatch(function, pattern)), None)


def main() -> int:
    """Print what did not run, as JSON: function -> reason, null where there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    found: dict[str, str | None] = {}
    for name in parser.parse_args().recipes:
        found |= {function: reason_for(function) for function in not_run(recipe_named(name))}
    print(json.dumps(found, indent=1))
    return 1 if None in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())
