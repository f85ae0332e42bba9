"""What stands against a run, found before its first stage: `pgolf plan` shows it, every way to run refuses it.

One list for both, so that nothing is trained and then refused. Imports neither torch nor Prefect, and declares and
builds nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.dataset import SHARD_PREFIX
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.corpus.shards_config import ShardsConfig
from pgolf.errors import ConfigError, PgolfError
from pgolf.eval.config import ScoreConfig
from pgolf.machine.gpu_state import gpu_states, memory_lacks
from pgolf.machine.gpus import visible_gpus
from pgolf.machine.hardware import gpu_names, on_gpu, ranks_for, refuse_uneven
from pgolf.machine.lease import leased
from pgolf.mix.hedge_config import refuse_large_tables
from pgolf.pipeline.graph import External
from pgolf.pipeline.headline_place import estimators_of, holds_headline
from pgolf.pipeline.plan import Step
from pgolf.pipeline.taken_name import Configured, taken
from pgolf.pipeline.writable import unwritable
from pgolf.recipes.changed import is_named
from pgolf.recipes.recipe import TRAIN, Recipe
from pgolf.run_options import RunOptions
from pgolf.tables.file_names import FOLDERS, longest_name
from pgolf.tables.unreadable import unreadable
from pgolf.train.config import TrainStageConfig
from pgolf.train.expected_memory import expected_gpu_bytes

# A vocabulary may be padded, to a multiple of this at most; data with fewer tokens is another network's.
_MOST_PADDING = 1024

# Folders that the store makes in itself, beside its outputs.
_IN_STORE = (".locks", ".running", "partial", "referring")
# So many damaged files of tables are named.
_MOST_FILES = 5
_IN_RESULTS = (*FOLDERS, "figures", "reports")


def check_run(
    recipe: Recipe,
    steps: Sequence[Step],
    run: RunOptions,
    *,
    store: Path,
    results: Path,
    evaluation_only: bool = False,
    configured: Configured | None = None,
) -> None:
    """Raises ConfigError with all that `refusals` finds."""
    folders = {"store": store, "results": results}
    found = refusals(recipe, steps, run, **folders, evaluation_only=evaluation_only, configured=configured)
    if found:
        if len(found) == 1:
            raise ConfigError(found[0])
        raise ConfigError(f"{len(found)} things stand against this run:", *(f"  {each}" for each in found))


def refusals(
    recipe: Recipe,
    steps: Sequence[Step],
    run: RunOptions,
    *,
    store: Path,
    results: Path,
    evaluation_only: bool = False,
    configured: Configured | None = None,
) -> tuple[str, ...]:
    """Why the steps cannot all be run here, one text per reason, each with what to do; empty where nothing is against.

    Of a step that is reused nothing is asked. store, results: the folders to write to. evaluation_only: another grid on
    finished artifacts, which need not hold the declared headline. configured: see `pgolf.pipeline.taken_name`.

    The driver is asked for GPUs, not torch, so that it costs no import; the stages check again for themselves.
    """
    todo = [step for step in steps if step.action != "reuse"]
    found = [*_machine(todo, run), *_tokenizer(todo), *_vocabulary(recipe, steps), *_data_ranks(recipe, steps)]
    if not evaluation_only:
        found += _headline(recipe)
    damaged = unreadable(results, _MOST_FILES) if todo or is_named(recipe) else []
    found += damaged or filter(None, [taken(recipe, results, configured)])
    if todo:
        names = [f"{end}{kind}" for end in _names(todo) for kind in (".model", ".vocab")]
        found += unwritable(store, "--store", _IN_STORE, names=names, named_by=_name_option(todo))
        tables = [longest_name(f"{recipe.name}-{12 * '0'}-{22 * '0'}")]
        found += unwritable(results, "--results", _IN_RESULTS, names=tables, named_by="the recipe's name")
    return tuple(dict.fromkeys(found))


def _machine(todo: Sequence[Step], run: RunOptions) -> Iterator[str]:
    seen = set()
    for step in todo:
        stage, name = step.node.stage, step.node.name
        if stage.uses_gpu and run.device != "cpu":
            here = visible_gpus()
            if here.problem:
                yield f"{name}: {here.problem}; or use --device cpu"
                return
            if run.device == "cuda" and not here.gpus:
                yield f"{name}: device cuda asked for, but {here.counted}; use --device auto or cpu"
                return
        if stage.name in seen:  # the same of every seed
            continue
        seen.add(stage.name)
        if isinstance(step.node.config, TrainStageConfig):
            yield from _ranks(name, step.node.config, run)
        elif isinstance(step.node.config, ScoreConfig):
            yield from _precision(name, step.node.config, run)


def _ranks(node: str, config: TrainStageConfig, run: RunOptions) -> Iterator[str]:
    spans = config.train.spans_per_step
    ranks = ranks_for(run, spans)
    try:
        refuse_uneven(ranks, spans)
    except ConfigError as error:
        yield f"{node}: {error}"
    if not on_gpu(run):
        return
    here = visible_gpus()
    if ranks > len(here.gpus):
        yield f"{node}: {ranks} ranks asked for, but {here.counted}, and each needs one; lower --processes"
    # What another run holds is waited for, not refused.
    if run.lease_dir is None or not leased(run.lease_dir):
        needed = expected_gpu_bytes(config.model, config.train)
        yield from memory_lacks(gpu_states(), needed, node)


def _precision(node: str, config: ScoreConfig, run: RunOptions) -> Iterator[str]:
    if config.precision == "bfloat16" and (run.device == "cpu" or not gpu_names()):
        there = "device cpu was asked for" if run.device == "cpu" else visible_gpus().counted
        yield (
            f"{node}: precision bfloat16 is computed on CUDA, and {there}; run on a GPU node, add "
            "--set score.precision=float32, or take the recipe's -tiny twin"
        )
    if config.precision == "float32" and run.device == "cuda":
        yield (
            f"{node}: precision float32 is computed on a CPU, but device cuda was asked for; add "
            "--set score.precision=bfloat16, or leave the device to choose itself"
        )


def _tokenizer(todo: Sequence[Step]) -> Iterator[str]:
    """A tokenizer that is given, by the file itself: the stage would find it after it has looked at the documents."""
    for step in todo:
        config, model = step.node.config, _given_tokenizer(step)
        if model is None:
            continue
        try:
            pieces = _size_of(model)
        except PgolfError as error:
            yield f"{step.node.name}: {error}"
            continue
        if isinstance(config, TokenizeConfig) and pieces != config.vocab_size:
            yield (
                f"{step.node.name}: --tokenizer {model} has {pieces:,} pieces, tokenize.vocab_size is "
                f"{config.vocab_size:,}; add --set tokenize.vocab_size={pieces}, or give another tokenizer"
            )


def _given_tokenizer(step: Step) -> Path | None:
    """The model file from outside: that of documents or of shards."""
    for role in ("tokenizer", "data"):
        source = step.node.inputs.get(role)
        if isinstance(source, External):
            return source.path if role == "tokenizer" else source.files()["tokenizer"]
    return None


def _size_of(model: Path) -> int:
    from pgolf.corpus.tokenizer import load_tokenizer

    return len(load_tokenizer(model))


def _vocabulary(recipe: Recipe, steps: Sequence[Step]) -> Iterator[str]:
    """The network's vocabulary against the data's, and the tables that grow with it."""
    pieces = _pieces(steps)
    reader = next((step.node.name for step in steps if step.action != "reuse" and _reads_tokens(step)), None)
    if pieces is None:
        return
    if reader is not None and pieces > recipe.model.vocab_size:
        yield (
            f"{reader}: model.vocab_size is {recipe.model.vocab_size:,}, the tokenizer has {pieces:,} pieces; add "
            f"--set model.vocab_size={pieces}"
        )
    elif reader is not None and recipe.model.vocab_size - pieces >= _MOST_PADDING:
        yield (
            f"{reader}: model.vocab_size is {recipe.model.vocab_size:,}, the tokenizer has {pieces:,} pieces, so that "
            f"{recipe.model.vocab_size - pieces:,} rows of the table would stand for no token; take data of the "
            f"network's vocabulary, or add --set model.vocab_size={pieces}"
        )
    for hedge in recipe.mix.hedges:
        try:
            refuse_large_tables(vocab_size=pieces, trigram_rows=hedge.trigram_rows)
        except ConfigError as error:
            yield f"mix: {error}"


def _data_ranks(recipe: Recipe, steps: Sequence[Step]) -> Iterator[str]:
    """Every data rank of shuffled rows reads shards of its own; how many there are, where it is known beforehand."""
    train = next((step.node.name for step in steps if step.action != "reuse" and step.node.stage is TRAIN), None)
    if train is None or recipe.train.batches != "rows":
        return
    for step in steps:
        config, source = step.node.config, step.node.inputs.get("data")
        if isinstance(config, FetchConfig):
            shards, remedy = config.train_shards, f"fetch.train_shards={recipe.train.data_ranks}"
        elif isinstance(config, ShardsConfig) and isinstance(source, External):
            shards = sum(name.startswith(f"{SHARD_PREFIX}_train_") for name in source.files())
            fitting = max((n for n in range(1, shards + 1) if recipe.train.rows_per_step % n == 0), default=1)
            remedy = f"train.data_ranks={fitting}"
        else:
            continue
        if shards < recipe.train.data_ranks:
            yield (
                f"{train}: train.data_ranks is {recipe.train.data_ranks}, and each reads train shards of its own, of "
                f"which there are {shards}; add --set {remedy}"
            )


def _pieces(steps: Sequence[Step]) -> int | None:
    """Size of the data's vocabulary, where it is known before the data is."""
    for step in steps:
        config = step.node.config
        if not isinstance(config, FetchConfig | TokenizeConfig | ShardsConfig):
            continue
        if step.artifact is not None:
            known = step.artifact.record.facts.get("vocab_size")
            return known if isinstance(known, int) else None
        if isinstance(config, TokenizeConfig):
            return config.vocab_size
        if isinstance(config, FetchConfig):
            return int(config.variant.removeprefix("sp"))
        model = _given_tokenizer(step)
        with suppress(PgolfError):  # said of the tokenizer itself
            return None if model is None else _size_of(model)
    return None


