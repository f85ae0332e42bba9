"""What every stage task does: ask the store, build if need be, and hand back a reference."""

from collections.abc import Mapping

from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Node
from tasks.cache import Ref
from tasks.listening import TaskListener
from tasks.place import Place


def build(node: Node, parents: Mapping[str, Ref], place: Place, listener: TaskListener) -> Ref:
    """The reference to the node's artifact, which the store reuses or builds now."""
    store, memo = place.open_store(), place.memo()
    artifacts = {name: ref.artifact() for name, ref in parents.items()}
    artifact, _built = build_node(node, artifacts, store, memo, place.run_options(), listener)
    store.save_memo()
    memo.save()
    return Ref.to(artifact)
