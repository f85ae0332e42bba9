"""The graph of a recipe's stages, and the cache key of each node once its inputs exist.

One definition serves `pgolf plan`, the plain runner and the Prefect flows, so that what is planned is what runs.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any, Literal

from pgolf.bundle.bundle import bundle
from pgolf.config import StageConfig
from pgolf.corpus import builtin
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.document_files import document_files
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.corpus.shards_config import ShardsConfig
from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError, DataError
from pgolf.identity.closure import stage_code
from pgolf.identity.origins import distributions_of
from pgolf.identity.stage import Stage, StageKey
from pgolf.model.import_config import ImportConfig
from pgolf.pack.codec import CODECS
from pgolf.pack.config import CompressConfig
from pgolf.pipeline.own_trial import own_trial
from pgolf.pipeline.placement import Hardware
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import AUDIT, FETCH, IMPORT, SHARDS, STAGES, TOKENIZE, TRAIN, Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact
from pgolf.store.content import Memo, combined
from pgolf.train.config import TrainStageConfig

if TYPE_CHECKING:
    from pgolf.corpus.data_files import DataFiles

# What a source from outside has to be. A pipe or a device could be read once only, and is read twice: for its key too.
_READ: dict[str, tuple[tuple[Callable[[int], bool], ...], str]] = {
    "documents": ((S_ISREG, S_ISDIR), "a file of documents or a folder of them"),
    "tokenizer": ((S_ISREG,), "a SentencePiece .model file"),
    "data": ((S_ISDIR,), "the folder of one data set, shards and tokenizer"),
    "checkpoint": ((S_ISREG,), "a file of weights"),
}


@dataclass(frozen=True, slots=True)
class Link:
    """Reads named outputs of another node."""

    node: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class External:
    """Reads a file or folder from outside the store, identified by the content of what the stage reads of it.

    holds: what the stage looks for there, and so which files it reads and how. tokenizer: of a data set without one.
    """

    path: Path
    holds: Literal["one file", "every file", "documents", "data"] = "one file"
    tokenizer: Path | None = None

    def files(self) -> dict[str, Path]:
        """The files that are read, by what decides beside their bytes what is made of them: reader, name, order.

        Raises DataError where there are none.
        """
        if self.holds == "documents":
            return {file.identity: file.path for file in document_files(self.path).files}
        if self.holds == "data":
            return self._data().by_name
        if self.holds == "every file":
            return {str(path.relative_to(self.path)): path for path in sorted(self.path.rglob("*")) if path.is_file()}
        return {"": self.path}

    def left_out(self) -> str:
        """What lies there and is not read, with counts; empty if everything is. Raises as `files`."""
        if self.holds == "documents":
            return document_files(self.path).about_left_out()
        return self._data().about_missing() if self.holds == "data" else ""

    def _data(self) -> "DataFiles":
        from pgolf.corpus.data_files import find_data  # needs numpy, which most plans do not

        return find_data(self.path, self.tokenizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One output to be had: a stage, its config, and where its inputs come from."""

    name: str
    stage: Stage
    config: StageConfig
    seed: int | None = None
    inputs: Mapping[str, Link | External] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the nodes it reads from, without repeats."""
        return tuple(dict.fromkeys(link.node for link in self.inputs.values() if isinstance(link, Link)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a recipe's own files lie on this machine: places, not identity; their content enters the keys.

    documents: a file, or a folder of .jsonl, .parquet or .txt files. tokenizer: a SentencePiece .model file. data: a
    folder that holds one data set, shards and tokenizer, which takes the place of fetching or tokenizing.
    checkpoints: seed -> file of weights that takes the place of training; checkpoint_steps: seed -> steps behind them.
    """

    documents: Path | None = None
    tokenizer: Path | None = None
    data: Path | None = None
    checkpoints: Mapping[int, Path] = field(default_factory=dict)
    checkpoint_steps: Mapping[int, int] = field(default_factory=dict)


