"""`pgolf fetch`, `pgolf tokenize` and `pgolf import`: what comes from outside, into the same store."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from flows.commands.arguments import steps_by_seed, store_place
from flows.commands.console import Console
from flows.commands.summary import summary
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Node, Sources, data_node, import_node
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides, validated
from pgolf.recipes.recipe import Recipe


def fetch(arguments: argparse.Namespace) -> int:
    """Download the published data set."""
    given = {"train_shards": arguments.train_shards}
    overrides = [f"{name}={value}" for name, value in given.items() if value is not None] + arguments.overrides
    config = apply_overrides(FetchConfig(), overrides)
    return _build(data_node(config, Sources()), arguments)


def tokenize(arguments: argparse.Namespace) -> int:
    """Documents to token shards."""
    given = {
        "source": "builtin" if arguments.documents is None else "documents",
        "tokenizer": "train" if arguments.tokenizer is None else "given",
        "vocab_size": arguments.vocab_size,
        "val_documents": arguments.val_documents,
        "skip_bad": arguments.skip_bad,
    }
    overrides = [f"{name}={value}" for name, value in given.items() if value is not None] + arguments.overrides
    config = apply_overrides(TokenizeConfig(), overrides)
    return _build(data_node(config, Sources(documents=arguments.documents, tokenizer=arguments.tokenizer)), arguments)


def import_weights(arguments: argparse.Namespace) -> int:
    """Take in published weights, and say how to go on with them."""
    recipe = apply_overrides(recipe_named(arguments.recipe), arguments.overrides)
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    recipe = validated(Recipe, recipe.model_dump() | {"seeds": [seed]})
    sources = Sources(
        checkpoints={seed: arguments.file.absolute()},
        checkpoint_steps=steps_by_seed(arguments.checkpoint_steps, recipe),
    )
    exit_code = _build(import_node(recipe, seed, sources), arguments)
    print(f"go on with: pgolf {shlex.join(run_with(arguments, recipe.name, seed))}", file=sys.stderr)
    return exit_code


def run_with(arguments: argparse.Namespace, recipe: str, seed: int) -> list[str]:
    """The words of the `pgolf` command that runs a recipe on weights as they were imported with these arguments."""
    again = ["run", recipe, "--seeds", str(seed), "--checkpoint", str(arguments.file)]
    again += [part for steps in arguments.checkpoint_steps for part in ("--checkpoint-steps", steps)]
    again += [part for override in arguments.overrides for part in ("--set", override)]
    again += ["--store", str(arguments.store)] if arguments.store != Path("artifacts") else []
    for option, value in (("--cache", arguments.cache), ("--cache-limit", arguments.cache_limit)):
        again += [option, str(value)] if value is not None else []
    return again


def _build(node: Node, arguments: argparse.Namespace) -> int:
    place = store_place(arguments)
    store, memo = place.open_store(), place.memo()
    with Console(reasons={}) as console:
        artifact, built = build_node(node, {}, store, memo, place.run_options(), console)
    store.save_memo()
    memo.save()
    if arguments.json:
        facts = dict(artifact.record.facts)
        print(json.dumps({"folder": str(artifact.path), "built": built, "facts": facts}, indent=2))
    else:
        print(f"{artifact.path}  {summary(artifact)}")
    return 0
