"""The configuration of a seed: all that decides what it comes to but the seed itself and our code.

The data's identity, and the settings of every stage from training to scoring; not of counts, hints and mixtures, under
which the network is the same, and not names, tags and notes. Known before anything runs, it is what seeds are declared
for (`pgolf.tables.declared_seeds`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgolf.identity.fingerprint import canonical
from pgolf.pipeline.graph import External, Node, content_digest
from pgolf.recipes.recipe import IMPORT, SCORE
from pgolf.store.content import Memo


def configurations(nodes: Sequence[Node], data_inputs: Mapping[str, str]) -> dict[int, dict[str, Any]]:
    """Seed -> its configuration, as plain data. data_inputs: what the data are made from, as `data_inputs_of` says."""
    by_name = {node.name: node for node in nodes}
    data = by_name["data"]
    about_data = {
        "stage": data.stage.name,
        "config": canonical(data.config),
        "inputs": dict(data_inputs),
        "tools": dict(data.tools),  # of the built-in text: which text it is
    }
    return {
        node.seed: {"data": about_data} | {one.stage.name: _settings(one) for one in _behind(node, by_name)}
        for node in nodes
        if node.stage is SCORE and node.seed is not None
    }


def data_inputs_of(nodes: Sequence[Node], memo: Memo) -> dict[str, str]:
    """Role -> digest of the files from outside that the data are made from. Raises DataError as `content_digest`."""
    data = next(node for node in nodes if node.name == "data")
    return {role: content_digest(source, memo) for role, source in data.inputs.items() if isinstance(source, External)}


def _behind(node: Node, by_name: Mapping[str, Node]) -> Iterator[Node]:
    """A node, and all of its seed that it depends on."""
    yield node
    for name in node.parents:
        if by_name[name].seed == node.seed:
            yield from _behind(by_name[name], by_name)


def _settings(node: Node) -> Any:
    settings = canonical(node.config)
    if node.stage is IMPORT:  # the weights of a file are the seed's own, and so are the steps behind them
        assert isinstance(settings, dict)
        return {"model": settings["model"]}
    return settings
