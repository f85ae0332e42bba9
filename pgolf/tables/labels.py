"""What a configuration is called in a list: its recipe, or where that has several, what its runs are called."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from pgolf.tables.columns import to_column
from pgolf.tables.grouped import combinations, places
from pgolf.tables.named_runs import Run
from pgolf.tables.schema import TEXT


def labelled(scores: pa.Table, runs: Iterable[Run]) -> pa.Table:
    """Scores with the name of their runs for a recipe, where one recipe stands for several configurations.

    A configuration whose runs have several names, or one that another's has too, keeps its recipe's.
    """
    configurations, numbers = combinations(scores, ("recipe", "recipe_key"))
    several = Counter(recipe for recipe, _ in configurations)
    names: dict[tuple[str, str | None], set[str]] = {}
    for run in runs:
        if run.named_utc is not None:
            names.setdefault((run.recipe, run.recipe_key), set()).add(run.name)
    called = {one: next(iter(names[one])) for one in configurations if len(names.get(one, ())) == 1}
    taken = Counter(called.values())
    label = {one: called[one] for one in called if several[one[0]] > 1 and taken[called[one]] == 1}
    if not label:
        return scores
    shown = to_column([label.get(one, one[0]) for one in configurations], TEXT).take(places(numbers))
    return scores.set_column(scores.column_names.index("recipe"), scores.schema.field("recipe"), shown)
