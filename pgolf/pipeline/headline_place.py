"""Where a recipe's grid has the declared headline: told from the lists of its products, without making any cell."""

from collections.abc import Sequence

from pgolf.mix.product import USES, Product
from pgolf.recipes.recipe import Recipe


def estimators_of(recipe: Recipe, product: Product) -> Sequence[str]:
    """The count tables that a product mixes with."""
    return recipe.estimators if product.estimators is None else product.estimators


def holds_headline(recipe: Recipe, product: Product) -> bool:
    """Whether the headline is a point of the product, with any of its count tables."""
    declared = recipe.headline
    orders = recipe.count.orders if product.orders is None else product.orders
    any_weight = declared.alpha is None or "alphas" not in USES[declared.mixer]
    return (
        declared.mixer in product.mixers
        and declared.order in orders
        and (any_weight or declared.alpha in product.alphas)
    )
