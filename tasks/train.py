"""The train stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="train", **STAGE_OPTIONS)
def train_network(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Train the network of one seed; a progress artifact shows the step and the loss."""
    return build(node, parents, place, TaskListener(progress_key=progress_key(node)))


def progress_key(node: Node) -> str:
    """The artifact's key in the UI, e.g. "train-1337"."""
    return f"{node.stage.name}-{node.seed}"
