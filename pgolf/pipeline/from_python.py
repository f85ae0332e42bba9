"""The way in from Python and from a notebook: run a recipe, look at its scores, compare it with another run."""

import html
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import to_jsonable_python

from pgolf.compare.arms import HEADLINE, NETWORK, arm_of, scorer_asked
from pgolf.compare.compared import Compared
from pgolf.errors import ConfigError
from pgolf.pipeline.before_stages import run_ready
from pgolf.pipeline.build import build_all
from pgolf.pipeline.by_document import compare_runs
from pgolf.pipeline.graph import Node
from pgolf.pipeline.listen import Ledger, Silence
from pgolf.pipeline.outcome import Outcome, outcome_of
from pgolf.pipeline.pages import Pages, make_pages
from pgolf.pipeline.place import RESULTS_SETTING, Place, default_results, default_store
from pgolf.pipeline.plan import reasons_of
from pgolf.pipeline.run_outputs import Workshop
from pgolf.recipes.asked import asked_recipe
from pgolf.recipes.overrides import validated
from pgolf.recipes.own_files import fitted_to_files
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import find_recipe
from pgolf.recipes.run_names import refuse_run_name
from pgolf.run_options import Progress
from pgolf.stats.compare import RECORD_RULE, GainRule
from pgolf.store.artifact import Artifact
from pgolf.store.remote import is_url
from pgolf.tables.declared_seeds import MissingSeed, declared_seeds, missing_seeds
from pgolf.tables.filters import fitting, parse_conditions
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.results_folder import refuse_missing
from pgolf.tables.schema import SCORES, TABLES

if TYPE_CHECKING:
    import pandas

_SAY_EVERY_S = 10.0


