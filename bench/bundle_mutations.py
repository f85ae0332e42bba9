"""Which functions of a recipe's script can be dropped without its runs noticing, by dropping every one of them.

`python -m bench.bundle_mutations demo --set train.steps=4`: trains, packs and evaluates by the script, and notes which
functions are entered (`bench.entered`). Then, in a process each, by its program without one function: where it trains
and packs if training enters it, where it evaluates if only that does, else both. A drop is broken if the process fails,
or another model or other numbers come out. Those that are not must be in NOT_ENTERED, or the tool fails.
"""

import argparse
import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.forked_programs import Programs
from pgolf.bundle.built import Built
from pgolf.bundle.bundle import built
from pgolf.bundle.script import GIVEN, program_of
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo

RANKS = "several ranks under torchrun"
WRONG = "a command, a file or a model is wrong"
UNCOUNTED = "data without shards of bytes, or with a tokenizer twice"
_LOST = "a rank fails, or another one does not come"
_CUDA = "on CUDA"
_TINY = "probabilities below the least double"

# Functions, as module.function, that the script's one command does not enter in one process on a CPU, on data as
# `pgolf.corpus` writes it, and in what circumstance they are. Whatever else is in a script is entered by the runs that
# are compared with the pipeline, and what is listed is not (tests/recipes/test_systems.py); those of the first three
# circumstances are entered by tests/bundle/test_bundle.py.
NOT_ENTERED: dict[str, str] = {
    "pgolf.bundle.stand_ins.complaint": WRONG,
    "pgolf.bundle.stand_ins.over_budget": "no rung of the downgrade fits the budget",
    "pgolf.corpus.byte_lengths.ByteTable.from_processor": UNCOUNTED,
    "pgolf.corpus.byte_lengths.ByteTable.from_tokenizer": UNCOUNTED,
    "pgolf.corpus.byte_lengths.ByteTable.target_bytes": UNCOUNTED,
    "pgolf.corpus.byte_lengths.ByteTable.total_bytes": UNCOUNTED,
    "pgolf.corpus.data_files._Candidate.__str__": WRONG,
    "pgolf.corpus.data_files._content": UNCOUNTED,
    "pgolf.corpus.data_files._listed": WRONG,
    "pgolf.corpus.data_files._no_file": WRONG,
    "pgolf.corpus.data_files._walk.refuse": WRONG,
    "pgolf.eval.forward._Slot.__init__": _CUDA,
    "pgolf.eval.forward._Slot.read": _CUDA,
    "pgolf.eval.forward._Slot.send": _CUDA,
    "pgolf.eval.forward._pipelined_copies": _CUDA,
    "pgolf.identity.environment.fix_cublas_workspace": _CUDA,
    "pgolf.mix.grid._Work._add_left_out": _TINY,
    "pgolf.mix.grid._slice_records": _TINY,
    "pgolf.mix.interpolation.Interpolation.tiles": _TINY,
    "pgolf.mix.log_sums.scatter": _TINY,
    "pgolf.mix.mixture._zeros": _TINY,
    "pgolf.mix.mixture.exact_losses": _TINY,
    "pgolf.mix.mixture.probabilities": _TINY,
    "pgolf.model.kernels._last_queries_by_flash": _CUDA,
    "pgolf.pack.packing.PackedParts.forget_oldest": "more packed parts than are remembered",
    "pgolf.ranks.agreement._digest": RANKS,
    "pgolf.ranks.group.Ranks._together": RANKS,
    "pgolf.ranks.group.Ranks.gather": RANKS,
    "pgolf.ranks.group.Ranks.part": "several ranks, and Muon on banks of matrices",
    "pgolf.ranks.group._print_and_end": _LOST,
    "pgolf.ranks.group.join_group": RANKS,
    "pgolf.ranks.roll_call.RollCall.__init__": RANKS,
    "pgolf.ranks.roll_call.RollCall.come": RANKS,
    "pgolf.ranks.roll_call.RollCall.missing": _LOST,
    "pgolf.ranks.roll_call.RollCall.step": RANKS,
    "pgolf.ranks.roll_call.RollCall.watch": RANKS,
    "pgolf.ranks.roll_call.RollCall.watch.look": RANKS,
    "pgolf.ranks.roll_call.begin_roll_call": RANKS,
    "pgolf.ranks.roll_call.in_step": _LOST,
    "pgolf.ranks.roll_call.naming_lost_ranks": RANKS,
    "pgolf.ranks.roll_call.ranks_named": _LOST,
    "pgolf.run_options.ignore_progress": RANKS,
}


def functions_of(script: Built) -> dict[str, set[int]]:
    """Every function of the program, as module.function -> lines that say that it was entered.

    Without those of which the bundle has left nothing but the error that they are not to be entered.
    """
    found: dict[str, set[int]] = {}
    for node in ast.walk(ast.parse(program_of(script.script))):
        if isinstance(node, ast.FunctionDef) and node.lineno in script.lines and not _is_ruled_out(node):
            lines = {node.lineno, *(one.lineno for one in node.decorator_list)}
            found.setdefault(_name(script, node), set()).update(lines)
    return found


def _is_ruled_out(function: ast.FunctionDef) -> bool:
    (first, *rest) = function.body
    return not rest and isinstance(first, ast.Raise) and getattr(first.exc, "id", "") == "AssertionError"


def _name(script: Built, function: ast.FunctionDef) -> str:
    source = script.lines[function.lineno]
    return f"{source.module}.{source.function}"


def entered(script: Built, reports: Iterable[Path]) -> set[str]:
    """The functions that runs of `bench.entered` have entered."""
    lines = {int(line) for report in reports for line in report.read_text().split()}
    return {name for name, own in functions_of(script).items() if own & lines}


