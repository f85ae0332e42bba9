"""A grid over finished artifacts: score (where needed), count and mix. The evaluation-only rerun."""

from prefect import flow

from flows.record import asked_for, run_stages, with_parameter_texts
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.mix.config import MixConfig
from pgolf.model.config import ModelConfig
from pgolf.pack.config import CompressConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.grid_text import MOST_POINTS
from pgolf.recipes.recipe import Estimator, Headline
from pgolf.train.config import TrainConfig
from tasks.cache import Ref
from tasks.place import Place


@flow(name="sweep", flow_run_name="{recipe}")
@with_parameter_texts
def sweep(
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
    """Evaluate a named recipe's finished artifacts; a section that is given replaces the recipe's own as a whole.

    The sections before `score` say which artifacts are meant. Raises ConfigError, naming stages and reasons, when data
    or weights would have to be made first, and for a grid of more than max_points points.
    """
    given = (seeds, fetch, tokenize, model, train, calibrate, compress, score, estimators, count, hint, mix, headline)
    return run_stages(asked_for(recipe, given, max_points), place, evaluation_only=True)
