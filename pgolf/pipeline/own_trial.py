"""The trial that a run makes of its own scorers: of those that may be ranked, which are the declared ones.

A scorer of the grid that nobody declared is ranked nowhere, so it is not tried here; `pgolf audit RUN` does.
"""

from typing import Any

from pgolf.audit.audit_config import AuditConfig
from pgolf.counts.config import CountConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.product import USES
from pgolf.pipeline.headline_place import estimators_of, holds_headline
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
    bayes = [own.model_copy(update={"members": own.members or recipe.mix.products}) for own in recipe.mix.bayes]
    headline = _headline(recipe)
    mix = {
        **headline,
        "bayes": tuple(dict.fromkeys(bayes)),
        "hedges": tuple(hedge for hedge in recipe.mix.hedges if hedge.normalized),
    }
    # A Bayes mixture may have any counts and hints behind it.
    read = [config for name, config in counts.items() if bayes or name in headline.get("estimators", ())]
    values = {"score": recipe.score, "mix": validated(MixConfig, mix), "counts": tuple(read)}
    hint = recipe.hint if bayes else None
    return validated(AuditConfig, {**values, "hint": hint, **dict(trial)})


def _headline(recipe: Recipe) -> dict[str, Any]:
    """The lists of a product that has the declared distribution alone; of none where there are no such counts.

    Of what the headline leaves open it has the first value of the product that has it, as the rows do. A grid that has
    it not does not make it another one: its trial is the one that is there.
    """
    headline = recipe.headline
    if _NORMALIZED not in recipe.estimators or headline.order not in recipe.count.orders:
        return {"mixers": ()}
    having = (
        one for one in recipe.mix.products if _NORMALIZED in estimators_of(recipe, one) and holds_headline(recipe, one)
    )
    product = next(having, recipe.mix)
    lists = {name: getattr(product, name)[:1] for name in USES[headline.mixer]}
    if "alphas" in lists and headline.alpha is not None:
        lists["alphas"] = (headline.alpha,)
    return {"mixers": (headline.mixer,), "estimators": (_NORMALIZED,), "orders": (headline.order,), **lists}
