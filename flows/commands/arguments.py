"""Arguments that several commands share, and how they are read."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.commands.streams import tell
from pgolf.errors import ConfigError, StoreError
from pgolf.pipeline.place import RESULTS_SETTING, STORE_SETTING, Place, default_results, default_store
from pgolf.recipes.grid_text import MOST_POINTS
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Store
from pgolf.store.remote import checked_url, is_url
from pgolf.tables.results_folder import refuse_missing

# Options that name a run -> fields of a recipe.
_NAMING = {"name": "run_name", "tags": "tags", "note": "notes"}


def add_json(parser: argparse._ActionsContainer) -> None:
    """--json: the command's report as one JSON document on stdout."""
    parser.add_argument("--json", action="store_true", help="machine-readable report on stdout")


def add_set(parser: argparse.ArgumentParser) -> None:
    """--set NAME=VALUE, repeatable."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change one field, e.g. train.steps=200, count.orders=2..5, mix.alphas=0:0.6:0.05; may be repeated "
        "(`pgolf show RECIPE` lists them all)",
    )


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """RECIPE, --set and --seeds."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name from `pgolf recipes`, or a file such as my.toml (`pgolf new`)"
    )
    add_set(parser)
    parser.add_argument(
        "--seeds",
        type=_seeds,
        nargs="+",
        action=_Joined,
        metavar="SEED",
        help="training runs, one per seed: 1 2 3, or 1,2,3, or 1..3 (default: the recipe's)",
    )
    parser.add_argument(
        "--allow-over-budget",
        action="store_true",
        help="where nothing fits the budget, write the smallest file all the same; its rows are marked, and not ranked",
    )


def add_naming(parser: argparse.ArgumentParser) -> None:
    """--name, --tag and --note of a run."""
    parser.add_argument("--name", metavar="NAME", help="what the run is called (default: the settings that differ)")
    parser.add_argument("--tag", dest="tags", action="append", metavar="WORD", help="to find it by; may be repeated")
    parser.add_argument("--note", metavar="TEXT", help="what to remember of it")


def add_max_points(parser: argparse.ArgumentParser) -> None:
    """--max-points N."""
    parser.add_argument(
        "--max-points",
        type=int,
        default=MOST_POINTS,
        metavar="N",
        help="refuse a grid of more points (default: %(default)s)",
    )


def add_grid(parser: argparse.ArgumentParser) -> None:
    """--grid TEXT and --grid-file FILE."""
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="TEXT",
        help='what to score, e.g. "alpha=0:0.6:0.05 order=2..9", "k=1,4,16", "tilt=1,2.625 confidence=0.8"; may be '
        "repeated; share=0 adds the Bayes mixture of all of it",
    )
    parser.add_argument(
        "--grid-file", type=given_path, metavar="FILE", help="the same as TOML: [[product]], [[bayes]], [[hedge]]"
    )


def add_store(parser: argparse._ActionsContainer) -> None:
    """--store, --cache and --cache-limit."""
    parser.add_argument(
        "--store",
        type=_location,
        default=default_store(),
        metavar="DIR|URL",
        help=f"where the outputs are: a folder, or s3://bucket/prefix (default: %(default)s{_set_by(STORE_SETTING)})",
    )
    parser.add_argument(
        "--cache",
        type=given_path,
        metavar="DIR",
        help="what of a store at an URL is kept here (default: ~/.cache/pgolf/…)",
    )
    parser.add_argument(
        "--cache-limit", metavar="SIZE", help="e.g. 20GB: outputs used longest ago leave the cache (default: none do)"
    )


def add_results(parser: argparse._ActionsContainer) -> None:
    """--results DIR."""
    parser.add_argument(
        "--results",
        type=given_path,
        default=default_results(),
        metavar="DIR",
        help=f"folder of the tables (default: %(default)s{_set_by(RESULTS_SETTING)})",
    )


def _set_by(variable: str) -> str:
    """For a help text: the environment variable that chooses a default, or has chosen it."""
    return f" by {variable}" if os.environ.get(variable) else f"; {variable} sets another"


