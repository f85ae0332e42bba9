"""A whole run of the tiny recipe, one seed, that always keeps checkpoints; tests/flows/test_faults.py kills it."""

import sys
from pathlib import Path

from flows.commands.console import Console
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import Node, Sources, pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from tests.tiny import UNTRIED, tiny_recipe

RUN = RunOptions(device="cpu", checkpoint_every_s=1e-9)


def graph(folder: Path, overrides: list[str]) -> tuple[Recipe, tuple[Node, ...]]:
    """The recipe and its nodes over the documents in `folder`."""
    recipe = tiny_recipe("seeds=1", UNTRIED, *overrides)
    return recipe, pipeline(recipe, Sources(documents=folder / "docs.jsonl"), RUN)


def main(folder: Path, overrides: list[str]) -> None:
    """Build everything, file the results, say how it came out."""
    recipe, nodes = graph(folder, overrides)
    with Console({}) as console:
        artifacts = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RUN, console)
    outcome = outcome_of(recipe, nodes, artifacts, folder / "results")
    outcome.file(folder / "results")
    print(outcome.text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
