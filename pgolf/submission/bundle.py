"""Bundles a recipe and the code that it uses into one self-contained script.

Its bytes are what the code takes of the budget, so it holds what training and evaluation of this recipe can reach, with
its settings as constants (`pgolf.submission.program`), and no more. What runs is `pgolf.submission.standalone`.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pgolf.identity.closure import syntax_tree, walk_closure
from pgolf.mix.config import MixConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.recipe import CALIBRATE, Recipe
from pgolf.submission.layout import places, source_of
from pgolf.submission.messages import Message
from pgolf.submission.names import shorten
from pgolf.submission.program import ENTRY, EVALUATION, STAND_INS, Made, make
from pgolf.submission.reserved_names import RESERVED
from pgolf.submission.script import START, script_of
from pgolf.submission.settings import Settings
from pgolf.train.config import TrainStageConfig

# What the script can do: its own commands, and every stage they run. Stages that make data stay at home.
ENTRIES = (ENTRY[0],)

# Settings of the evaluation take a whole number of these, filled up with spaces: code_bytes is part of what compress is
# made from, and another stride or n-gram order must not pack the model again.
SETTINGS_BYTES = 512

_START = "def {start}(arguments,path):return {main}(arguments,{settings},path)"


def bundle(recipe: Recipe, *, root: Path | None = None) -> bytes:
    """The script. root: the folder that holds the packages (default: the code that runs).

    The same recipe and code give the same bytes; comments, layout and names of folders do not enter. Of the grid of
    mixtures it evaluates the headline alone. Raises ConfigError like `import_closure`, and for code that cannot be
    followed by its names.
    """
    return built(recipe, root=root).script


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the program, and where it is from."""

    module: str
    function: str
    line: int


@dataclass(frozen=True, slots=True)
class Built:
    """A script, and what stays at home: line of the program -> source, number -> message."""

    script: bytes
    lines: dict[int, Line]
    messages: list[Message]


def built(recipe: Recipe, *, root: Path | None = None) -> Built:
    """The script of a recipe with the map of its lines. Raises ConfigError as `bundle`."""
    made = _made(recipe, root)
    tree = _tree(made)
    shorten(tree, START, RESERVED | made.spelled)
    ast.fix_missing_locations(tree)
    text = source_of(tree)
    return Built(script_of(text), {}, made.messages)


def _made(recipe: Recipe, root: Path | None) -> Made:
    entries = ENTRIES if root is not None else (*ENTRIES, STAND_INS)
    modules = [
        (module.name, module.tree or syntax_tree(module.text), module.path.name == "__init__.py")
        for module in walk_closure(*entries, root=root)
    ]
    return make(modules, settings_of(recipe) if root is None else None)


def _tree(made: Made) -> ast.Module:
    start = ast.parse(_START.format(start=START, main=made.main, settings="SETTINGS")).body
    settings = made.settings or ast.Constant(None)
    assign = ast.Assign([ast.Name("SETTINGS", ast.Store())], settings)
    return ast.Module([*made.imports, *(one.node for one in made.definitions), assign, *start], [])


def settings_of(recipe: Recipe) -> Settings:
    """What the recipe's script is told. Of the grid of mixtures it evaluates the headline alone."""
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


assert EVALUATION and lru_cache and places