class _Joined(argparse.Action):
    """Keeps the lists that several words give as one."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, lists: Any, _option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, [item for each in lists for item in each])


def _seeds(text: str) -> list[int]:
    """Seeds of one word: 7, or 1,2,3, or 1..3."""
    from pgolf.recipes.overrides import parse_value

    try:
        value = parse_value(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    seeds = value if isinstance(value, list) else [value]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds) or not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number; write 1 2 3, or 1,2,3")
    return seeds


def add_places(parser: argparse.ArgumentParser) -> None:
    """Folders and devices."""
    add_store(parser)
    add_results(parser)
    parser.add_argument(
        "--documents", type=given_path, metavar="PATH", help="documents to tokenize: a file or a folder"
    )
    parser.add_argument("--tokenizer", type=given_path, metavar="MODEL", help="a SentencePiece .model file")
    parser.add_argument(
        "--data",
        type=given_path,
        metavar="DIR",
        help="shards that are on disk already, with their tokenizer, instead of fetching or tokenizing: one data set, "
        "by its manifest.json or in one folder",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="ranks per training or scoring, one GPU each (default: all)",
    )
    parser.add_argument(
        "--checkpoint",
        dest="checkpoints",
        action="append",
        default=[],
        metavar="[SEED=]FILE",
        help="published weights (final_model.pt) instead of training; may be repeated, once per seed",
    )
    add_checkpoint_steps(parser)
    parser.add_argument(
        "--checkpoint-every",
        dest="checkpoint_every_s",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how often an unfinished training is kept for after a kill (default: %(default)s; 0: never)",
    )


def add_checkpoint_steps(parser: argparse.ArgumentParser) -> None:
    """--checkpoint-steps [SEED=]N."""
    parser.add_argument(
        "--checkpoint-steps",
        action="append",
        default=[],
        metavar="[SEED=]N",
        help="optimizer steps behind those weights; calibration reads the training tokens that follow (default 0)",
    )


def given_path(text: str) -> Path:
    """A path as it is given; an empty one, such as an unset variable leaves, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty (an unset variable?); name one, or leave the option out")
    return Path(text)


def _location(text: str) -> Path | str:
    return text if is_url(text) else given_path(text)


def store_place(arguments: argparse.Namespace, **fields: Any) -> Place:
    """The place whose outputs the arguments name. Raises ConfigError for an address or a size that cannot be used."""
    from pgolf.recipes.overrides import validated

    return validated(Place, {**store_fields(arguments), **fields})


def store_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a `Place` that say where the outputs are; errors as for `store_place`."""
    store = arguments.store
    if isinstance(store, Path):
        for option in ("cache", "cache_limit"):
            if getattr(arguments, option) is not None:
                raise ConfigError(f"--{option.replace('_', '-')} is for a --store at an URL; {store} is a folder")
        return {"store": store.absolute()}
    # Checked before it is a field: messages about fields show what was given.
    fields: dict[str, Any] = {
        "remote": checked_url(store),
        "store": None if arguments.cache is None else arguments.cache.absolute(),
    }
    if arguments.cache_limit is not None:
        fields["cache_limit_bytes"] = size_bytes_of(arguments.cache_limit)
    return {name: value for name, value in fields.items() if value is not None}


def store_there(arguments: argparse.Namespace, place: Place) -> Store:
    """The store of a command that needs one to be there. Raises StoreError where there is none."""
    store = place.open_store()
    if place.remote is None and not store.root.is_dir():
        raise StoreError(
            f"there is no store at {arguments.store}; `pgolf run RECIPE` makes one, and --store or {STORE_SETTING} "
            "name another"
        )
    return store


def add_scorer(parser: argparse._ActionsContainer) -> None:
    """--scorer, which `scorer_asked` reads."""
    parser.add_argument(
        "--scorer",
        default="headline",
        metavar="WHICH",
        help="headline (default: the declared one), network, or settings: 'estimator=exact mixer=dirichlet order=5'",
    )


def results_there(arguments: argparse.Namespace) -> Path:
    """The folder of tables of a command that needs one to be there. Raises ResultsError where there is none."""
    results: Path = arguments.results
    refuse_missing(results, f"name others with --results or {RESULTS_SETTING}")
    return results


def size_bytes_of(text: str) -> int:
    """Bytes of a size such as 20GB or 500 MB, in powers of 1000. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)B?\s*", text)
    if match is None:
        raise ConfigError(f"--cache-limit {text}: give a size such as 20GB")
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe with its overrides and seeds. Raises ConfigError for an unknown name or field, or a bad value."""
    from pgolf.recipes.asked import asked_recipe
    from pgolf.recipes.recipe_file import find_recipe
    from pgolf.recipes.run_names import refuse_run_name

    over_budget = ["compress.allow_over_budget=true"] if arguments.allow_over_budget else []
    named = find_recipe(arguments.recipe)
    if getattr(arguments, "name", None) is not None:
        refuse_run_name(arguments.name, named.name)
    given = {"seeds": arguments.seeds} | {field: getattr(arguments, option, None) for option, field in _NAMING.items()}
    return asked_recipe(named, [*arguments.overrides, *over_budget], given, fit=lambda one: _fitted(one, arguments))


def _fitted(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe that reads the files which the arguments name; what that changes is told."""
    files = {name: getattr(arguments, name, None) for name in ("documents", "tokenizer", "data")}
    if not any(files.values()):
        return recipe
    from pgolf.recipes.own_files import fitted_to_files

    by_hand = {override.partition("=")[0].strip() for override in arguments.overrides}
    recipe, said = fitted_to_files(recipe, by_hand, **files)
    for text in said:
        tell(text)
    return recipe


