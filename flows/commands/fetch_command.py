"""`pgolf fetch`: download the published data set."""

import argparse

from flows.commands.arguments import add_json, add_set, add_store, store_place
from flows.commands.single_output import build_output
from flows.commands.streams import tell
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.pipeline.graph import Sources, data_node
from pgolf.pipeline.revisions import pin
from pgolf.recipes.overrides import override_section

EXAMPLES = """examples:
  pgolf fetch --train-shards 80                    the published FineWeb shards and tokenizer
  pgolf fetch --train-shards 1 --store s3://bucket/prefix
  pgolf fetch --set fetch.repo_id=kevclark/parameter-golf --set fetch.variant=sp8192 --set fetch.revision=COMMIT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--train-shards", type=int, metavar="N", help="training shards to fetch (default: 80)")
    add_set(parser)
    add_store(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Download what is not there yet."""
    given = {"train_shards": arguments.train_shards}
    overrides = [f"{name}={value}" for name, value in given.items() if value is not None] + arguments.overrides
    config = override_section("fetch", FetchConfig(), overrides)
    pinned = pin(config, store_place(arguments).open_store())
    pinned.refuse_unasked()
    for text in pinned.notes():
        tell(text)
    build_output(data_node(pinned.config or config, Sources()), arguments)
    return 0
