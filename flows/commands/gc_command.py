"""`pgolf gc`: list or delete what no result refers to."""

import argparse
import json
from collections.abc import Sequence

from flows.commands.arguments import add_json, add_results, add_store, store_place
from pgolf.errors import ConfigError
from pgolf.pipeline.status import forget_the_gone
from pgolf.pipeline.upkeep import Garbage, delete, garbage, refuse_while_building
from pgolf.tables.parquet import read
from pgolf.tables.schema import STAGES

EXAMPLES = """examples:
  pgolf gc                                         what no result refers to (dry run)
  pgolf gc --delete
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    add_results(parser)
    parser.add_argument(
        "--without-results", action="store_true", help="no results refer to this store; all of it may go"
    )
    parser.add_argument("--delete", action="store_true", help="really delete; without it nothing is touched")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """List what no result refers to; delete it only when asked."""
    place = store_place(arguments)
    store = place.open_store()
    if not (arguments.results / STAGES.name).is_dir() and not arguments.without_results:
        raise ConfigError(
            f"{arguments.results} holds no result tables, so every output would count as unused; point --results at "
            "them, or say --without-results"
        )
    kept = [folder for folder in read(arguments.results, STAGES, columns=["folder"])["folder"].to_pylist() if folder]
    found = garbage(store, kept)
    if arguments.delete:
        refuse_while_building(store)
        delete(store, found)
        forget_the_gone(store.root)
    if arguments.json:
        rows = [
            {"folder": item.name, "size_bytes": item.size_bytes, "why": item.why, "shared": item.is_shared}
            for item in found
        ]
        total_bytes = sum(item.size_bytes for item in found)
        print(json.dumps({"deleted": arguments.delete, "size_bytes": total_bytes, "garbage": rows}, indent=2))
        return 0
    what = "deleted" if arguments.delete else "would go"
    for item in found:
        where = "" if place.remote is None else "  shared" if item.is_shared else "  cache "
        print(f"{what}{where}  {item.name:<44} {item.size_bytes:>15,} B  {item.why}")
    said = _folders(found)
    if place.remote is not None:
        here, shared = ([item for item in found if item.is_shared is there] for there in (False, True))
        said = f"in the cache {place.store} {_folders(here)}; in {place.remote}, for all who use it, {_folders(shared)}"
    print(said + ("" if arguments.delete or not found else "; --delete removes them"))
    return 0


def _folders(found: Sequence[Garbage]) -> str:
    return f"{len(found)} folders, {sum(item.size_bytes for item in found):,} bytes"