def pipeline(recipe: Recipe, sources: Sources = Sources(), run: RunOptions = RunOptions()) -> tuple[Node, ...]:  # noqa: B008
    """Every node of `recipe`, each after the nodes it reads from. Raises ConfigError for a missing source file.

    Without the settings that nothing reads, so that setting them makes nothing run again.
    """
    recipe = recipe.as_read()
    _check_checkpoints(recipe, sources)
    code_bytes = len(bundle(recipe))
    # Imports first of all, so that a file that does not fit ends the run before any work.
    nodes = [import_node(recipe, seed, sources) for seed in recipe.seeds if seed in sources.checkpoints]
    for seed in (None, *recipe.seeds):
        for stage in STAGES.values():
            config = recipe.config_of(stage)
            if stage is AUDIT or config is None or stage.per_seed != (seed is not None):
                continue
            name = stage.name if seed is None else f"{stage.name}[{seed}]"
            node = Node(name=name, stage=stage, config=config, seed=seed, inputs=_inputs(stage, seed, nodes))
            if isinstance(config, FetchConfig | TokenizeConfig):
                nodes.append(data_node(config, sources))
            elif isinstance(config, TrainStageConfig):
                if seed not in sources.checkpoints:
                    nodes.append(replace(node, values={"seed": seed}, hardware=_clock_hardware(config, run)))
            elif isinstance(config, CountConfig):
                nodes += [
                    replace(node, name=f"{stage.name}[{estimator}]", config=config.of(estimator))
                    for estimator in recipe.estimators
                ]
            elif isinstance(config, CompressConfig):
                library = CODECS[config.codec].library
                if library and not distributions_of(library):
                    raise _absent(library)
                nodes.append(replace(node, values={"code_bytes": code_bytes}))
            else:
                nodes.append(node)
    nodes += _trials(recipe, nodes)
    for node in nodes:
        stage_code(node.stage.entry)  # so that code which cannot be named ends the run before any work
    return tuple(nodes)


def _trials(recipe: Recipe, nodes: Sequence[Node]) -> Iterator[Node]:
    """The trial of the scorers, last of all: no seed waits for it. Whether one is honest does not hang on its seed."""
    if (config := own_trial(recipe)) is not None:
        seed = recipe.seeds[0]
        inputs = _inputs(AUDIT, seed, nodes)
        yield Node(name=f"{AUDIT.name}[{seed}]", stage=AUDIT, config=config, seed=seed, inputs=inputs)


def _inputs(stage: Stage, seed: int | None, before: Sequence[Node]) -> dict[str, Link]:
    """What the stage reads of the nodes before it: those of its own seed, and those made once for all seeds."""
    inputs = {}
    for role, reads in stage.reads.items():
        for node in before:
            if node.stage in reads.stages and node.seed in (None, seed):
                # There is a node of counts per estimator, and all of them are read.
                one = f"{role}.{node.config.estimator}" if isinstance(node.config, CountConfig) else role
                inputs[one] = Link(node.name, reads.outputs)
    return inputs


def _check_checkpoints(recipe: Recipe, sources: Sources) -> None:
    unknown = sorted(sources.checkpoints.keys() - set(recipe.seeds))
    if unknown:
        raise ConfigError(
            f"a checkpoint is given for seed {unknown[0]}, but the seeds are {', '.join(map(str, recipe.seeds))}; "
            f"pass --seeds {unknown[0]}, or the checkpoint as SEED=PATH"
        )
    without = sorted(sources.checkpoint_steps.keys() - sources.checkpoints.keys())
    if without:
        raise ConfigError(
            f"--checkpoint-steps for seed {without[0]} says how far its checkpoint was trained, and none is given; "
            "pass --checkpoint FILE too, or leave the steps out"
        )


def import_node(recipe: Recipe, seed: int, sources: Sources) -> Node:
    """The node that reads a seed's weights from a file. Raises ConfigError where there is no such file."""
    steps = sources.checkpoint_steps.get(seed, 0)
    position = steps * recipe.train.stream_tokens_per_step
    config = validated(ImportConfig, {"model": recipe.model.as_read(), "steps": steps, "stream_position": position})
    weights = External(_source(sources.checkpoints[seed], "checkpoint"))
    return Node(name=f"import[{seed}]", stage=IMPORT, config=config, seed=seed, inputs={"weights": weights})


def data_node(config: FetchConfig | TokenizeConfig, sources: Sources) -> Node:
    """The node that makes shards and tokenizer. Raises ConfigError for a source that is missing or not asked for."""
    if sources.data is not None:
        return _shards_node(sources, _source(sources.data, "data"))
    config = config.as_read()
    if isinstance(config, FetchConfig):
        return Node(name="data", stage=FETCH, config=config)
    inputs: dict[str, Link | External] = {}
    tools = {}
    if config.source == "builtin":
        # The built-in corpus is the interpreter's own documentation, which builds of one version carry in part.
        tools["python documentation"] = builtin.identity()
        _refuse_unread(sources.documents, "documents", "tokenize.source=documents")
    else:
        inputs["documents"] = External(_source(sources.documents, "documents"), "documents")
    if config.tokenizer == "given":
        inputs["tokenizer"] = External(_source(sources.tokenizer, "tokenizer"))
    else:
        _refuse_unread(sources.tokenizer, "tokenizer", "tokenize.tokenizer=given")
    return Node(name="data", stage=TOKENIZE, config=config, inputs=inputs, tools=tools)


def _shards_node(sources: Sources, folder: Path) -> Node:
    if sources.documents is not None:
        raise ConfigError(f"--data {folder} takes the place of --documents {sources.documents}; pass one of them")
    model = None if sources.tokenizer is None else _source(sources.tokenizer, "tokenizer")
    inputs = {"data": External(folder, "data", model)} | ({"tokenizer": External(model)} if model else {})
    return Node(name="data", stage=SHARDS, config=ShardsConfig(), inputs=inputs)


