"""The flow `sweep`: score (where needed), count and mix another grid on finished artifacts. Never trains."""

from typing import Any

from prefect import flow

from flows.parameters import asked_for, run_name, with_recipe_parameters
from flows.record import run_stages
from tasks.cache import Ref


@flow(name="sweep", flow_run_name=run_name, retries=0)
@with_recipe_parameters(evaluation_only=True)
def sweep(**given: Any) -> dict[str, Ref]:
    """Evaluate a recipe's finished artifacts; a section that is given replaces the recipe's own as a whole.

    Which artifacts are meant the recipe says, of pgolf or of a file: there are no parameters for what comes before
    `score`. Raises ConfigError, naming stages and reasons, when data or weights would have to be made first, and for a
    grid of more than max_points points.
    """
    recipe, place = asked_for(given)
    return run_stages(recipe, place, evaluation_only=True)
