"""`pgolf adopt`: keep outputs whose code changed without changing their bytes."""

import argparse
import json

from flows.commands.arguments import add_json, add_places, add_recipe, place_of, recipe_of, store_there
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError, StoreError
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.revisions import pin
from pgolf.pipeline.upkeep import adopt
from pgolf.recipes.recipe import STAGES
from pgolf.store.artifact import Artifact

EXAMPLES = """examples:
  pgolf adopt demo train --why "renamed a local variable; same bytes, checked with seed 42"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="stages to re-key, in order, e.g. train calibrate")
    add_places(parser)
    parser.add_argument("--why", required=True, help="recorded with your name and the time")
    parser.add_argument("--from", dest="source", metavar="FOLDER", help="the output to adopt (default: the latest)")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Re-key existing outputs of the named stages to what the present code would call them."""
    for name in arguments.stages:
        if name not in STAGES:
            raise ConfigError(f"no stage {name}; stages are {', '.join(STAGES)}")
    recipe = recipe_of(arguments)
    place = place_of(arguments, recipe)
    store, memo = store_there(arguments, place), place.memo()
    with store.using(f"pgolf adopt {recipe.name}", tell, make=False):
        pinned = pin(recipe.fetch, store, place.sources())
        pinned.refuse_unasked()
        recipe = pinned.of(recipe)
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
                adopted.append(adopt(node, parents, store, memo, why=arguments.why, source=arguments.source))
    if arguments.json:
        hand_over(
            json.dumps([item.record.model_dump(mode="json", include={"node", "adopted"}) for item in adopted], indent=2)
        )
        return 0
    for item in adopted:
        assert item.record.adopted is not None
        show(f"✓ {item.record.node:<16} {item.record.adopted.source} → {item.path.name}")
    if not adopted:
        show("everything named is up to date; nothing to adopt")
    return 0
