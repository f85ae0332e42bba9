"""`pgolf bundle`: the self-contained script of a recipe."""

import argparse
import json
import os

from flows.commands.arguments import recipe_of
from pgolf.errors import ConfigError
from pgolf.submission.bundle import bundle


def write_bundle(arguments: argparse.Namespace) -> int:
    """Write the script, whole or not at all, and say how many bytes of the budget it takes."""
    recipe = recipe_of(arguments)
    script = bundle(recipe)
    out = arguments.out
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: no folder {out.parent}")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    unfinished.write_bytes(script)
    os.replace(unfinished, out)
    budget = recipe.compress.budget_bytes
    if arguments.json:
        print(json.dumps({"path": str(out), "code_bytes": len(script), "budget_bytes": budget}))
    else:
        print(f"{out}  {len(script):,} B of code, {budget - len(script):,} B of {budget:,} left for the model")
    return 0