@dataclass(frozen=True)
class FinishedRun:
    """A run whose results are filed. In a notebook it shows its summary and its figures."""

    outcome: Outcome
    place: Place
    pages: Pages

    @property
    def key(self) -> str:
        """Its run_key in the tables."""
        return self.outcome.run_key

    @property
    def name(self) -> str:
        """What it is called."""
        return self.outcome.run.name

    @property
    def scores(self) -> "pandas.DataFrame":
        """One row per seed and scorer, with the columns of the result tables."""
        found: pandas.DataFrame = self.outcome.scores.to_pandas()
        return found

    @property
    def missing_seeds(self) -> tuple[MissingSeed, ...]:
        """The seeds declared for this configuration that have no result in any run: one was killed, or left out."""
        return missing_seeds(self.place.results, run_key=self.key)

    @property
    def figures(self) -> list[Path]:
        """Its pictures, SVG files."""
        folder = self.pages.figures
        return [] if folder is None else sorted(folder.glob("*.svg"))

    @property
    def report(self) -> Path | None:
        """The page of the run, an HTML file that needs nothing beside it."""
        return self.pages.report

    def compare(
        self,
        *others: "FinishedRun | str",
        scorer: str = HEADLINE,
        rule: GainRule = RECORD_RULE,
        select_on: float | None = None,
    ) -> Compared:
        """Whether this run is better than the last of `others`; those before it are further arms.

        others: runs, or names and keys of runs in the same tables. scorer, rule, select_on: as for `pgolf compare`.
        Raises ConfigError and ResultsError for what cannot be compared.
        """
        if not others:
            raise ConfigError("compare with what? give a run, or the name of one in the same tables")
        for other in others:
            _refuse_other_kinds(other=other)
        _refuse_other_kinds(scorer=scorer, rule=rule, select_on=select_on)
        chosen = scorer_asked(scorer)
        arms = []
        for other in (self, *others):
            place = other.place if isinstance(other, FinishedRun) else self.place
            asked = other.key if isinstance(other, FinishedRun) else other
            scores = read(place.results, SCORES)
            declared = declared_seeds(place.results, scores)
            arms.append(arm_of(asked, runs_in(place.results), scores, scorer=chosen, declared=declared))
        store, memo = self.place.open_store(), self.place.memo()
        options = self.place.run_options()
        with store.using("pgolf compare", _unsaid):
            shop = Workshop(store=store, memo=memo, run=options, listener=Silence(), results=self.place.results)
            found = compare_runs(arms, rule, shop, select_on=select_on)
            store.save_memo()
            memo.save()
        return found

    def __str__(self) -> str:
        return self.outcome.text(None)

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary, and the figures in it, so that it needs no file beside it."""
        drawn = "".join(f"<div>{_inline(path)}</div>" for path in self.figures)
        return f"<pre>{html.escape(str(self))}</pre>{drawn}"


def run(
    recipe: str | Path | Recipe = "demo",
    *,
    seeds: int | Sequence[int] | None = None,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    note: str | None = None,
    store: str | Path | None = None,
    results: str | Path | None = None,
    documents: str | Path | None = None,
    tokenizer: str | Path | None = None,
    data: str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    say: Callable[[str], None] = print,
) -> FinishedRun:
    """Run a recipe without Prefect, as `pgolf run --no-prefect` does; what did not change is reused.

    recipe: a name, a recipe file, or a Recipe. set: dotted name of a setting -> value, as `--set`. store, results:
    default PGOLF_STORE and PGOLF_RESULTS, else ./artifacts and ./results, as for every command. say: is told what
    happens, line by line. Files its rows under `results` and draws its figures. Raises ConfigError for what cannot be
    run, and what a stage raises.
    """
    seeds, tags = _several(seeds), _several(tags)
    _refuse_other_kinds(recipe=recipe, set=set, seeds=seeds, name=name, tags=tags, note=note)
    _refuse_other_kinds(
        store=store, results=results, documents=documents, tokenizer=tokenizer, data=data, device=device, say=say
    )
    named = recipe if isinstance(recipe, Recipe) else find_recipe(str(recipe))
    if name is not None:
        refuse_run_name(name, named.name)
    overrides = [f"{path}={_typed(path, value)}" for path, value in (set or {}).items()]
    given = {"seeds": seeds, "run_name": name, "tags": tags, "notes": note}
    files = {"documents": documents, "tokenizer": tokenizer, "data": data}
    paths = {key: None if path is None else Path(path).absolute() for key, path in files.items()}

    def fit(one: Recipe) -> Recipe:
        fitted, said = fitted_to_files(one, {override.partition("=")[0] for override in overrides}, **paths)
        for text in said:
            say(text)
        return fitted

    asked = asked_recipe(named, overrides, given, fit=fit)
    absolute: dict[str, Any] = paths | {"results": Path(default_results() if results is None else results).absolute()}
    store = default_store() if store is None else store
    location = store if is_url(str(store)) else Path(store).absolute()
    place: Place = validated(Place, {**absolute, "store": location, "device": device})
    kept, memo = place.open_store(), place.memo()
    with run_ready(asked, place, kept, memo, what=f"pgolf run {asked.name}", say=say, evaluation_only=False) as ready:
        reasons = reasons_of(ready.steps)
        for text in ready.notes:
            say(text)
        say(f"{asked.name}: {len(ready.steps) - len(reasons)} of {len(ready.steps)} stages reused")
        ledger = Ledger(_Lines(say))
        artifacts = build_all(ready.nodes, kept, memo, place.run_options(), ledger)
        kept.save_memo()
        memo.save()
        outcome = outcome_of(ready.recipe, ready.nodes, artifacts, place.results, built=ledger.built, reasons=reasons)
        outcome.file(place.results)
        pages = make_pages(outcome, place.results, kept)
    return FinishedRun(outcome, place, pages)


def load_results(
    results: str | Path | None = None, *, table: str = "scores", where: str | Sequence[str] = ()
) -> "pandas.DataFrame":
    """Rows of a result table. where: conditions on columns, as `pgolf results --where`: "seed=1,2", "bpb<2.1".

    results: default PGOLF_RESULTS, else ./results. Raises ConfigError for a table that there is not, ResultsError for
    a folder that there is not and a condition that cannot hold.
    """
    where = _several(where) or []
    _refuse_other_kinds(results=results, where=where)
    folder = Path(default_results() if results is None else results)
    if table not in TABLES:
        raise ConfigError(f"there is no table {table!r}; the tables are {', '.join(TABLES)}")
    conditions = parse_conditions(where)
    refuse_missing(folder, f"name another folder here or in {RESULTS_SETTING}")
    if of_settings := [condition for condition in conditions if condition.is_of_setting]:
        raise ConfigError(f"{of_settings[0]} is about a setting of a recipe; conditions here are on columns")
    rows: pandas.DataFrame = fitting(read(folder, TABLES[table]), TABLES[table], conditions).to_pandas()
    return rows


class _Lines(Silence):
    """Says in a line what is built, how far it is every few seconds, and what is done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said_s = say, time.monotonic()

    def waiting(self, node: Node, what: str) -> None:
        self._say(f"… {node.name}  {what}")

    def building(self, node: Node) -> None:
        self._say(f"▸ {node.name}")

    def progress(self, node: Node, progress: Progress) -> None:
        if progress.note:
            self._say(f"  {node.name}  {progress.note}")
        elif time.monotonic() - self._said_s >= _SAY_EVERY_S:
            self._said_s = time.monotonic()
            self._say(f"  {node.name}  {progress.done:,} of {progress.total:,} {progress.unit}")

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        took = f"{artifact.record.wall_s:.1f} s" if built else "reused"
        self._say(f"✓ {node.name}  {took}")


