"""How much a stage has to do: all that decides its seconds on one machine, of a node still to run and of a past one.

Two pieces of work of one shape differ in their units alone. Which fields are left out of the shape, because they do not
change how much is computed, is listed here; every other field is in it, so that a new one makes work incomparable
until somebody has shown that it is not. Imports neither torch nor Prefect.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgolf.config import StageConfig
from pgolf.identity.fingerprint import canonical
from pgolf.mix.product import FIELD, USES, Mixer, Product
from pgolf.model.config import ModelConfig
from pgolf.model.parameter_count import parameter_count
from pgolf.pipeline.graph import Link, Node
from pgolf.recipes.recipe import AUDIT, CALIBRATE, COMPRESS, COUNT, HINT, IMPORT, MIX, SCORE, TRAIN
from pgolf.store.output_record import Record

# Learning rates and the like: other numbers, as many operations.
_OF_TRAIN_VALUES = frozenset(
    f"{optimizer}_{name}"
    for optimizer, names in {
        "muon": ("lr", "momentum", "momentum_start", "momentum_warmup_steps", "weight_decay"),
        "adam": ("beta1", "beta2", "eps", "weight_decay"),
        "embedding": ("lr",),
        "scalar": ("lr",),
        "ema": ("decay",),
        "clip": ("norm",),
    }.items()
    for name in names
)
_STEPS = "steps"
# From some step on these cost more than the steps before: then no number of steps says what another takes.
_UNEVEN_STEPS = {"late_qat_below_scale": None, "crownq_weight": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """shape: what has to be equal, by name. units: how many of `unit` there are; None where nothing is counted.

    known_linear: seconds were measured to grow with the units, apart from a start-up (docs/decisions.md); of all others
    the records themselves have to show it. most_s: a limit on the seconds beside the start-up.
    """

    shape: Mapping[str, Any]
    units: int | None = None
    unit: str = ""
    known_linear: bool = False
    most_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reads:
    """What a stage reads, as far as it decides how much there is to do. None: not known.

    network: the model config behind weights. targets: tokens of the validation data. others: role -> config of the
    stage that made it. inputs: all of it, as in the key.
    """

    network: Mapping[str, Any] | None
    targets: int | None
    others: Mapping[str, Any]
    inputs: Mapping[str, str] | None


def work_of_node(
    node: Node, nodes: Mapping[str, Node], targets: int | None, known_inputs: Mapping[str, str]
) -> Work | None:
    """What the node would have to do; None where that is not known yet.

    nodes: those before it, by name. targets: tokens of the validation data, where they are known.
    """
    reads = _Reads(
        network=_network_before(node, nodes),
        targets=targets,
        others={
            role: canonical(nodes[source.node].config)
            for role, source in node.inputs.items()
            if isinstance(source, Link) and role in _sized(node.inputs) and source.node in nodes
        },
        inputs=known_inputs if _all_known(node, known_inputs) else None,
    )
    return _work(node.stage.name, _plain(node.config), reads)


def work_of_record(record: Record, parent: Callable[[str], Record | None]) -> Work | None:
    """What was done for an output; None where that cannot be told any more. parent: the record of a folder's name."""
    config = record.key.get("config")
    if not isinstance(config, dict):
        return None
    before = {role: parent(record.parents[role].folder) for role in record.parents}
    data = before.get("data")
    targets = data.facts.get("tokens_val") if data is not None else None
    reads = _Reads(
        network=_network_behind(record, parent),
        targets=targets if isinstance(targets, int) else None,
        others={role: made.key.get("config") if (made := before[role]) else None for role in _sized(before)},
        inputs=record.key.get("inputs", {}),
    )
    work = _work(record.stage, config, reads)
    steps = record.facts.get("steps")
    if work is not None and work.unit == _STEPS and isinstance(steps, int):
        return replace(work, units=steps)  # by the clock it may have ended before its last step
    return work


