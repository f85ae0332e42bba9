"""What a person should know of a plan before its first stage, told by `pgolf plan` and by a run alike.

Loads no tables: a plan is to be there at once.
"""

from collections.abc import Iterator, Sequence

from pgolf.machine.lease_place import SETTING, apart
from pgolf.pipeline.clock_limit import over_the_clock
from pgolf.pipeline.graph import Node, left_out
from pgolf.pipeline.place import lease_dir, leases_are_set
from pgolf.pipeline.plan import Step
from pgolf.pipeline.revisions import Pinned
from pgolf.recipes.idle import idle_notes
from pgolf.recipes.recipe import Recipe
from pgolf.train.config import TrainStageConfig


def plan_notes(recipe: Recipe, pinned: Pinned, nodes: Sequence[Node], steps: Sequence[Step]) -> tuple[str, ...]:
    """All of it, in the order in which it is told: of the settings, the data, the devices and the clock."""
    return (*idle_notes(recipe), *pinned.notes(), *left_out(nodes), *lease_notes(steps), *clock_notes(steps))


def clock_notes(steps: Sequence[Step]) -> list[str]:
    """Why a training that is still to run cannot stay within the challenge's clock, once for all seeds."""
    todo = [step.node.config for step in steps if step.action != "reuse"]
    configs = [config.train for config in todo if isinstance(config, TrainStageConfig)]
    return list(dict.fromkeys(why for config in configs if (why := over_the_clock(config))))


def lease_notes(steps: Sequence[Step]) -> Iterator[str]:
    """What a person should know of who else may use the devices: the setting in force; and before a training that stops
    by the clock, whether there are jobs that cannot see its lease and would slow it.
    """
    todo = [step.node.config for step in steps if step.action != "reuse"]
    folder = lease_dir()
    if todo and leases_are_set():
        yield f"{SETTING} is set: devices are leased in {folder}, and only among jobs that have set it to the same"
    elif any(isinstance(config, TrainStageConfig) and config.train.clock_limit_s is not None for config in todo):
        yield from filter(None, [apart(folder)])
