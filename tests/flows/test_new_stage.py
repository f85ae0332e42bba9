"""A stage is added in three files: its own, its config's, and the declarations. Everything else follows from these.

Done for real on a copy of the sources: it is planned, built, cached, shown, a parameter of the flows, and a task.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from tests.flows.prefect_home import prefect_home
from tests.tiny import tiny_recipe, write_documents

ROOT = Path(__file__).parents[2]

CONFIG = '''"""What the tally counts."""

from pydantic import Field

from pgolf.config import StageConfig


class TallyConfig(StageConfig):
    """What the tally counts."""

    unit_bytes: int = Field(2, ge=1, description="Bytes of what is counted")
'''
STAGE = '''"""The tally stage: how long the validation shards are."""

from collections.abc import Mapping
from pathlib import Path

from pgolf.counts.tally_config import TallyConfig
from pgolf.run_options import Made, Progress, RunOptions


def make(config: TallyConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Write tally.txt."""
    sizes = [path.stat().st_size for path in inputs["data"].glob("datasets/*/fineweb_val_*.bin")]
    (out / "tally.txt").write_text(f"{sum(sizes) // config.unit_bytes}")
    run.report(Progress(stage="tally", done=len(sizes), total=len(sizes), unit="shard"))
    return Made(facts={"shards": len(sizes), "unit_bytes": config.unit_bytes})
'''
# Before what of pgolf/recipes/recipe.py a line is put.
DECLARATIONS = {
    "from pgolf.eval.config import ScoreConfig\n": "from pgolf.counts.tally_config import TallyConfig\n",
    "STAGES = {": 'TALLY = Stage(name="tally", entry="pgolf.counts.tally_stage", outputs={"tally": ("tally.txt",)}, '
    'reads={"data": _VALIDATION_DATA}, per_seed=True, evaluates=True)\n',
    "MIX, AUDIT)}\n": "TALLY, ",
    "    headline: Headline =": '    tally: TallyConfig = Field(default_factory=TallyConfig, description="A tally")\n',
}
PROGRAM = """
import json, sys
from pathlib import Path
from flows.settings import apply_settings
apply_settings(quiet=True)
from prefect import flow
from flows.commands.recipes_command import recipe_data
from flows.commands.summary import summary
from flows.record import record, submit
from flows.sweep import sweep
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan, refuse_all_but_evaluation
from pgolf.run_options import RunOptions
from pgolf.pipeline.place import Place
from tests.tiny import tiny_recipe

place = Place(store=Path(sys.argv[1]) / "store", documents=Path(sys.argv[1]) / "docs.jsonl", device="cpu")
store, memo = place.open_store(), place.memo()

def nodes_of(*overrides):
    nodes = pipeline(tiny_recipe(*overrides), place.sources())
    return [node for node in nodes if node.name == "data" or node.stage.name == "tally"]

def plan(nodes):
    steps = make_plan(nodes, store, memo)
    refuse_all_but_evaluation(steps)
    return {step.node.name: step.action for step in steps}

@flow
def run(*overrides):
    futures = submit(nodes_of(*overrides), place)
    for future in futures.values():
        future.wait()
    return {name: [future.state.name, future.result().artifact().record.facts.get("unit_bytes")]
            for name, future in futures.items()}

nodes = nodes_of()
before = plan(nodes)
artifacts = build_all(nodes, store, memo, RunOptions())
print(json.dumps({
    "stages": recipe_data(tiny_recipe())["stages"],
    "parameters": [list(one.parameters.properties) for one in (record, sweep)],
    "planned": before,
    "again": plan(nodes),
    "changed": plan(nodes_of("tally.unit_bytes=4")),
    "shown": summary(artifacts["tally[1]"]),
    "in_prefect": [run("tally.unit_bytes=4"), run("tally.unit_bytes=4")],
}))
"""


@pytest.fixture(scope="module")
def added(tmp_path_factory, prefect_database) -> dict:
    """What a copy of the sources with a stage more says of it, on a store that the present sources have begun."""
    folder = tmp_path_factory.mktemp("added")
    data = pipeline(tiny_recipe(), write_documents(folder))[:1]
    build_all(data, Store(folder / "store"), Memo(folder / "store" / ".sources.sqlite"), RunOptions())
    sources = folder / "sources"
    for package in ("pgolf", "tasks", "flows", "tests"):
        shutil.copytree(ROOT / package, sources / package)  # with compiled code, which goes by content
    (sources / "pgolf" / "counts" / "tally_config.py").write_text(CONFIG)
    (sources / "pgolf" / "counts" / "tally_stage.py").write_text(STAGE)
    declared = sources / "pgolf" / "recipes" / "recipe.py"
    text = declared.read_text()
    for place, line in DECLARATIONS.items():
        assert text.count(place) == 1, place
        text = text.replace(place, line + place)
    declared.write_text(text)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=sources,
        env={**os.environ, "PREFECT_HOME": prefect_home(folder, prefect_database)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_an_added_stage_is_planned_and_reruns_nothing_else(added):
    assert "tally" in added["stages"]
    assert added["planned"] == {"data": "reuse", "tally[1]": "run", "tally[2]": "run"}


def test_an_added_stage_is_built_cached_and_shown(added):
    assert set(added["again"].values()) == {"reuse"}
    assert added["changed"] == {"data": "reuse", "tally[1]": "run", "tally[2]": "run"}
    assert added["shown"] == "shards 1  unit_bytes 2"


def test_an_added_stage_is_a_parameter_of_both_flows_and_a_task(added):
    assert all("tally" in parameters for parameters in added["parameters"])
    tally = {f"tally[{seed}]" for seed in (1, 2)}
    first, second = added["in_prefect"]
    assert {name: first[name] for name in tally} == {name: ["Completed", 4] for name in tally}
    assert {name: second[name] for name in tally} == {name: ["Cached", 4] for name in tally}
