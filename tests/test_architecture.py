"""Who may import whom, read off the source of every module; nothing is imported to find out.

A failure names the import (file and line) and the rule it breaks. Imports count wherever they stand, functions
included. What pgolf.artifact imports by a call is left out: it runs a stage's entry module, and the rules hold for
that module by itself; no other module may import by a call.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from pgolf.closure import EXPORT_LISTS, import_closure
from pgolf.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("pgolf", "tasks", "flows")  # each may import itself and those before it
NEEDS_TORCH = ("torch", "safetensors.torch")
TORCH_FREE_PARTS = (
    "pgolf.corpus", "pgolf.ngram", "pgolf.stats", "pgolf.tables", "pgolf.report",
    "pgolf.pack.container", "pgolf.ranks.job", "pgolf.eval.batch_means", "pgolf.eval.blocks", "pgolf.eval.bpb",
    "pgolf.eval.chunks", "pgolf.eval.trace", "pgolf.eval.windows",
)  # fmt: skip
# `python -m pgolf.launch` becomes torchrun; pgolf.standalone is what a bundled script runs.
TORCH_AT_THE_TOP = ("pgolf.launch", "pgolf.standalone")
CORE = ("pgolf.errors", "pgolf.fingerprint", "pgolf.run", "pgolf.config")
STORE = {
    f"pgolf.{name}"
    for name in (
        *("artifact", "build", "bundle", "differences", "estimate", "export", "gpu_peak", "listen", "makespan"),
        *("node_checks", "outcome", "pipeline", "placement", "plan", "preflight", "process", "recipe", "recipes"),
        *("record", "record_index", "remote", "remote_lock", "shared_store", "stages", "status", "systems", "upkeep"),
    )
}  # fmt: skip
IMPORTS_BY_CALL = ("pgolf", "pgolf.artifact")  # lazy exports; the entry module of a stage that has to run
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "expandvars", "expanduser"}
NO_CONCEPT = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


@dataclass(frozen=True)
class Import:
    """One imported module or name, dotted, and the line that asks for it."""

    name: str
    where: str

    def is_of(self, *packages: str) -> bool:
        return any(inside(self.name, package) for package in packages)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def modules_of(*packages: str) -> dict[str, Path]:
    """Dotted name -> file of every module under the packages."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules_of(*LAYERS)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def read_imports(tree: ast.Module, path: Path) -> Iterator[Import]:
    """Every import statement of a module, wherever it stands; `from a import b` is both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, at(path, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{at(path, node.lineno)} is relative; rule: imports are absolute"
            assert node.module is not None
            yield Import(node.module, at(path, node.lineno))
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", at(path, node.lineno))


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    return tuple(read_imports(tree_of(MODULES[module]), MODULES[module]))


def broken_by(modules: Iterable[str], *forbidden: str, rule: str, allowed: Iterable[str] = ()) -> str:
    """One line per import of a forbidden package that is not an allowed one."""
    allowed = tuple(allowed)
    return "\n".join(
        f"{imported.where} imports {imported.name}; rule: {rule}"
        for module in modules
        for imported in imports_of(module)
        if imported.is_of(*forbidden) and not imported.is_of(*allowed)
    )


def chain_to(start: str, *goals: str) -> str | None:
    """The shortest chain of imports inside pgolf from a module to one of the goals, as text; None if there is none."""
    chains: dict[str, str] = {start: start}
    waiting = [start]
    for module in waiting:
        for imported in imports_of(module):
            if imported.is_of(*goals):
                return f"{chains[module]} → {imported.name} ({imported.where})"
            if imported.name in MODULES and imported.name not in chains and imported.name not in EXPORT_LISTS:
                chains[imported.name] = f"{chains[module]} → {imported.name}"
                waiting.append(imported.name)
    return None


def torch_free_modules() -> list[str]:
    """The parts that need no torch: named packages, every configuration, and all that lies directly in pgolf/."""
    return [
        module
        for module in modules_of("pgolf")
        if any(inside(module, part) for part in TORCH_FREE_PARTS)
        or module.endswith("config")
        or (module.count(".") == 1 and module not in TORCH_AT_THE_TOP)
    ]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b as c", ["a.b"]),
        ("from a import b, c", ["a", "a.b", "a.c"]),
        ("def f():\n    if x:\n        import a\n", ["a"]),
        ("if TYPE_CHECKING:\n    from a.b import c", ["a.b", "a.b.c"]),
    ],
)
def test_imports_are_seen_in_every_form_and_place(source, names):
    assert [found.name for found in read_imports(ast.parse(source), ROOT / "x.py")] == names


@pytest.mark.parametrize(("layer", "above"), [(LAYERS[i], LAYERS[i + 1 :]) for i in range(len(LAYERS) - 1)])
def test_imports_point_from_flows_to_tasks_to_pgolf_and_never_back(layer, above):
    broken = broken_by(modules_of(layer), *above, "bench", "tests", rule="flows → tasks → pgolf, never back")
    assert not broken, broken


def test_only_flows_and_tasks_import_prefect():
    broken = broken_by(modules_of("pgolf"), "prefect", rule="pgolf runs without Prefect")
    assert not broken, broken


def test_only_flows_draw_on_the_terminal():
    rule = "click and rich belong to flows/"
    broken = broken_by(modules_of("pgolf", "tasks"), "click", "rich", rule=rule)
    assert not broken, broken


def test_flows_hold_no_numerics():
    rule = "flows hold order and recipes, no numerics"
    broken = broken_by(modules_of("flows"), "numpy", "torch", "scipy", "numba", rule=rule)
    assert not broken, broken


def task_module(stage: str) -> str:
    """Each stage's task is a module of its name, but for the one whose name is a word of Python's."""
    return f"tasks.{'import_weights' if stage == 'import' else stage}"


@pytest.mark.parametrize("stage", [*STAGES, "report"])
def test_a_task_imports_no_other_stages_task(stage):
    others = [task_module(other) for other in (*STAGES, "report") if other != stage]
    broken = broken_by([task_module(stage)], *others, rule="a task imports no other stage's task")
    assert not broken, broken


@pytest.mark.parametrize("module", CORE)
def test_errors_fingerprint_run_and_config_import_only_one_another(module):
    rule = f"{', '.join(CORE)} import only one another"
    broken = broken_by([module], "pgolf", rule=rule, allowed=CORE)
    assert not broken, broken


def test_statistics_import_nothing_of_pgolf_but_errors():
    rule = "pgolf.stats imports nothing of pgolf but errors"
    broken = broken_by(modules_of("pgolf/stats"), "pgolf", rule=rule, allowed=("pgolf.errors", "pgolf.stats"))
    assert not broken, broken


def test_the_report_is_made_of_tables_and_statistics_alone():
    rule = "pgolf.report imports nothing of pgolf but errors, stats and tables"
    allowed = ("pgolf.errors", "pgolf.stats", "pgolf.tables", "pgolf.report")
    broken = broken_by(modules_of("pgolf/report"), "pgolf", rule=rule, allowed=allowed)
    assert not broken, broken


def test_only_the_report_draws():
    others = [module for module in MODULES if not inside(module, "pgolf.report")]
    broken = broken_by(others, "matplotlib", rule="matplotlib belongs to pgolf.report.figures, imported when it draws")
    assert not broken, broken


def test_what_plans_counts_compares_and_files_needs_no_torch():
    chains = [chain for module in torch_free_modules() if (chain := chain_to(module, *NEEDS_TORCH))]
    assert not chains, "\n".join(f"{chain}; rule: {chain.split(' ')[0]} needs no torch" for chain in chains)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_does_not_reach_the_store_that_keeps_its_output(stage):
    rule = "a stage's code is its cache key, so the store that keeps its output is no part of it"
    chain = chain_to(stage.entry, *STORE)
    assert chain is None, f"{chain}; rule: {rule}"
    reached = STORE & import_closure(stage.entry).keys()
    assert not reached, f"{stage.entry} reaches {', '.join(sorted(reached))}; rule: {rule}"


def calls_that_import(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
        if named in ("import_module", "__import__"):
            yield node.lineno


def test_imports_are_statements():
    broken = [
        f"{at(path, line)} imports by a call; rule: only {' and '.join(IMPORTS_BY_CALL)} may"
        for module, path in MODULES.items()
        if module not in IMPORTS_BY_CALL
        for line in calls_that_import(tree_of(path))
    ]
    assert not broken, "\n".join(broken)


def uses_of_the_environment(tree: ast.Module) -> list[ast.expr | ast.alias]:
    """Every mention of what reads or writes environment variables."""
    return [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.Name) and node.id in ENVIRONMENT)
        or (isinstance(node, ast.alias) and node.name in ENVIRONMENT)
    ]


def test_pgolf_reads_no_environment_variable():
    broken = [
        f"{at(path, use.lineno)} uses the environment; rule: what a stage does is in its config and RunOptions"
        for module, path in modules_of("pgolf").items()
        if module != "pgolf.launch"
        for use in uses_of_the_environment(tree_of(path))
    ]
    assert not broken, "\n".join(broken)


def test_launch_hands_its_environment_to_torchrun_and_looks_at_it_nowhere_else():
    # The ranks need PATH, HOME, LD_LIBRARY_PATH … as torchrun's; only PYTHONPATH is read, to be extended.
    # What the ranks find out from torchrun (RANK, WORLD_SIZE …) torch.distributed reads for itself.
    tree = tree_of(MODULES["pgolf.launch"])
    handed_on = [
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "env"
        for part in ast.walk(node.value)
    ]
    assert [use in handed_on for use in uses_of_the_environment(tree)] == [True], (
        "rule: pgolf.launch hands os.environ on as a child's env, once, and uses it nowhere else"
    )


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in modules_of(*LAYERS, "bench").values()
        if not ast.get_docstring(tree_of(path))
    ]
    assert not silent, f"{', '.join(silent)}: no docstring; rule: every module has one"


def test_packages_are_only_folders():
    full = [
        str(path.relative_to(ROOT))
        for module, path in MODULES.items()
        if path.name == "__init__.py" and module not in EXPORT_LISTS and len(tree_of(path).body) > 1
    ]
    assert not full, f"{', '.join(full)}: more than a docstring; rule: only pgolf/__init__.py exports names"


def test_every_module_is_named_after_its_concept():
    nameless = [
        str(path.relative_to(ROOT))
        for module, path in modules_of(*LAYERS, "bench", "tests").items()
        if NO_CONCEPT & set(module.replace("_", ".").split("."))
    ]
    assert not nameless, f"{', '.join(nameless)}; rule: no utils, helpers, common or manager: name the concept"


def test_every_stage_has_one_task_and_its_entry_module_is_a_file():
    missing: Mapping[str, str] = {
        name: module
        for name, stage in STAGES.items()
        for module in (task_module(name), stage.entry)
        if module not in MODULES
    }
    assert not missing, missing
