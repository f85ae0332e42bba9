"""Build the outputs of a recipe: one node, or all of them in order. Does not need Prefect."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from pgolf.pipeline.graph import External, Link, Node, input_folders, key_of
from pgolf.pipeline.listen import Both, Listener, Silence
from pgolf.pipeline.status import StatusFile
from pgolf.run_options import Progress, RunOptions
from pgolf.store.artifact import Artifact, Store, build_once
from pgolf.store.content import Memo
from pgolf.store.differences import differences
from pgolf.store.output_record import Parent


def build_node(
    node: Node,
    parents: Mapping[str, Artifact],
    store: Store,
    memo: Memo,
    run: RunOptions,
    listener: Listener,
    *,
    on_wait: Callable[[], None] = lambda: None,
) -> tuple[Artifact, bool]:
    """The node's artifact, reused or built now, and whether it was built. parents: node name -> artifact.

    on_wait: called before a wait for another that builds it; what it raises ends the call. Raises what the stage raises
    for bad input (`PgolfError`), StoreFull and StoreError.
    """

    def wait() -> None:
        on_wait()
        told.waiting(node, "another process is building it; waiting")

    def report(progress: Progress) -> None:
        told.progress(node, progress)
        run.report(progress)

    def log_line(line: str) -> None:
        told.line(node, line)
        run.log_line(line)

    key = key_of(node, parents, memo)
    with StatusFile(store.root, key.folder, run) as status:
        told = Both(listener, status)
        artifact, built = build_once(
            store,
            node.stage,
            key,
            node=node.name,
            inputs=input_folders(node, parents),
            parents=_parents(node, parents),
            run=replace(run, report=report, log_line=log_line),
            on_wait=wait,
            on_queue=lambda text: told.waiting(node, text),
            on_build=lambda: told.building(node),
            changed_meanwhile=lambda: _gone(node) or differences(key.fields(), key_of(node, parents, memo).fields()),
        )
    listener.done(node, artifact, built=built)
    return artifact, built


def build_all(
    nodes: Sequence[Node], store: Store, memo: Memo, run: RunOptions, listener: Listener | None = None
) -> dict[str, Artifact]:
    """Every node's artifact by name, one stage after the other in this process.

    What another process is building is left for later, so that several that run one recipe over a shared store split
    its seeds instead of waiting for one another.
    """
    artifacts: dict[str, Artifact] = {}
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if all(name in artifacts for name in node.parents)]
        free = next((node for node in ready if not store.is_held(key_of(node, artifacts, memo).folder)), None)
        node = free or ready[0]
        parents = {name: artifacts[name] for name in node.parents}
        with suppress(_BuiltElsewhere):  # begun by another meanwhile: look again what is free
            artifacts[node.name], _built = build_node(
                node, parents, store, memo, run, listener or Silence(), on_wait=_look_again if free else _wait
            )
            waiting.remove(node)
    return artifacts


class _BuiltElsewhere(Exception):
    """Another process has begun to build what we have chosen."""


def _look_again() -> None:
    raise _BuiltElsewhere


def _wait() -> None:
    """Nothing else is left to do."""


def _gone(node: Node) -> list[str]:
    """One text per file from outside that is no longer there: it has no content to compare."""
    return [
        f"input {role} gone: {source.path} is no longer there"
        for role, source in node.inputs.items()
        if isinstance(source, External) and not source.path.exists()
    ]


def _parents(node: Node, artifacts: Mapping[str, Artifact]) -> dict[str, Parent]:
    parents = {}
    for role, source in node.inputs.items():
        if isinstance(source, Link):
            artifact = artifacts[source.node]
            outputs = {output: artifact.outputs[output] for output in source.outputs}
            parents[role] = Parent(folder=artifact.path.name, outputs=outputs)
        else:
            parents[role] = Parent(folder=str(source.path), outputs={})
    return parents
