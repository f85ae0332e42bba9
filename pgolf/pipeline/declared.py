"""The declared headline of a recipe: what it is, when a run first declared it, and whether that was before scoring.

Every run declares its headline when it starts, in a table beside the scores; only a change adds a row. A scorer counts
as declared before scoring if it was in the headline that was in force when the first score of this recipe on this text
was begun. So neither a change after scores were seen counts, nor a headline that had been given up before, nor one that
is declared over scores that the store held already: those were, or may have been, seen.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pgolf.counts.config import CountConfig
from pgolf.errors import ResultsError
from pgolf.identity.fingerprint import canonical_json, digest
from pgolf.machine.hardware import host_name
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.product import ONE_ORDER, Cell
from pgolf.recipes.recipe import Recipe
from pgolf.tables.columns import moments_of
from pgolf.tables.declared_when import declared_when
from pgolf.tables.parquet import append, read
from pgolf.tables.removed import removed_results
from pgolf.tables.schema import DECLARATIONS, SCORES

# Settings of counts and hints that are those of the evaluation and not of a mixture.
_OF_EVALUATION = {"window", "stride", "tail"}


@dataclass(frozen=True, slots=True)
class Declared:
    """When a scorer was declared, None where no run is known to have, and whether that was before scoring."""

    declared_utc: datetime | None
    before_scoring: bool


def declare(recipe: Recipe, results: Path, *, scored_utc: Sequence[str] = ()) -> None:
    """Note under `results` that this recipe's headline is declared now, unless it is in force already.

    A grid that holds no declared scorer declares nothing. scored_utc: when scores that the run reuses were begun.
    Raises ResultsError where the table cannot be read or written.
    """
    headline = headline_text(recipe)
    known = _declarations(recipe, results)
    if (known and known[-1][1] == headline) or not _scorers(recipe):
        return
    scored = [*map(datetime.fromisoformat, scored_utc), *_scored(recipe, results)]
    now = declared_when((when for when, _ in known), scored)
    row = {"recipe": recipe.name, "headline": headline, "declared_utc": now, "host": host_name()}
    append(results, DECLARATIONS, f"{recipe.name}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}", [row])


def declared_of(recipe: Recipe, results: Path, first_score_utc: datetime) -> dict[str, Declared]:
    """What is known of the declaration of each scorer of this recipe's headline, by its name (`scorer_name`).

    first_score_utc: when the first score of this recipe on this text was begun; of older records to the second.
    Raises ResultsError where the table cannot be read.
    """
    known = [(when, _settings_in(headline, results)) for when, headline in _declarations(recipe, results)]
    is_fine = first_score_utc.microsecond > 0
    in_force = sum((when if is_fine else when.replace(microsecond=0)) <= first_score_utc for when, _ in known) - 1
    mine = json.loads(headline_text(recipe))
    return {name: _declared(known, name, mine[name], in_force) for name in _scorers(recipe)}


def _settings_in(headline: str, results: Path) -> dict[str, Any]:
    try:
        found = json.loads(headline)
        if not isinstance(found, dict):
            raise ValueError(f"it is a {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{results / DECLARATIONS.name}: a headline, {headline[:60]}, is no JSON object ({error}); delete the file "
            "that holds it: what it declared is then unknown"
        ) from None
    return found


def _declared(known: Sequence[tuple[datetime, dict[str, Any]]], name: str, settings: Any, in_force: int) -> Declared:
    """in_force: the place of the headline that was in force when scoring began; negative where none was."""
    places = [place for place, (_, declared) in enumerate(known) if declared.get(name) == settings]
    if not places:
        return Declared(None, False)
    before = in_force in places
    first = in_force if before else places[-1]
    while first - 1 in places:
        first -= 1
    return Declared(known[first][0], before)


def scorer_name(estimator: str, mixer: str) -> str:
    """What a declared scorer is called here: counts by their estimator, mixtures of scorers by their mixer too."""
    return f"{estimator} {mixer}" if estimator in ("bayes", "hedge") else estimator


def headline_text(recipe: Recipe) -> str:
    """Every setting that decides what the declared scorers are, as canonical JSON.

    A headline leaves settings to the grid and to the counts: one that these change is another headline.
    """
    recipe = recipe.as_read()
    return canonical_json({"headline": recipe.headline.settings} | _scorers(recipe))


def _scorers(recipe: Recipe) -> dict[str, Any]:
    """The declared scorers that are cells of the grid, and the mixtures of scorers, with all that decides them."""
    counts: dict[str, CountConfig] = {estimator: recipe.count.of(estimator) for estimator in recipe.estimators}
    cells = cells_of(recipe.mix, counts, recipe.hinted)
    found: dict[str, Any] = {}
    for estimator, config in counts.items():
        wanted = {"estimator": estimator, **recipe.headline.settings}
        cell = next((cell for cell in cells if all(getattr(cell, name) == wanted[name] for name in wanted)), None)
        if cell is not None:
            shorter = [] if cell.mixer in ONE_ORDER else [n for n in config.orders if n < recipe.headline.order]
            found[estimator] = {
                "cell": _settings(cell),
                "counts": config.model_dump(mode="json", exclude={*_OF_EVALUATION, "orders"}),
                "falls_back_on": shorter,
            }
    all_counts = [
        None if config is None else config.model_dump(mode="json", exclude=_OF_EVALUATION)
        for config in (*counts.values(), recipe.hint)
    ]
    for mixture in recipe.mix.bayes:
        members: Iterable[Cell] = (cell for cell in cells if cell.normalized)
        if mixture.members is not None:
            members = members_of(mixture.members, counts, recipe.hinted)
        of_members = digest([[_settings(member) for member in members], all_counts])
        settings = mixture.model_dump(mode="json", exclude={"members"}) | {"members": of_members}
        found.setdefault(scorer_name("bayes", mixture.mixer), settings)
    for hedge in recipe.mix.hedges:
        found.setdefault(scorer_name("hedge", f"hedge-{hedge.experts}"), hedge.model_dump(mode="json"))
    return found


def _settings(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in asdict(cell).items() if value is not None}


def _scored(recipe: Recipe, results: Path) -> list[datetime]:
    """When the scores in the tables were begun, or in those of removed runs, whatever the text."""
    tables = [
        read(one, SCORES, {"recipe": recipe.name}, columns=["started_utc"])
        for one in (results, *removed_results(results))
    ]
    return [when for table in tables for when in moments_of(table.column("started_utc")) if when is not None]


def _declarations(recipe: Recipe, results: Path) -> list[tuple[datetime, str]]:
    """When and what, from the first to the last."""
    table = read(results, DECLARATIONS, {"recipe": recipe.name}, columns=["declared_utc", "headline", "run_key"])
    names, headlines = (table.column(name).to_pylist() for name in ("run_key", "headline"))
    moments = moments_of(table.column("declared_utc"))
    rows = sorted((when, *row) for when, *row in zip(moments, names, headlines) if when is not None)
    return [(when, headline) for when, _, headline in rows]