def _reads_tokens(step: Step) -> bool:
    return step.node.stage.uses_gpu and "data" in step.node.inputs


def _headline(recipe: Recipe) -> Iterator[str]:
    """The mixture of the report, declared before anything is scored, has to be one of those that are."""
    mixed = {name for product in recipe.mix.products for name in estimators_of(recipe, product)}
    wanted = [name for name in recipe.estimators if name in mixed] or list(recipe.estimators)
    missing = [
        name
        for name in wanted
        if not any(
            name in estimators_of(recipe, product) and holds_headline(recipe, product)
            for product in recipe.mix.products
        )
    ]
    if missing:
        declared = recipe.headline
        weight = "" if declared.mixer == "adaptive" or declared.alpha is None else f" alpha {declared.alpha}"
        yield (
            f"the recipe's headline, {declared.mixer} order {declared.order}{weight}, is no cell of the grid with "
            f"{', '.join(missing)} counts; --set headline.mixer, headline.order and headline.alpha to one that is, add "
            "it to the grid (mix.mixers, mix.orders, mix.alphas), or evaluate the grid by `pgolf sweep`"
        )


def _names(todo: Sequence[Step]) -> list[str]:
    """What users have named that becomes the name of a file or folder in the store."""
    names = []
    for step in todo:
        if isinstance(step.node.config, TokenizeConfig):
            names.append(step.node.config.name)
        elif isinstance(step.node.config, FetchConfig):
            names.append(f"fineweb10B_{step.node.config.variant}")
    return names


def _name_option(todo: Sequence[Step]) -> str:
    fetched = any(isinstance(step.node.config, FetchConfig) for step in todo)
    return "--set fetch.variant" if fetched else "--set tokenize.name"
