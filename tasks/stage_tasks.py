"""Every stage as a Prefect task: ask the store, build on a miss, hand back a reference."""

from prefect import Task, task

from pgolf.identity.stage import Stage
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Node
from pgolf.pipeline.place import Place
from pgolf.recipes.recipe import STAGES, TRAIN
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener


def _task_of(stage: Stage) -> Task[..., Ref]:
    def build(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
        # A training shows its step and loss in an artifact, e.g. "train-1337-0c5d1f5e".
        progress_key = f"{stage.name}-{node.seed}" if stage is TRAIN else None
        store, memo = place.open_store(), place.memo()
        artifacts = {name: ref.artifact() for name, ref in parents.items()}
        listener = TaskListener(progress_key=progress_key)
        artifact, _built = build_node(node, artifacts, store, memo, place.run_options(), listener)
        store.save_memo()
        memo.save()
        return Ref.to(artifact)

    build.__name__ = build.__qualname__ = stage.name  # Prefect tells tasks apart by it
    return task(name=stage.name, **STAGE_OPTIONS)(build)


TASKS = {stage.name: _task_of(stage) for stage in STAGES.values()}
