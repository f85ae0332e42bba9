"""`pgolf run`: build what is missing of a recipe, and show its results."""

import argparse

from flows.commands.arguments import recipe_of
from flows.commands.recipe_run import add_run_arguments, run_recipe

EXAMPLES = """examples:
  pgolf run demo                                   everything, from documents to the statistics
  pgolf run demo --set mix.alphas=0:0.8:0.05       another grid: only mix runs again
  pgolf run demo --set count.orders=2..5 --seeds 1337 42
  pgolf run demo --no-prefect                      the same stages in one plain process
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_run_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the recipe."""
    return run_recipe(recipe_of(arguments), arguments, evaluation_only=False)
