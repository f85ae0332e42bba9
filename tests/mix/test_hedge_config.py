"""What a Hedge mixture may be, and what it asks of the score stage."""

import pytest

from pgolf.mix.hedge_config import HedgeConfig
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe


def test_only_proper_experts_without_a_leak_are_a_distribution():
    assert HedgeConfig().normalized
    assert not HedgeConfig(trigram_least_total=1).normalized
    assert not HedgeConfig(experts="published", trigram_least_total=1).normalized
    with pytest.raises(ValueError, match="give the hedge trigram_least_total=1"):
        HedgeConfig(experts="published")


def test_a_recipe_whose_score_keeps_no_such_means_is_refused_before_any_work():
    recipe = recipe_named("pr745-tiny")
    hedge = recipe.mix.hedges[0]
    assert hedge.batch_means == recipe.score.batch_means
    for means in (None, {**hedge.batch_means.model_dump(), "ranks": 5}):
        fields = recipe.model_dump()
        fields["score"]["batch_means"] = means
        with pytest.raises(ValueError, match=r'--set .score.batch_means=\{"chunk_tokens":2048,"ranks":8,"windows":4\}'):
            Recipe.model_validate(fields)
        fields["mix"]["hedges"] = [hedge.model_copy(update={"update_on": "scored"}).model_dump()]
        Recipe.model_validate(fields)
