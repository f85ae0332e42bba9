"""Bundles a recipe and the code that it uses into one self-contained script.

Its bytes are what the code takes of the budget, so it holds what training and evaluation of this recipe can reach, with
its settings as constants (`pgolf.bundle.program`), and no more. What runs is `pgolf.bundle.standalone`.
"""

import ast
import gc
import json
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgolf.bundle.built import Built, keep, kept, key_of
from pgolf.bundle.known import switches
from pgolf.bundle.layout import source_of
from pgolf.bundle.line_map import lines_of
from pgolf.bundle.names import shorten
from pgolf.bundle.program import ENTRY, Made, join, make
from pgolf.bundle.reserved_names import RESERVED
from pgolf.bundle.script import GIVEN, START, script_of
from pgolf.bundle.script_settings import Settings
from pgolf.bundle.stands_for import STAND_INS
from pgolf.identity.closure import Module, syntax_tree, walk_closure
from pgolf.mix.config import MixConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.recipe import CALIBRATE, Recipe
from pgolf.train.config import TrainStageConfig

# What the script can do: its own commands, and every stage they run. Stages that make data stay at home.
ENTRIES = (ENTRY[0],)

# The modules as one, by what decides them; the last ones only.
_JOINED: dict[str, bytes] = {}

_START = "def {start}(arguments,path,environment):return {main}(arguments,eval({given}),path,environment)"


def bundle(recipe: Recipe, *, root: Path | None = None) -> bytes:
    """The script. root: the folder that holds the packages (default: the code that runs).

    The same recipe and code give the same bytes; comments, layout and names of folders do not enter. Of the grid of
    mixtures it evaluates the headline alone. Raises ConfigError like `import_closure`, and for code that cannot be
    followed by its names.
    """
    return built(recipe, root=root).script


def built(recipe: Recipe, *, root: Path | None = None) -> Built:
    """The script of a recipe, and what stays at home. Raises ConfigError as `bundle`."""
    settings = None if root is not None else settings_of(recipe)
    entries = ENTRIES if root is not None else (*ENTRIES, STAND_INS)
    modules = [*walk_closure(*entries, root=root)]
    key = key_of([module.text for module in modules], json.dumps(switches(settings)))
    found = kept(key)
    if found is None:
        with _no_collection():
            found = _built(modules, settings)
        keep(key, found, on_disk=root is None)
    return found if settings is None else found.with_settings(settings)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look at a million nodes again and again: a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _built(modules: Sequence[Module], settings: Settings | None) -> Built:
    """A script that waits for its settings."""
    made = program_of_modules(modules, settings)
    tree = tree_of(made)
    table = shorten(tree, frozenset({START}) | made.errors, RESERVED | made.spelled)
    text = source_of(tree)
    names = {name: table.get(("global", name), name) for name in made.fields}
    names |= {name: table.get(("attribute", name), name) for own in made.fields.values() for name in own}
    return Built(
        script=script_of(text),
        lines=lines_of(text, tree, made.definitions),
        messages=tuple(made.messages),
        fields={cls: sorted(own) for cls, own in made.fields.items()},
        names=names,
    )


def program_of_modules(modules: Sequence[Module], settings: Settings | None) -> Made:
    """The program of a closure's modules, whose trees are changed."""
    key = key_of([module.text for module in modules], "")
    joined = _JOINED.get(key)
    if joined is None:
        parsed = [
            (module.name, module.tree or syntax_tree(module.text), module.path.name == "__init__.py")
            for module in modules
        ]
        # As bytes: what is made of it changes it, and reading them back is a fifth of the work.
        _JOINED.clear()
        joined = _JOINED[key] = pickle.dumps(join(parsed), protocol=pickle.HIGHEST_PROTOCOL)
    return make(pickle.loads(joined), settings)


def tree_of(made: Made) -> ast.Module:
    """The program, which evaluates the text of its settings when it starts."""
    start = ast.parse(_START.format(start=START, main=made.main, given=GIVEN)).body
    return ast.Module([*made.imports, *(one.node for one in made.definitions), *start], [])


def settings_of(recipe: Recipe) -> Settings:
    """What the recipe's script is told. Of the grid of mixtures it evaluates the headline alone."""
    recipe = recipe.as_read()
    calibrate = recipe.config_of(CALIBRATE)
    assert calibrate is None or isinstance(calibrate, CalibrateConfig)
    return Settings(
        training=TrainStageConfig(model=recipe.model, train=recipe.train),
        calibrate=calibrate,
        compress=recipe.compress,
        score=recipe.score,
        hint=recipe.hint,
        counts=tuple(recipe.count.of(estimator) for estimator in recipe.estimators),
        mix=_headline(recipe),
    )


def _headline(recipe: Recipe) -> MixConfig:
    """The recipe's grid with the headline's mixture alone, and all that have no grid."""
    headline, mix = recipe.headline, recipe.mix
    if not recipe.estimators:
        return mix
    chosen: dict[str, Any] = {"mixers": (headline.mixer,), "orders": (headline.order,), "also": (), "bayes": ()}
    if headline.alpha is not None and headline.mixer != "adaptive":
        chosen["alphas"] = (headline.alpha,)
    for name in ("min_counts", "entropy_bases", "entropy_ranges", "entropy_slopes", "entropy_thresholds"):
        chosen[name] = getattr(mix, name)[:1]
    return MixConfig.model_validate(dict(mix) | chosen)
