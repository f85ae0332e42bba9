"""All checks, in the order in which they run: what is cheap and decides about all else first."""

from collections.abc import Callable
from functools import partial

from pgolf.recipes.recipe import Recipe
from pgolf.recipes.systems import pr715, pr745, pr792, tiny
from pgolf.selftest import (
    attention_check,
    collectives_check,
    compiled_check,
    equal_ranks_check,
    evaluation_check,
    formats_check,
    full_step_check,
    hessian_check,
    resumed_check,
    shared_score_check,
)
from pgolf.selftest.check import Check

# #638 and #761 are #715's network, but for a slope; #638 is not held against a clock.
_AT_FULL_SIZE = (pr715, pr745, pr792)


def all_checks(*, toy: bool = False) -> tuple[Check, ...]:
    """toy: the small twins in the place of the full-size systems, on any device; their times say nothing."""
    first = (
        collectives_check.CHECK,
        formats_check.CHECK,
        attention_check.CHECK,
        hessian_check.CHECK,
        equal_ranks_check.CHECK,
        resumed_check.CHECK,
        shared_score_check.CHECK,
    )
    systems = []
    for full in _AT_FULL_SIZE:
        recipe_of = partial(_twin, full) if toy else full
        systems += [
            compiled_check.check_of(recipe_of, toy=toy),
            full_step_check.check_of(recipe_of, full.__name__, toy=toy),
            evaluation_check.check_of(recipe_of, full.__name__, toy=toy),
        ]
    return (*first, *systems)


def _twin(full: Callable[[], Recipe]) -> Recipe:
    recipe = tiny(full())
    train = recipe.train.model_copy(update={"sequence_length": 32, "tokens_per_step": 32 * recipe.train.spans_per_step})
    score = recipe.score.model_copy(update={"batch_windows": 4})
    return recipe.model_copy(update={"train": train, "score": score})
