"""Grids as people write them: `alpha=0:0.6:0.05 order=2..9`, or a TOML file of products and mixtures of them.

    [[product]]
    mixer = ["fixed", "backoff"]
    alpha = "0:0.6:0.05"
    order = "2..9"
    [[bayes]]
    share = 1e-4
    [[bayes.member]]
    k = [1, 4, 16]
    [[hedge]]
    experts = "proper"

What a product does not name is as in the recipe's own grid. Where it names no mixer, it is for those that use the
values it names: alpha for fixed and backoff, k for dirichlet.
"""

import difflib
import itertools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgolf.errors import ConfigError
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import count_points
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.product import HINTED, USES, Product
from pgolf.mix.product import SHORT as VALUES
from pgolf.recipes.overrides import meant_by_text, typed_value, validated
from pgolf.recipes.recipe import Recipe
from pgolf.store.plain_file import read_plain

MOST_POINTS = 10_000
_MOST_FILE_BYTES = 1 << 20

# Short name -> list of a product, those first that most grids name.
SHORT = {"alpha": "alphas", "order": "orders"} | VALUES | {"mixer": "mixers", "estimator": "estimators"}
# Names of a text that are no list of a product: settings of Bayes and fixed-share mixtures of the grid, and of counts.
OTHERS = ("share", "chunk", "granularity")
# The two that are settings of a mixture -> its fields; a file may say either.
_BAYES = {"share": "share_rate", "chunk": "chunk_targets"}
TABLES = ("product", "bayes", "hedge")


def with_grid(recipe: Recipe, texts: Sequence[str], file: Path | None) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the grid of `texts` (one product each) or of a TOML file, and what to say about it.

    Orders that the grid asks for are counted: count.orders is widened. Raises ConfigError for a text or file that is no
    grid, with the nearest name for one that is unknown.
    """
    if texts and file:
        raise ConfigError("--grid and --grid-file name two grids; give one of them")
    if not texts and file is None:
        return recipe, ()
    mix, granularity = (_from_file(recipe.mix, file), None) if file else _from_texts(recipe.mix, texts)
    count = recipe.count.model_dump()
    said = []
    wanted = {order for product in mix.every_product if _counts(product) for order in product.orders or ()}
    if recipe.estimators and (missing := sorted(wanted - set(recipe.count.orders))):
        count["orders"] = sorted(wanted | set(recipe.count.orders))
        said.append(
            f"orders {', '.join(map(str, missing))} were not counted: count.orders is now "
            f"{', '.join(map(str, count['orders']))}"
        )
    if granularity is not None:
        count["granularity"] = granularity
    return validated(Recipe, dict(recipe) | {"mix": mix, "count": count}), tuple(said)


def refuse_large_grid(recipe: Recipe, most_points: int) -> None:
    """Raise ConfigError, with the size, for a grid of more points."""
    points = count_points(recipe.mix, dict.fromkeys(recipe.estimators, recipe.count.orders), recipe.hinted)
    if points > most_points:
        raise ConfigError(
            f"the grid has {points:,} points, more than the {most_points:,} that are scored without asking; "
            f"pass --max-points {points}, or choose fewer values"
        )


def _counts(product: Product) -> bool:
    return any(mixer not in HINTED for mixer in product.mixers)


def _from_texts(mix: MixConfig, texts: Sequence[str]) -> tuple[MixConfig, Any]:
    products, bayes, granularity = [], list(mix.bayes), None
    for text in texts:
        values: dict[str, Any] = {}
        for word in text.split():
            name, equals, value = word.partition("=")
            if not equals or not value:
                raise ConfigError(f"--grid: {word[:60]!r} is not NAME=VALUES; write e.g. alpha=0:0.6:0.05 order=2..9")
            if name in values:
                raise ConfigError(f"--grid {text!r} names {name} twice")
            values[_known(name, [*SHORT, *OTHERS], "--grid")] = typed_value(value)
        granularity = values.pop("granularity", granularity)
        shares, chunks = (_listed(values.pop(name, None)) for name in ("share", "chunk"))
        if shares is not None or chunks is not None:
            bayes += [
                validated(BayesConfig, {"share_rate": share, "chunk_targets": chunk}, "--grid")
                for share, chunk in itertools.product(shares or [0.0], chunks or [1])
            ]
        if values:
            products.append(_product(mix, values, "--grid"))
    return _mix(mix, products or mix.products, {"bayes": bayes}), granularity


def _from_file(mix: MixConfig, path: Path) -> MixConfig:
    try:
        tables = tomllib.loads(read_plain(path, most_bytes=_MOST_FILE_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"--grid-file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, numbers of thousands of digits
        raise ConfigError(f"--grid-file {path} is not TOML: {error}") from None
    where = f"--grid-file {path}"
    listed = {_known(name, TABLES, where): _tables(value, name, where) for name, value in tables.items()}
    products = [_product(mix, table, f"{where}: product") for table in listed.get("product", [])]
    bayes = []
    for table in listed.get("bayes", []):
        if (members := table.pop("member", None)) is not None:
            named = _tables(members, "bayes.member", where)
            table["members"] = [_product(mix, member, f"{where}: bayes.member") for member in named]
        given = {_BAYES.get(name, name): value for name, value in table.items()}
        if len(given) < len(table):
            raise ConfigError(f"{where}: bayes names one value twice: {', '.join(table)}")
        bayes.append(validated(BayesConfig, given, f"{where}: bayes"))
    hedges = [validated(HedgeConfig, table, f"{where}: hedge") for table in listed.get("hedge", [])]
    return _mix(mix, products or [Product(mixers=())], {"bayes": bayes, "hedges": hedges})


def _tables(value: Any, name: str, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigError(f"{where}: write [[{name}]], which may be repeated")
    return value


def _mix(mix: MixConfig, products: Sequence[Product], others: Mapping[str, Any]) -> MixConfig:
    return validated(MixConfig, dict(mix) | dict(products[0]) | {"also": products[1:]} | dict(others), "mix")


def _product(mix: MixConfig, named: Mapping[str, Any], where: str) -> Product:
    """A product of the named lists, short names or full ones; the other lists are the grid's own."""
    given: dict[str, Any] = {}
    for name, value in named.items():
        full = SHORT.get(_known(name, [*SHORT, *Product.model_fields], where), name)
        if full in given:
            raise ConfigError(f"{where} names {full} twice")
        given[full] = _listed(meant_by_text(name, value) if isinstance(value, str) else value)
    if "mixers" not in given:
        used = [mixer for mixer, lists in USES.items() if (set(lists) - {"min_counts"}) & given.keys()]
        given["mixers"] = used or mix.mixers
    own = {name: getattr(mix, name) for name in Product.model_fields}
    return validated(Product, own | given, where)


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


def _known(name: str, names: Sequence[str], where: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise ConfigError(f"{where}: no name {name[:60]!r}; {hint}")
