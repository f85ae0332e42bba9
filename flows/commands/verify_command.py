"""`pgolf verify`: hash every file of the store again."""

import argparse
import json

from flows.commands.arguments import add_json, add_store, store_place, store_there
from flows.commands.streams import hand_over, show
from pgolf.pipeline.upkeep import verify

EXAMPLES = """examples:
  pgolf verify                                     hash every file of ./artifacts again
  pgolf verify --store /shared/artifacts --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Check every file against its record; exit code 1 when something is damaged."""
    checked = list(verify(store_there(arguments, store_place(arguments))))
    damaged = [item for item in checked if item.why is not None]
    if arguments.json:
        rows = [{"folder": item.folder, "size_bytes": item.size_bytes, "damage": item.why} for item in checked]
        hand_over(json.dumps({"checked": len(checked), "damaged": len(damaged), "outputs": rows}, indent=2))
        return 1 if damaged else 0
    for item in checked:
        show(f"{'✗' if item.why else '✓'} {item.folder:<28} {item.size_bytes:>15,} B  {item.why or ''}".rstrip())
    show(f"{len(checked)} outputs checked, {len(damaged)} damaged")
    if damaged:
        show("a damaged output is never used: the next run moves it to quarantine and builds it again")
    return 1 if damaged else 0
