"""The trial that a run makes of its own scorers: of those that may be ranked, which are the declared ones.

A scorer of the grid that nobody declared is ranked nowhere, so it is not tried here; `pgolf audit RUN` does.
"""

from typing import Any

from pgolf.audit.audit_config import AuditConfig
from pgolf.counts.config import CountConfig
from pgolf.mix.cells import cells_of
from pgolf.mix.config import MixConfig
from pgolf.mix.product import FIELD, USES, Cell
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import AUDIT, Recipe

# Counts that give distributions.
_NORMALIZED = "exact"


def own_trial(recipe: Recipe) -> AuditConfig | None:
    """What the audit stage of a recipe's run is asked; None where nothing of it may be ranked, or no trial is wanted.

    Other cells of the grid are no part of it: another grid around the same headline is no other trial.
    """
    trial = recipe.audit if recipe.config_of(AUDIT) is not None else None
    if trial is None:
        return None
    counts: dict[str, CountConfig] = {estimator: recipe.count.of(estimator) for estimator in recipe.estimators}
    headline = _headline(recipe, counts)
    bayes = [own.model_copy(update={"members": own.members or recipe.mix.products}) for own in recipe.mix.bayes]
    mix = {
        **_alone(headline),
        "bayes": tuple(dict.fromkeys(bayes)),
        "hedges": tuple(hedge for hedge in recipe.mix.hedges if hedge.normalized),
    }
    # A Bayes mixture may have any counts and hints behind it.
    read = [config for name, config in counts.items() if bayes or (headline and name == headline.counts)]
    values = {"score": recipe.score, "mix": validated(MixConfig, mix), "counts": tuple(read)}
    hint = recipe.hint if bayes else None
    return validated(AuditConfig, {**values, "hint": hint, **dict(trial)})


def _headline(recipe: Recipe, counts: dict[str, CountConfig]) -> Cell | None:
    """The declared cell that is a distribution, if there are such counts."""
    declared = recipe.headline.model_dump(exclude_none=True)
    if recipe.headline.mixer == "adaptive":
        declared.pop("alpha", None)
    wanted = {"estimator": _NORMALIZED, **declared}
    # A grid without the headline does not make it another one: its trial is the one that is there.
    beside = recipe.mix.model_dump() | {"mixers": (recipe.headline.mixer,), "orders": None, "estimators": None}
    beside |= {} if recipe.headline.alpha is None else {"alphas": (recipe.headline.alpha,)}
    grids = [recipe.mix, validated(MixConfig, {**beside, "also": (), "bayes": (), "hedges": ()})]
    cells = [cell for grid in grids for cell in cells_of(grid, counts, recipe.hinted)]
    return next((cell for cell in cells if all(getattr(cell, name) == wanted[name] for name in wanted)), None)


def _alone(cell: Cell | None) -> dict[str, Any]:
    """The lists of a product that has this cell alone."""
    if cell is None or cell.mixer is None:
        return {"mixers": ()}
    lists = {name: (getattr(cell, FIELD[name]),) for name in USES[cell.mixer]}
    return {"mixers": (cell.mixer,), "estimators": (cell.estimator,), "orders": (cell.order,), **lists}
