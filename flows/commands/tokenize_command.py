"""`pgolf tokenize`: documents to token shards."""

import argparse

from flows.commands.arguments import add_json, add_set, add_store, given_path
from flows.commands.single_output import build_output
from pgolf.corpus.config import TokenizeConfig
from pgolf.pipeline.graph import Sources, data_node
from pgolf.recipes.overrides import apply_overrides

EXAMPLES = """examples:
  pgolf tokenize --documents docs.jsonl --vocab-size 1024 --val-documents 500
  pgolf tokenize --documents docs/ --tokenizer fineweb_1024_bpe.model --skip-bad 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--documents", type=given_path, metavar="PATH", help="file or folder; default the built-in corpus"
    )
    parser.add_argument("--tokenizer", type=given_path, metavar="MODEL", help="SentencePiece model; default: train one")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="pieces of a tokenizer trained here")
    parser.add_argument("--val-documents", type=int, metavar="N", help="first N documents are the validation split")
    parser.add_argument("--skip-bad", type=int, metavar="N", help="tolerate up to N unusable documents")
    add_set(parser)
    add_store(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Tokenize the documents."""
    given = {
        "source": "builtin" if arguments.documents is None else "documents",
        "tokenizer": "train" if arguments.tokenizer is None else "given",
        "vocab_size": arguments.vocab_size,
        "val_documents": arguments.val_documents,
        "skip_bad": arguments.skip_bad,
    }
    overrides = [f"{name}={value}" for name, value in given.items() if value is not None] + arguments.overrides
    config = apply_overrides(TokenizeConfig(), overrides)
    return build_output(
        data_node(config, Sources(documents=arguments.documents, tokenizer=arguments.tokenizer)), arguments
    )