def _work(stage: str, config: Mapping[str, Any], reads: _Reads) -> Work | None:
    if stage == TRAIN.name:
        return _training(config)
    if stage == IMPORT.name:
        return Work(shape={"model": config["model"]})
    if stage in (AUDIT.name, CALIBRATE.name, COMPRESS.name, SCORE.name) and reads.network is None:
        return None
    if stage == AUDIT.name:
        return Work(shape={"config": config, "model": reads.network})
    if stage == CALIBRATE.name:
        shape = {"config": _without(config, "batches"), "model": reads.network}
        return Work(shape=shape, units=config["batches"], unit="batches")
    if stage == COMPRESS.name:
        model = ModelConfig.model_validate(reads.network)
        return Work(shape={"config": config}, units=parameter_count(model), unit="parameters")
    if stage not in (SCORE.name, COUNT.name, HINT.name, MIX.name):
        # How its seconds grow with what it reads is not known.
        return None if reads.inputs is None else Work(shape={"config": config, "inputs": dict(reads.inputs)})
    if reads.targets is None or any(other is None for other in reads.others.values()):
        return None
    others = {"reads": dict(reads.others)} if reads.others else {}
    if stage == SCORE.name:
        shape = {"config": config, "model": reads.network, **others}
        return Work(shape=shape, units=reads.targets, unit="targets")
    if stage in (COUNT.name, HINT.name):
        return Work(shape={"config": config}, units=reads.targets, unit="targets")
    points, rest = _points(config)
    return Work(shape={"config": rest, **others}, units=points * reads.targets, unit="points times targets")


def _training(config: Mapping[str, Any]) -> Work:
    train = config["train"]
    even = all(train.get(name) == off for name, off in _UNEVEN_STEPS.items())
    limit_s = train["clock_limit_s"]
    # Records of older programs know no reserve.
    end_s = None if limit_s is None else limit_s - train.get("clock_reserve_s", 0.0)
    ignored = {*_OF_TRAIN_VALUES, "clock_limit_s", "clock_reserve_s", *(("steps", "warmdown_steps") if even else ())}
    shape = {"model": config["model"], "train": _without(train, *ignored)}
    if not even:
        # Their share of the steps depends on the limit too.
        return Work(shape={**shape, "clock_end_s": end_s}, most_s=end_s)
    return Work(shape=shape, units=train["steps"], unit=_STEPS, known_linear=True, most_s=end_s)


def _points(config: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many points the products of a grid have per order and table, and the config without their values.

    A point of one mixer takes longer than of another, so in place of the values stands each mixer's share of the points
    of its product, and each product's share of all.
    """
    products = [{name: config[name] for name in Product.model_fields}, *config["also"]]
    points = [{mixer: _combinations(product, mixer) for mixer in product["mixers"]} for product in products]
    total = sum(sum(of_mixers.values()) for of_mixers in points)
    shared = math.gcd(*(number for of_mixers in points for number in of_mixers.values())) or 1
    rest = [
        _without(product, *FIELD) | {"shares": {mixer: number // shared for mixer, number in of_mixers.items()}}
        for product, of_mixers in zip(products, points)
    ]
    return total, {"products": rest, "bayes": config["bayes"], "hedges": config["hedges"]}


def _combinations(product: Mapping[str, Any], mixer: Mixer) -> int:
    return math.prod(len(product[name]) for name in USES[mixer])


def _plain(config: StageConfig) -> dict[str, Any]:
    plain = canonical(config)
    assert isinstance(plain, dict)
    return plain


def _without(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


def _sized(roles: Mapping[str, Any]) -> list[str]:
    """The roles whose makers' settings say how large they are."""
    return [role for role in roles if role == "hints" or role.startswith("counts")]


def _all_known(node: Node, known_inputs: Mapping[str, str]) -> bool:
    wanted = {
        name
        for role, source in node.inputs.items()
        for name in ([f"{role}.{output}" for output in source.outputs] if isinstance(source, Link) else [role])
    }
    return wanted <= known_inputs.keys()


def _network_before(node: Node, nodes: Mapping[str, Node]) -> Mapping[str, Any] | None:
    model = getattr(node.config, "model", None)
    if isinstance(model, ModelConfig):
        return _plain(model)
    for role in ("checkpoint", "model"):
        source = node.inputs.get(role)
        if isinstance(source, Link) and source.node in nodes:
            return _network_before(nodes[source.node], nodes)
    return None


def _network_behind(record: Record, parent: Callable[[str], Record | None]) -> Mapping[str, Any] | None:
    model = (record.key.get("config") or {}).get("model")
    if isinstance(model, dict):
        return model
    for role in ("checkpoint", "model"):
        if role in record.parents:
            before = parent(record.parents[role].folder)
            return None if before is None else _network_behind(before, parent)
    return None