# What an argument may be, and how a person is told; None, for what was not said, may be everywhere but where it means
# nothing.
_PATH = ((str, Path, NoneType), "a path")
_KINDS: dict[str, tuple[tuple[Any, ...], str]] = {
    "recipe": ((str, Path, Recipe), "a recipe's name, a recipe file or a Recipe"),
    "set": ((Mapping, NoneType), 'settings by their dotted names, e.g. {"train.steps": 200}'),
    **dict.fromkeys(("name", "note"), ((str, NoneType), "text")),
    "seeds": ((list, NoneType), "whole numbers"),
    **dict.fromkeys(("tags", "where"), ((list, NoneType), "texts")),
    **dict.fromkeys(("store", "results", "documents", "tokenizer", "data"), _PATH),
    "device": ((str,), "auto, cpu or cuda"),
    "say": ((Callable,), "a function that takes a line, e.g. print"),
    "other": ((FinishedRun, str), "a run, or the name of one in the same tables"),
    "scorer": ((str,), f"{HEADLINE}, {NETWORK}, or settings such as 'estimator=exact order=5'"),
    "rule": ((GainRule,), "a GainRule"),
    "select_on": ((int, float, NoneType), "a share between 0 and 1"),
}


def _refuse_other_kinds(**given: Any) -> None:
    """Raise ConfigError for an argument of a kind that is none of those that it may have."""
    for name, value in given.items():
        kinds, words = _KINDS[name]
        members = value if name in ("tags", "where") and value is not None else ()
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if not fits or not all(isinstance(member, str) for member in members):
            raise ConfigError(f"{name}: {value!r:.60} is a {type(value).__name__}; give {words}")


def _several(value: Any) -> Any:
    """One number or text as a list of it, and whatever else can be gone through as a list; None and other as it is."""
    if isinstance(value, int | str):
        return [value]
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else value


def _typed(path: str, value: Any) -> str:
    """A value as a person would type it behind --set. Raises ConfigError for what nobody could."""
    try:
        return value if isinstance(value, str) else json.dumps(to_jsonable_python(value, fallback=_of_array))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"set: {path} is {value!r:.60}, a {type(value).__name__}, which no setting holds; give a number, text, a "
            f"list or a dictionary"
        ) from error


def _of_array(value: Any) -> Any:
    """The numbers of an array, or the one of an array's element."""
    if not hasattr(value, "tolist"):
        raise TypeError(type(value).__name__)
    return value.tolist()


def _inline(path: Path) -> str:
    """An SVG file without what only a file needs."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def _unsaid(_text: str) -> None:
    """Nobody waits for this in a notebook."""