def _refuse_unread(path: Path | None, role: str, setting: str) -> None:
    if path is not None:
        raise ConfigError(f"--{role} {path} would not be read by this recipe: add --set {setting}")


def _source(path: Path | None, role: str) -> Path:
    if path is None:
        raise ConfigError(f"this recipe reads {role} from outside: pass --{role} PATH")
    kinds, what = _READ[role]
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"--{role} {path}: no such file or folder; give {what}") from None
    except (OSError, ValueError) as error:  # a name that is too long, a link to itself, a folder that is locked, a NUL
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"--{role} {path}: cannot be looked up ({why}); give {what}") from None
    if not any(is_kind(mode) for is_kind in kinds):
        found = "a folder" if S_ISDIR(mode) else "a file" if S_ISREG(mode) else "neither a file nor a folder"
        raise ConfigError(f"--{role} {path} is {found}; give {what}")
    return path


def _clock_hardware(config: TrainStageConfig, run: RunOptions) -> dict[str, Any]:
    """What a training that stops by the clock depends on beside its key: how much it gets done in the time."""
    if config.train.clock_limit_s is None:
        return {}
    here = Hardware.here(TRAIN, config, run)
    return {"device": here.gpu or here.cpu, "processes": here.ranks, "torch": metadata.version("torch")}


def content_digest(source: External, memo: Memo) -> str:
    """Digest of what a stage reads there: of a file's bytes, or of all files with what decides how they are read.

    Raises DataError if a file cannot be read.
    """
    with _readable(source.path):
        files = source.files()
        # In threads: hashing lets go of the interpreter, and the first look at a folder must read all of it.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            digests = dict(zip(files, pool.map(memo.sha256, files.values())))
    return digests[""] if source.holds == "one file" else combined(digests.items())


@dataclass(frozen=True, slots=True)
class Unread:
    """Files from outside that were never read, or have changed since."""

    path: Path
    files: int
    size_bytes: int

    def __str__(self) -> str:
        files = "" if self.files == 1 else f"{self.files:,} files of "
        return f"{self.path}: {files}{self.size_bytes / 1e9:,.1f} GB not read yet"


def unread(node: Node, memo: Memo) -> tuple[Unread, ...]:
    """What `key_of` would have to read of the node's files from outside. Raises DataError as `content_digest`."""
    found = []
    for source in node.inputs.values():
        if isinstance(source, External):
            with _readable(source.path):
                sizes = [size for file in source.files().values() if (size := memo.unread_bytes(file))]
            if sizes:
                found.append(Unread(source.path, len(sizes), sum(sizes)))
    return tuple(found)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """An error of the system inside becomes a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}; make it readable, or give another"
        ) from None


def left_out(nodes: Sequence[Node]) -> tuple[str, ...]:
    """A sentence for each place outside the store of which something is not read."""
    sources = [source for node in nodes for source in node.inputs.values() if isinstance(source, External)]
    return tuple(f"{source.path}: {text}" for source in sources if (text := source.left_out()))


def key_of(node: Node, parents: Mapping[str, Artifact], memo: Memo) -> StageKey:
    """The node's key, given the artifacts of the nodes it reads from (by node name)."""
    if isinstance(node.config, FetchConfig) and not node.config.is_pinned:
        raise ConfigError(
            f"fetch.revision={node.config.revision} is a name, which may move, and an output is known by its commit: "
            "set the commit, or ask for it with pgolf.pipeline.revisions.pin"
        )
    inputs = {}
    for role, source in node.inputs.items():
        if isinstance(source, External):
            inputs[role] = content_digest(source, memo)
        else:
            for output in source.outputs:
                inputs[f"{role}.{output}"] = parents[source.node].outputs[output]
    code = stage_code(node.stage.entry)
    return StageKey(
        stage=node.stage.name,
        version=node.stage.version,
        config=node.config,
        inputs=inputs,
        values=node.values,
        code=code.modules,
        tools=_tools(node, code.distributions),
        hardware=node.hardware,
    )


def _absent(distribution: str) -> ConfigError:
    return ConfigError(f"{distribution} is not installed; run `make setup` (or pip install {distribution})")


def _tools(node: Node, distributions: Mapping[str, str]) -> dict[str, str]:
    """Versions of all that the stage's code imports, of some the first numbers only."""
    versions = dict(distributions)
    for name, parts in node.stage.version_parts.items():
        if versions.get(name, "absent") == "absent":
            raise _absent(name)
        versions[name] = ".".join(versions[name].split(".")[:parts])
    return versions | dict(node.tools)


def input_folders(node: Node, parents: Mapping[str, Artifact]) -> dict[str, Path]:
    """Role -> folder or file the stage reads from."""
    return {
        role: source.path if isinstance(source, External) else parents[source.node].path
        for role, source in node.inputs.items()
    }
