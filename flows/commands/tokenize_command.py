"""`pgolf tokenize`: documents to token shards."""

import argparse
import shlex
from pathlib import Path

from flows.commands.arguments import add_json, add_set, add_store, given_path
from flows.commands.single_output import build_output
from flows.commands.streams import tell
from pgolf.corpus.config import TokenizeConfig
from pgolf.errors import ConfigError
from pgolf.pipeline.graph import Sources, data_node
from pgolf.pipeline.place import default_store
from pgolf.recipes.overrides import override_section
from pgolf.recipes.own_files import fitted_to_files
from pgolf.recipes.recipe_file import find_recipe

SECTION = "tokenize."

EXAMPLES = """examples:
  pgolf tokenize --documents docs.jsonl --vocab-size 1024 --val-documents 500
  pgolf run demo --data artifacts/tokenize-3f0c52a1b9e4     what that made, in any recipe
  pgolf tokenize --recipe demo --documents docs.jsonl       as demo does it: what the next line reuses
  pgolf run demo --documents docs.jsonl
  pgolf tokenize --documents docs/ --tokenizer fineweb_1024_bpe.model --skip-bad 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--documents", type=given_path, metavar="PATH", help="file or folder (default: the built-in corpus)"
    )
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="tokenize as this recipe does, so that its runs on the documents reuse it"
    )
    parser.add_argument(
        "--tokenizer", type=given_path, metavar="MODEL", help="SentencePiece model (default: train one)"
    )
    parser.add_argument("--vocab-size", type=int, metavar="N", help="pieces of a tokenizer trained here")
    parser.add_argument("--val-documents", type=int, metavar="N", help="first N documents are the validation split")
    parser.add_argument("--skip-bad", type=int, metavar="N", help="tolerate up to N unusable documents")
    add_set(parser)
    add_store(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Tokenize the documents, and say how to run a recipe on them."""
    by_hand = {
        "vocab_size": arguments.vocab_size,
        "val_documents": arguments.val_documents,
        "skip_bad": arguments.skip_bad,
    }
    given = {name: value for name, value in by_hand.items() if value is not None}
    overrides = [*(f"{name}={value}" for name, value in given.items()), *arguments.overrides]
    names = {override.partition("=")[0].strip().removeprefix(SECTION) for override in overrides}
    config = override_section("tokenize", _begun(arguments, {f"{SECTION}{name}" for name in names}), overrides)
    made = build_output(
        data_node(config, Sources(documents=arguments.documents, tokenizer=arguments.tokenizer)), arguments
    )
    if isinstance(arguments.store, Path):
        again = ["--data", str(arguments.store / made.path.name)]
        again += [] if arguments.store == default_store() else ["--store", str(arguments.store)]
        tell(f"go on with: pgolf run RECIPE {shlex.join(again)}")
    return 0


def _begun(arguments: argparse.Namespace, by_hand: set[str]) -> TokenizeConfig:
    """The configuration before what is set by hand: a recipe's own, or the defaults for what is given."""
    if arguments.recipe is None:
        source = "builtin" if arguments.documents is None else "documents"
        return TokenizeConfig(source=source, tokenizer="train" if arguments.tokenizer is None else "given")
    recipe, said = fitted_to_files(
        find_recipe(arguments.recipe),
        by_hand,
        documents=arguments.documents,
        tokenizer=arguments.tokenizer,
        data=None,
    )
    if recipe.tokenize is None:
        raise ConfigError(f"{recipe.name} fetches its data; name your own with --documents, or `pgolf fetch` gets them")
    for text in said:
        tell(text)
    return recipe.tokenize
