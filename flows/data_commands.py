"""`pgolf fetch`, `pgolf tokenize` and `pgolf import`: what comes from outside, into the same store."""

import argparse
import json
import sys

from flows.console import Console
from flows.summary import summary
from pgolf.artifact import Store
from pgolf.build import build_node
from pgolf.content import Memo
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.overrides import apply_overrides, validated
from pgolf.pipeline import Node, Sources, data_node, import_node
from pgolf.recipe import Recipe
from pgolf.recipes import recipe_named
from pgolf.run import RunOptions


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
    recipe = recipe_named(arguments.recipe)
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    recipe = validated(Recipe, recipe.model_dump() | {"seeds": [seed]})
    sources = Sources(checkpoints={seed: arguments.file.absolute()}, checkpoint_steps=arguments.checkpoint_steps)
    exit_code = _build(import_node(apply_overrides(recipe, arguments.overrides), seed, sources), arguments)
    steps = f" --checkpoint-steps {arguments.checkpoint_steps}" if arguments.checkpoint_steps else ""
    print(
        f"go on with: pgolf run {recipe.name} --seeds {seed} --checkpoint {arguments.file}{steps}",
        file=sys.stderr,
    )
    return exit_code


def _build(node: Node, arguments: argparse.Namespace) -> int:
    store = Store(arguments.store)
    memo = Memo(store.root / ".sources.json")
    with Console(reasons={}) as console:
        artifact, built = build_node(node, {}, store, memo, RunOptions(), console)
    store.save_memo()
    memo.save()
    if arguments.json:
        facts = dict(artifact.record.facts)
        print(json.dumps({"folder": str(artifact.path), "built": built, "facts": facts}, indent=2))
    else:
        print(f"{artifact.path}  {summary(artifact)}")
    return 0