def without(script: Built, function: str) -> str:
    """The program without a function, or all of that name: its statement is gone."""
    tree = ast.parse(program_of(script.script))
    for parent in ast.walk(tree):
        for field in ("body", "orelse"):
            body = getattr(parent, field, None)
            if isinstance(body, list):
                kept = [
                    one
                    for one in body
                    if not isinstance(one, ast.FunctionDef)
                    or one.lineno not in script.lines
                    or _name(script, one) != function
                ]
                if len(kept) < len(body):
                    setattr(parent, field, kept or [ast.Pass()])
    return ast.unparse(ast.fix_missing_locations(tree))


def path_of(script: Built, function: str) -> list[str]:
    """What the program calls a function, with its class; empty for one inside another, and for several of that name."""
    found = []
    for statement in ast.parse(program_of(script.script)).body:
        inside = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        cls = [statement.name] if isinstance(statement, ast.ClassDef) else []
        for one in inside:
            if isinstance(one, ast.FunctionDef) and one.lineno in script.lines and _name(script, one) == function:
                found.append([*cls, one.name])
    return found[0] if len(found) == 1 else []


@dataclass(frozen=True, slots=True)
class Trial:
    """A folder with the script and all that it needs, and what its two commands came to."""

    folder: Path
    trained: str
    evaluated: str
    in_training: frozenset[str]
    in_evaluation: frozenset[str]


def trial_of(recipe: Recipe, script: Built, folder: Path) -> Trial:
    """Train, pack and evaluate by the script itself."""
    nodes = [node for node in pipeline(recipe) if node.name == "data"]
    data = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(device="cpu"))["data"].path
    shutil.copytree(data, folder / "data")
    (folder / "train_gpt.py").write_bytes(script.script)
    said, reports = [], []
    for command in ("train", "eval"):
        reports.append(folder / f"{command}.entered")
        words = [sys.executable, "-m", "bench.entered", str(reports[-1]), "train_gpt.py", command, "--data", "data"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        said.append(_numbers(ran.stdout))
    training, evaluation = (frozenset(entered(script, [report])) for report in reports)
    return Trial(folder, said[0], said[1], training, evaluation)


def programs_of(script: Built, trial: Trial) -> Programs:
    """The program, when it has trained and evaluated once."""
    program = trial.folder / "program.py"
    program.write_text(program_of(script.script))
    warm = [["train", "--data", "data", "--artifact", "warm.pgolf"], ["eval", "--data", "data"]]
    given = (GIVEN, _settings(script))
    return Programs(program, trial.folder / "train_gpt.py", given, warm, trial.folder)


def _settings(script: Built) -> str:
    found = re.search(rb"^m\.%s=(.*)$" % GIVEN.encode(), script.script, re.MULTILINE)
    assert found is not None
    text: str = ast.literal_eval(found[1].decode().strip())
    return text


def _numbers(log: str) -> str:
    """A log without what a clock said."""
    return re.sub(r"\d[\d,.]*( s\b| ms/step| tokens/s)", r"…\1", log)


def is_broken(script: Built, trial: Trial, programs: Programs, function: str, timeout_s: float) -> bool:
    """Whether the script without a function fails, or gives another model or other numbers.

    First it is taken out of its class or of the program where that has run already. What has kept it since, a compiled
    loop or a table, does not miss it there: then the program is run without it from its start.
    """
    path = path_of(script, function)
    with contextlib.suppress(TimeoutError):
        if path and _differs(trial, programs, function, timeout_s, without=path):
            return True
    try:
        return _differs(trial, programs, function, timeout_s, program=without(script, function))
    except TimeoutError:
        return True


def _differs(trial: Trial, programs: Programs, function: str, timeout_s: float, **change: Any) -> bool:
    data, model = str(trial.folder / "data"), trial.folder / "model.pgolf"
    is_entered = function in trial.in_training | trial.in_evaluation
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if function in trial.in_training or not is_entered:
            said = programs.run(folder, ["train", "--data", data], timeout_s, **change)
            if said is None or _numbers(said) != trial.trained:
                return True
            if (folder / "model.pgolf").read_bytes() != model.read_bytes():
                return True
        if function in trial.in_evaluation or not is_entered:
            said = programs.run(folder, ["eval", "--data", data, "--artifact", str(model)], timeout_s, **change)
            return said is None or _numbers(said) != trial.evaluated
    return False


def main() -> int:
    """Print, as JSON: functions, how many drops were broken, and those that were not, with the reason (null: none)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="drop every N-th function only")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="from the K-th on, in the order of names")
    parser.add_argument("--timeout-s", type=float, default=240.0)
    options = parser.parse_args()
    recipe = apply_overrides(recipe_named(options.recipe), options.overrides)
    script = built(recipe)
    names = sorted(functions_of(script))[options.first :: options.one_in]
    began_s = time.monotonic()
    survived: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        trial = trial_of(recipe, script, Path(folder))
        programs = programs_of(script, trial)
        assert not _differs(trial, programs, "", options.timeout_s), "what ran once gives other numbers"
        for number, name in enumerate(names):
            if not is_broken(script, trial, programs, name, options.timeout_s):
                survived[name] = NOT_ENTERED.get(name)
            state = f"SURVIVED: {survived[name]}" if name in survived else "broken"
            print(f"{number + 1}/{len(names)} {name} {state}", file=sys.stderr, flush=True)
        programs.end()
    told = {"recipe": options.recipe, "functions": len(names), "broken": len(names) - len(survived)}
    print(json.dumps(told | {"survived": survived, "wall_s": round(time.monotonic() - began_s)}, indent=1))
    return 1 if None in survived.values() else 0


if __name__ == "__main__":
    sys.exit(main())