def place_of(arguments: argparse.Namespace, recipe: Recipe) -> Place:
    """Folders and devices as one value; folders absolute, since a flow may run in another working directory."""
    from pgolf.recipes.overrides import validated

    fields: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in Place.model_fields
        if name not in ("store", "remote", "cache_limit_bytes")
    }
    files = by_seed("--checkpoint", arguments.checkpoints, recipe)
    fields["checkpoints"] = {seed: Path(path).absolute() for seed, path in files.items()}
    fields["checkpoint_steps"] = steps_by_seed(arguments.checkpoint_steps, recipe)
    for name in ("results", "documents", "tokenizer", "data"):
        if fields[name] is not None:
            fields[name] = Path(fields[name]).absolute()
    return validated(Place, fields | store_fields(arguments))


def by_seed(option: str, texts: Sequence[str], recipe: Recipe) -> dict[int, str]:
    """Seed -> value, from texts [SEED=]VALUE. Raises ConfigError for a value without a seed where there are several."""
    found: dict[int, str] = {}
    for text in texts:
        before, equals, after = text.partition("=")
        if equals and before.isdecimal():
            seed, value = int(before), after
        elif len(recipe.seeds) == 1:
            seed, value = recipe.seeds[0], text
        else:
            raise ConfigError(
                f"{option} {text}: {recipe.name} has {len(recipe.seeds)} seeds; write SEED={text}, "
                f"or choose one with --seeds {recipe.seeds[0]}"
            )
        if not value:
            raise ConfigError(f"{option} {text}: the value is empty (an unset variable?); give it, or leave it out")
        if seed in found:
            raise ConfigError(f"{option}: seed {seed} has two values, {found[seed]} and {value}")
        found[seed] = value
    return found


def steps_by_seed(texts: Sequence[str], recipe: Recipe) -> dict[int, int]:
    """Seed -> steps, from texts [SEED=]N. Raises ConfigError for what is no whole number from 0 on."""
    given = by_seed("--checkpoint-steps", texts, recipe)
    for value in given.values():
        if not value.isdecimal():
            raise ConfigError(f"--checkpoint-steps {value}: steps are a whole number from 0 on")
    return {seed: int(value) for seed, value in given.items()}


def add_wide(parser: argparse.ArgumentParser) -> None:
    """--wide: tables as wide as they are."""
    parser.add_argument("--wide", action="store_true", help="every column whole, however wide the terminal is")


def table_width(arguments: argparse.Namespace) -> int | None:
    """Columns that a table of this command may take; None for as many as it needs."""
    return None if arguments.wide else terminal_width()


def terminal_width() -> int | None:
    """Columns of the terminal that shows standard output; None where no person reads it there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None
