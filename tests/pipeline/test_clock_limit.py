"""What is known of a training and the challenge's clock before it has run."""

import pytest

from pgolf.pipeline.clock_limit import over_the_clock
from pgolf.recipes.catalog import RECIPES
from pgolf.train.config import TrainConfig


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ({}, "it ends with the step that reaches train.clock_limit_s=600. Set train.clock_reserve_s to the seconds"),
        ({"clock_limit_s": 700}, "reaches train.clock_limit_s=700. Set"),
        ({"clock_limit_s": 700, "clock_reserve_s": 50}, "it ends shortly before 650 s (clock_limit_s less clock_res"),
    ],
)
def test_a_clock_without_room_for_its_last_step_is_named_with_what_to_set(train, says):
    found = over_the_clock(TrainConfig(**train))
    assert found.startswith("training cannot be within 600 s, unless its 20,000 steps end sooner: ")
    assert says in found
    assert found.endswith("and train.clock_limit_s=600") == ("clock_limit_s" in train)


@pytest.mark.parametrize(
    "train",
    [
        {"clock_limit_s": None},
        {"clock_limit_s": 595},
        {"clock_reserve_s": 1},
        {"clock_limit_s": 610, "clock_reserve_s": 10},
    ],
)
def test_what_can_be_within_the_clock_is_not_named(train):
    assert over_the_clock(TrainConfig(**train)) == ""


def test_every_published_recipe_by_the_clock_keeps_no_reserve_and_says_so():
    """But #1493's: its run had one, which was too small (docs/systems.md)."""
    clocked = {name: make().train for name, make in RECIPES.items() if make().train.clock_limit_s is not None}
    assert over_the_clock(clocked.pop("pr1493")) == ""
    assert sorted(clocked) == ["pr715", "pr745", "pr761", "pr792"]
    assert all(train.clock_reserve_s == 0 and over_the_clock(train) for train in clocked.values())
