"""Who may import whom, read off the source of every module; nothing is imported to find out.

A failure names the import (file and line) and the rule it breaks. Imports count wherever they stand, functions
included. What is imported by a call is left out: a stage's entry module (pgolf.store.artifact) and a command's
(flows.commands.cli), and the rules hold for that module by itself; no other module may import by a call.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import pgolf
from pgolf.identity.closure import EXPORT_LISTS, import_closure
from pgolf.recipes.recipe import STAGES

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("pgolf", "tasks", "flows")  # each may import itself and those before it

# The rooms of pgolf, from the roof to the cellar: each may import itself and those below it, never back.
ROOMS = (
    *(
        "pipeline",
        "audit",
        "submission",
        "bundle",
        "selftest",
        "recipes",
        "report",
        "compare",
        "mix",
        "counts",
        "eval",
        "pack",
        "quant",
        "train",
    ),
    *("model", "corpus", "tables", "stats", "ranks", "store", "machine", "identity"),
)
GROUND = ("errors", "config", "run_options", "budget")  # the modules of pgolf itself, below all rooms
ROOM_RULE = f"{' → '.join(ROOMS)} → {', '.join(GROUND)}, never back"

# Names that stand in several rooms because the files play the same part there; a verdict, and the flow that gives them.
SAME_PART = {"__init__.py", "__main__.py", "config.py", "verdict.py"}

NEEDS_TORCH = ("torch", "safetensors.torch")
TORCH_FREE_PARTS = (
    *(
        "pgolf.pipeline",
        "pgolf.recipes",
        "pgolf.report",
        "pgolf.compare",
        "pgolf.mix",
        "pgolf.counts",
        "pgolf.corpus",
        "pgolf.tables",
    ),
    *(
        "pgolf.stats",
        "pgolf.store",
        "pgolf.machine",
        "pgolf.identity",
        "pgolf.audit",
        "pgolf.submission",
        "pgolf.bundle",
    ),
    "pgolf.audit.overlap",
    *("pgolf.pack.container", "pgolf.ranks.job", "pgolf.eval.batch_means", "pgolf.eval.blocks", "pgolf.eval.bpb"),
    *("pgolf.eval.chunks", "pgolf.eval.trace", "pgolf.eval.windows"),
    *(f"pgolf.{name}" for name in GROUND),
)
# `python -m pgolf.machine.launch` becomes torchrun; pgolf.bundle.standalone is what a bundled script runs,
# with stand_ins, and own_score calls it where a script is held against it.
TORCH_AT_THE_TOP = (
    "pgolf.machine.launch",
    *("pgolf.submission.own_score", "pgolf.bundle.stand_ins", "pgolf.bundle.standalone"),
    *("pgolf.audit.run_network", "pgolf.audit.run_scorers", "pgolf.audit.audit_stage"),
)

# What a stage's code must not reach: the store that keeps its output, but for files that survive a power cut, files
# that are looked at before they are read, and its own unfinished work; and every room that decides when a stage runs.
STORE_FOR_STAGES = ("durable", "plain_file", "scratch")
ABOVE_STAGES = ("pipeline", "submission", "bundle", "selftest", "recipes", "report", "compare")
# Lazy exports; the entry module of a stage that has to run; the command that is asked for, beside it in its folder.
IMPORTS_BY_CALL = ("pgolf", "pgolf.store.artifact", "flows.commands.cli")
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
FORBIDDEN_TO_STAGES = {
    module
    for module in MODULES
    if module.count(".") == 2
    and (
        module.split(".")[1] in ABOVE_STAGES
        or (module.split(".")[1] == "store" and module.split(".")[2] not in STORE_FOR_STAGES)
    )
}


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
    """The parts that need no torch: named rooms and modules, and every configuration."""
    return [
        module
        for module in modules_of("pgolf")
        if module not in TORCH_AT_THE_TOP
        and (any(inside(module, part) for part in TORCH_FREE_PARTS) or module.endswith("config"))
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


def test_tasks_import_no_other_task():
    tasks = ("tasks.stage_tasks", "tasks.report", "tasks.trial_tasks")
    broken = [
        broken_by([task], *(other for other in tasks if other != task), rule="no task imports another")
        for task in tasks
    ]
    assert not any(broken), broken


def room_of(module: str) -> str:
    """The second part of a dotted name; "" for the modules of pgolf itself, which lie below all rooms."""
    room = module.split(".")[1]
    return room if room in ROOMS else ""


def test_every_module_of_pgolf_lies_in_a_room_or_on_the_ground():
    homeless = [
        str(path.relative_to(ROOT))
        for module, path in modules_of("pgolf").items()
        if module != "pgolf" and module.split(".")[1] not in (*ROOMS, *GROUND)
    ]
    rule = f"pgolf/ holds {', '.join(GROUND)} and the rooms {', '.join(ROOMS)}, nothing else"
    assert not homeless, f"{', '.join(homeless)}; rule: {rule}"


def broken_rooms(modules: Iterable[str], imports: Callable[[str], Iterable[Import]]) -> str:
    """One line per import from a room of pgolf to one above it; a lazy export of pgolf counts as its own module."""
    height = {room: number for number, room in enumerate([*ROOMS, ""])}
    homes = {f"pgolf.{name}": f"pgolf.{home}" for name, home in pgolf._MODULE_OF.items()}
    broken = []
    for module in modules:
        if module == "pgolf":
            continue
        found = [imported for imported in imports(module) if inside(imported.name, "pgolf")]
        named = {imported.where for imported in found if imported.name != "pgolf"}
        for imported in found:
            home = homes.get(imported.name, imported.name)
            if imported.name == "pgolf" and imported.where not in named:
                broken.append(f"{imported.where} imports pgolf itself; rule: import the module that defines the name")
            elif home != "pgolf" and home in MODULES and height[room_of(home)] < height[room_of(module)]:
                broken.append(f"{imported.where} imports {imported.name}; rule: {ROOM_RULE}")
    return "\n".join(broken)


def test_rooms_import_downwards_and_never_back():
    broken = broken_rooms(modules_of("pgolf"), imports_of)
    assert not broken, broken


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("pgolf.mix.grid", "pgolf.counts.config", True),
        ("pgolf.mix.grid", "pgolf.errors", True),
        ("pgolf.counts.exact", "pgolf.mix.grid", False),
        ("pgolf.model.gpt", "pgolf.train.config", False),
        ("pgolf.errors", "pgolf.identity.stage", False),
        ("pgolf.store.artifact", "pgolf.pipeline", False),
        ("pgolf.tables.text", "pgolf.make_plan", False),
        ("pgolf.tables.text", "pgolf.PgolfError", True),
    ],
)
def test_an_import_against_the_order_is_named_with_its_file_and_the_rule(module, imported, allowed):
    broken = broken_rooms([module], lambda _: [Import(imported, "pgolf/somewhere.py:7")])
    assert broken == ("" if allowed else f"pgolf/somewhere.py:7 imports {imported}; rule: {ROOM_RULE}")


def test_the_list_of_lazy_exports_is_no_way_around_the_order():
    broken = broken_rooms(["pgolf.tables.text"], lambda _: read_imports(ast.parse("import pgolf"), ROOT / "x.py"))
    assert broken == "x.py:1 imports pgolf itself; rule: import the module that defines the name"


def test_the_flows_know_nothing_of_the_command_line():
    flows = [module for module in modules_of("flows") if not inside(module, "flows.commands")]
    broken = broken_by(flows, "flows.commands", rule="flows/commands → flows, never back")
    assert not broken, broken


def test_no_two_files_share_a_name_unless_they_play_the_same_part():
    by_name: dict[str, list[str]] = {}
    for path in modules_of(*LAYERS, "bench", "tests/oracles").values():
        by_name.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: places for name, places in by_name.items() if len(places) > 1 and name not in SAME_PART}
    assert not shared, "\n".join(
        f"{' and '.join(places)}; rule: no two files share a name but {', '.join(sorted(SAME_PART))}"
        for places in shared.values()
    )


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
    chain = chain_to(stage.entry, *FORBIDDEN_TO_STAGES)
    assert chain is None, f"{chain}; rule: {rule}"
    reached = FORBIDDEN_TO_STAGES & import_closure(stage.entry).keys()
    assert not reached, f"{stage.entry} reaches {', '.join(sorted(reached))}; rule: {rule}"


def calls_that_import(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=named) | ast.Name(id=named) | ast.alias(name=named):
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
        # The first says what stages and their ranks may see, the second asks whether this is a rank of other code, the
        # third is where a run finds its folders and leases on this machine, which enter no key.
        if module not in ("pgolf.identity.environment", "pgolf.identity.snapshot", "pgolf.pipeline.place")
        for use in uses_of_the_environment(tree_of(path))
    ]
    assert not broken, "\n".join(broken)


def test_every_room_says_what_it_is_for_what_enters_and_what_leaves():
    rooms = [path for path in MODULES.values() if path.name == "__init__.py" and path != ROOT / "pgolf/__init__.py"]
    vague = [
        str(path.relative_to(ROOT))
        for path in rooms
        if [line[:4] for line in (ast.get_docstring(tree_of(path), clean=False) or "").splitlines()[2:4]]
        != ["In: ", "Out:"]
    ]
    assert len(rooms) == len(ROOMS) + len(["flows", "flows/commands", "tasks"])
    assert not vague, f"{', '.join(vague)}; rule: a sentence, then what enters (In:) and what leaves (Out:)"


def test_the_drawing_shows_every_room_and_the_page_names_files_that_are_there():
    drawing = (ROOT / "docs/figures/rooms.svg").read_text()
    shown = re.findall(r">([a-z/]+)/</text>", drawing)
    order = ["flows/commands", "flows", "tasks", *ROOMS, "pgolf"]
    assert shown == order, "from top to bottom and from left to right, in the order of imports"
    page = (ROOT / "docs/architecture.md").read_text()
    named = [name for name in re.findall(r"`([\w./]+\.py)`", page) if "/" in name]
    missing = [name for name in named if not any((ROOT / top / name).is_file() for top in ("", "pgolf"))]
    assert named
    assert not missing, f"docs/architecture.md names {', '.join(missing)}; rule: the page follows the files"


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in modules_of(*LAYERS, "bench").values()
        if not ast.get_docstring(tree_of(path))
    ]
    assert not silent, f"{', '.join(silent)}: no docstring; rule: every module has one"


def test_packages_are_only_folders():
    allowed = {name: ["import pgolf as pgolf"] for name in ("tasks", "flows")}  # which begins the code's snapshot
    # And Ctrl-C is heard before that: it takes longer than all else of a short command.
    allowed["flows"] = [
        "from flows.ctrl_c import end_at_once_while_starting",
        "end_at_once_while_starting()",
        *allowed["flows"],
    ]
    full = [
        str(path.relative_to(ROOT))
        for module, path in MODULES.items()
        if path.name == "__init__.py"
        and module not in EXPORT_LISTS
        and [ast.unparse(line) for line in tree_of(path).body[1:]] != allowed.get(module, [])
    ]
    assert not full, f"{', '.join(full)}: more than a docstring; rule: only pgolf/__init__.py exports names"


def test_every_module_is_named_after_its_concept():
    nameless = [
        str(path.relative_to(ROOT))
        for module, path in modules_of(*LAYERS, "bench", "tests").items()
        if NO_CONCEPT & set(module.replace("_", ".").split("."))
    ]
    assert not nameless, f"{', '.join(nameless)}; rule: no utils, helpers, common or manager: name the concept"


def test_the_entry_module_of_every_stage_is_a_file():
    missing = {name: stage.entry for name, stage in STAGES.items() if stage.entry not in MODULES}
    assert not missing, missing
