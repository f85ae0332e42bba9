"""`pgolf verify`, `pgolf gc` and `pgolf adopt`."""

import argparse
import json
from collections.abc import Sequence

from flows.commands.arguments import place_of, recipe_of, store_place
from pgolf.errors import ConfigError, StoreError
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.status import forget_the_gone
from pgolf.pipeline.upkeep import Garbage, delete, garbage, refuse_while_building
from pgolf.pipeline.upkeep import adopt as adopt_node
from pgolf.pipeline.upkeep import verify as verify_store
from pgolf.recipes.recipe import STAGES
from pgolf.store.artifact import Artifact
from pgolf.tables.parquet import read
from pgolf.tables.schema import STAGES as STAGES_TABLE


def verify(arguments: argparse.Namespace) -> int:
    """Hash everything; exit code 1 when something is damaged."""
    checked = list(verify_store(store_place(arguments).open_store()))
    damaged = [item for item in checked if item.why is not None]
    if arguments.json:
        rows = [{"folder": item.folder, "size_bytes": item.size_bytes, "damage": item.why} for item in checked]
        print(json.dumps({"checked": len(checked), "damaged": len(damaged), "outputs": rows}, indent=2))
        return 1 if damaged else 0
    for item in checked:
        print(f"{'✗' if item.why else '✓'} {item.folder:<28} {item.size_bytes:>15,} B  {item.why or ''}".rstrip())
    print(f"{len(checked)} outputs checked, {len(damaged)} damaged")
    if damaged:
        print("a damaged output is never used: the next run moves it to quarantine and builds it again")
    return 1 if damaged else 0


def gc(arguments: argparse.Namespace) -> int:
    """List what no result refers to; delete it only when asked."""
    place = store_place(arguments)
    store = place.open_store()
    if not (arguments.results / STAGES_TABLE.name).is_dir() and not arguments.without_results:
        raise ConfigError(
            f"{arguments.results} holds no result tables, so every output would count as unused; point --results at "
            "them, or say --without-results"
        )
    kept = [
        folder for folder in read(arguments.results, STAGES_TABLE, columns=["folder"])["folder"].to_pylist() if folder
    ]
    found = garbage(store, kept)
    if arguments.delete:
        refuse_while_building(store)
        delete(store, found)
        forget_the_gone(store.root)
    if arguments.json:
        rows = [
            {"folder": item.name, "size_bytes": item.size_bytes, "why": item.why, "shared": item.is_shared}
            for item in found
        ]
        total_bytes = sum(item.size_bytes for item in found)
        print(json.dumps({"deleted": arguments.delete, "size_bytes": total_bytes, "garbage": rows}, indent=2))
        return 0
    what = "deleted" if arguments.delete else "would go"
    for item in found:
        where = "" if place.remote is None else "  shared" if item.is_shared else "  cache "
        print(f"{what}{where}  {item.name:<44} {item.size_bytes:>15,} B  {item.why}")
    said = _folders(found)
    if place.remote is not None:
        here, shared = ([item for item in found if item.is_shared is there] for there in (False, True))
        said = f"in the cache {place.store} {_folders(here)}; in {place.remote}, for all who use it, {_folders(shared)}"
    print(said + ("" if arguments.delete or not found else "; --delete removes them"))
    return 0


def _folders(found: Sequence[Garbage]) -> str:
    return f"{len(found)} folders, {sum(item.size_bytes for item in found):,} bytes"


def adopt(arguments: argparse.Namespace) -> int:
    """Re-key existing outputs of the named stages to what the present code would call them."""
    for name in arguments.stages:
        if name not in STAGES:
            raise ConfigError(f"no stage {name}; stages are {', '.join(STAGES)}")
    recipe = recipe_of(arguments)
    place = place_of(arguments, recipe)
    store, memo = place.open_store(), place.memo()
    nodes = pipeline(recipe, place.sources(), place.run_options())
    if arguments.source is not None and sum(node.stage.name in arguments.stages for node in nodes) > 1:
        raise ConfigError("--from names one output: give one stage, and one of --seeds")
    adopted: list[Artifact] = []
    for name in arguments.stages:
        for node in nodes:
            if node.stage.name != name:
                continue
            steps = make_plan(nodes, store, memo)
            known = {step.node.name: step.artifact for step in steps if step.artifact is not None}
            if node.name in known:
                continue
            missing = [parent for parent in node.parents if parent not in known]
            if missing:
                raise StoreError(f"{node.name} reads {', '.join(missing)}, not up to date; adopt or run that first")
            parents = {parent: known[parent] for parent in node.parents}
            adopted.append(adopt_node(node, parents, store, memo, why=arguments.why, source=arguments.source))
    if arguments.json:
        print(
            json.dumps([item.record.model_dump(mode="json", include={"node", "adopted"}) for item in adopted], indent=2)
        )
        return 0
    for item in adopted:
        assert item.record.adopted is not None
        print(f"✓ {item.record.node:<16} {item.record.adopted.source} → {item.path.name}")
    if not adopted:
        print("everything named is up to date; nothing to adopt")
    return 0
