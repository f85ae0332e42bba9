"""`pgolf sweep`: evaluate another grid on finished artifacts."""

import argparse

from flows.commands.arguments import add_grid, recipe_of
from flows.commands.recipe_run import add_run_arguments, run_recipe
from pgolf.recipes.grid_text import with_grid

EXAMPLES = """examples:
  pgolf sweep demo --grid "alpha=0:0.6:0.05 order=2..9"   refuses to train: score, count and mix only
  pgolf sweep demo --grid "k=1,4,16" --grid "alpha=0.1,0.2 mixer=backoff" --grid "share=0,1e-4"
  pgolf sweep demo --grid-file grid.toml --max-points 50000
  pgolf sweep demo --set mix.alphas=0:0.6:0.05
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_run_arguments(parser)
    add_grid(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Evaluate the grid. Raises ConfigError when data or weights would have to be made first."""
    recipe, said = with_grid(recipe_of(arguments), arguments.grid, arguments.grid_file)
    return run_recipe(recipe, arguments, said, evaluation_only=True)
