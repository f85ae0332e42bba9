"""The whole chain for one recipe over its seeds: data, training, packing, scores, mixtures, statistics."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows.dead_runs import end_with_worker, note_process
from flows.shutdown import end_within
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.mix.config import MixConfig
from pgolf.model.config import ModelConfig
from pgolf.pack.config import CompressConfig
from pgolf.pipeline.graph import Node, pipeline
from pgolf.pipeline.listen import Ledger
from pgolf.pipeline.plan import make_plan, reasons_of, refuse_all_but_evaluation
from pgolf.pipeline.preflight import check_machine
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.catalog import recipe_named, with_sections
from pgolf.recipes.grid_text import MOST_POINTS, refuse_large_grid
from pgolf.recipes.recipe import Estimator, Headline, Recipe
from pgolf.train.config import TrainConfig
from tasks.cache import Ref
from tasks.calibrate import calibrate_hessians
from tasks.compress import compress_weights
from tasks.count import count_ngrams
from tasks.fetch import fetch_data
from tasks.hint import take_hints
from tasks.import_weights import import_weights
from tasks.listening import LISTENER
from tasks.mix import mix_grid
from tasks.place import Place
from tasks.report import report_results
from tasks.score import score_artifact
from tasks.tokenize import tokenize_documents
from tasks.train import train_network

TASKS = {
    "fetch": fetch_data,
    "tokenize": tokenize_documents,
    "train": train_network,
    "import": import_weights,
    "calibrate": calibrate_hessians,
    "compress": compress_weights,
    "score": score_artifact,
    "count": count_ngrams,
    "hint": take_hints,
    "mix": mix_grid,
}


# Less than the 30 s after which a Prefect worker kills what it has cancelled.
STOP_GRACE_S = 20.0
Function = TypeVar("Function", bound=Callable[..., Any])
# What of a recipe is a parameter, in order.
SECTIONS = tuple(name for name in Recipe.model_fields if name not in ("name", "description"))


# What the UI's form says of each parameter; Prefect reads it from a flow's docstring.
PARAMETER_TEXTS = """
Args:
    recipe: Name of a recipe, from `pgolf recipes`
    seeds: One training run per seed; empty: the recipe's
    fetch: The published data set, instead of tokenize; empty: the recipe's
    tokenize: Documents to token shards, instead of fetch; empty: the recipe's
    model: The network; empty: the recipe's
    train: Optimizers, schedule, averaging; empty: the recipe's
    calibrate: Tokens for the Hessians of quantization; empty: the recipe's
    compress: Quantization and packing to the budget; empty: the recipe's
    score: Sliding-window evaluation of the artifact; empty: the recipe's
    estimators: n-gram count tables, published hashed ones (legacy) and exact ones; empty: the recipe's
    count: n-gram counts; empty: the recipe's
    hint: Tokens that tilted mixtures lean towards; empty: the recipe's
    mix: The grid of mixtures; empty: the recipe's
    headline: The mixture shown in the report, declared before anything is scored; empty: the recipe's
    max_points: A grid of more points is refused
    place: Folders and devices of the machine that runs it; relative paths begin in its PGOLF_HOME
"""


def with_parameter_texts(function: Function) -> Function:
    """The function with PARAMETER_TEXTS at the end of its docstring."""
    function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n{PARAMETER_TEXTS}"
    return function


@flow(name="record", flow_run_name="{recipe}")
@with_parameter_texts
def record(
    recipe: str = "demo",
    seeds: tuple[int, ...] | None = None,
    fetch: FetchConfig | None = None,
    tokenize: TokenizeConfig | None = None,
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    calibrate: CalibrateConfig | None = None,
    compress: CompressConfig | None = None,
    score: ScoreConfig | None = None,
    estimators: tuple[Estimator, ...] | None = None,
    count: CountConfig | None = None,
    hint: HintConfig | None = None,
    mix: MixConfig | None = None,
    headline: Headline | None = None,
    max_points: int = MOST_POINTS,
    place: Place = Place(),  # noqa: B008 - frozen
) -> dict[str, Ref]:
    """Run a named recipe; a section that is given replaces the recipe's own as a whole.

    Each stage is a parameter of its own because Prefect merges a run's parameters over a deployment's at the top level
    only: one nested parameter would drop its other fields and train again. Returns a reference per stage output.
    Raises ConfigError for a grid of more than max_points points.
    """
    given = (seeds, fetch, tokenize, model, train, calibrate, compress, score, estimators, count, hint, mix, headline)
    return run_stages(asked_for(recipe, given, max_points), place)


def asked_for(recipe: str, given: Sequence[Any], max_points: int) -> Recipe:
    """The named recipe with what was given of SECTIONS in place of its own. Raises ConfigError for what does not fit,
    and for a grid of more than max_points points.
    """
    chosen = with_sections(recipe_named(recipe), dict(zip(SECTIONS, given, strict=True)))
    refuse_large_grid(chosen, max_points)
    return chosen


def run_stages(recipe: Recipe, place: Place, *, evaluation_only: bool = False) -> dict[str, Ref]:
    """Submit every stage as its inputs come to exist, then file the results. Raises the first stage's failure.

    evaluation_only: raises ConfigError, before any work, when more than that would have to run.
    """
    end_with_worker()
    note_process()
    nodes = pipeline(recipe, place.sources(), place.run_options())
    steps = make_plan(nodes, place.open_store(), place.memo())
    if evaluation_only:
        refuse_all_but_evaluation(steps)
    check_machine(steps, place.run_options())
    ledger = Ledger(LISTENER.get())
    token = LISTENER.set(ledger)
    try:
        refs = {name: future.result() for name, future in submit(nodes, place).items()}
    except BaseException as error:
        if not isinstance(error, Exception):  # SIGTERM, Ctrl-C, cancelled: not a stage's failure
            ledger.stop()
            end_within(STOP_GRACE_S)
        raise
    finally:
        LISTENER.reset(token)
    # Prefect answers for a cached stage without calling its task; it was reused all the same.
    for node in nodes:
        if node.name not in ledger.heard:
            ledger.done(node, refs[node.name].artifact(), built=False)
    report_results(quote(recipe), quote(nodes), refs, quote(place), quote(ledger.built), quote(reasons_of(steps)))
    return refs


def submit(nodes: Sequence[Node], place: Place) -> Mapping[str, PrefectFuture[Any]]:
    """A future per node; Prefect starts each when the ones it reads from are done.

    Imported weights come before all else: a file that does not fit ends the run before any work.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    imports = [node.name for node in nodes if node.stage.name == "import"]
    for node in nodes:
        task = TASKS[node.stage.name].with_options(task_run_name=node.name)
        parents = {name: futures[name] for name in node.parents}
        before = [] if node.name in imports else [futures[name] for name in imports]
        # Quoted: Prefect need not search configs for futures.
        futures[node.name] = task.submit(quote(node), parents, quote(place), wait_for=before)
    return futures
