"""Building one output from the command line, outside any run: what `pgolf fetch`, `tokenize` and `import` share."""

import argparse
import json

from flows.commands.arguments import store_place
from flows.commands.console import Console
from flows.commands.streams import hand_over, show
from flows.commands.summary import summary
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Node, left_out
from pgolf.store.artifact import Artifact


def build_output(node: Node, arguments: argparse.Namespace) -> Artifact:
    """Build the node, which reads no other, unless the store has its output; say where that is."""
    place = store_place(arguments)
    store, memo = place.open_store(), place.memo()
    with Console(reasons={}) as console, store.using(f"pgolf {arguments.command}", console.say):
        for text in left_out([node]):
            console.say(text)
        artifact, built = build_node(node, {}, store, memo, place.run_options(), console)
    store.save_memo()
    memo.save()
    if arguments.json:
        facts = dict(artifact.record.facts)
        hand_over(json.dumps({"folder": str(artifact.path), "built": built, "facts": facts}, indent=2))
    else:
        show(f"{artifact.path}  {summary(artifact)}")
    return artifact
