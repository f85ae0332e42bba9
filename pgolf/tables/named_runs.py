"""Runs by name: what each is called, what its recipe changes of another, and which one a text names."""

import difflib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pgolf.errors import ConfigError, ResultsError
from pgolf.machine.hardware import host_name
from pgolf.tables.columns import moments_of
from pgolf.tables.grouped import combinations, mask
from pgolf.tables.how_to_run import run_command
from pgolf.tables.parquet import FEW_FILES, append, files_of, read
from pgolf.tables.schema import DECLARATIONS, RUNS, SCORES, SEEDS, STAGES, TableSpec

_LISTED = 8
# A run may be named by so many digits of its key.
_LEAST_DIGITS = 4
# What a recipe says of itself and of its runs; seeds are told row by row.
_NO_SETTINGS = frozenset({"name", "description", "base", "seeds", "run_name", "tags", "notes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that the tables know. key: its run_key. changed: dotted name -> value where it differs from its base.

    config: its whole recipe as plain data; empty for a run of an earlier version, which nobody has named.
    """

    key: str
    recipe: str
    recipe_key: str | None
    name: str
    base: str | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    note: str = ""
    named_utc: datetime | None = None

    def setting(self, path: str) -> Any:
        """The value of a setting by its dotted name. Raises KeyError where the run does not say or has none."""
        value: Any = self.config
        for name in path.split("."):
            value = value[name] if isinstance(value, Mapping) else _none(path)
        return value

    def command(self, seeds: Iterable[int | str]) -> str:
        """What runs these seeds of its configuration, as a person types it; of many settings it says how many."""
        return run_command(self.recipe, self.base, self.changed, seeds)


def _none(path: str) -> Any:
    raise KeyError(path)


def name_run(results: Path, run: Run) -> None:
    """Note what a run is called, unless that is what the tables say already. Raises ResultsError."""
    known = _named(results, run.key).get(run.key)
    now = datetime.now(UTC)
    if known is not None and known.named_utc is not None:
        told = (known.name, known.tags, known.note, known.config, known.changed)
        if told == (run.name, run.tags, run.note, run.config, run.changed):
            return
        now = max(now, known.named_utc + timedelta(microseconds=1))  # whatever the clock says, the latest counts
    row = {
        "run": run.key,
        "recipe": run.recipe,
        "recipe_key": run.recipe_key,
        "name": run.name,
        "base": run.base or None,
        "changed": _json(run.changed),
        "config": _json(run.config),
        "tags": _json(list(run.tags)),
        "note": run.note or None,
        "named_utc": now,
        "host": host_name(),
    }
    append(results, RUNS, f"{run.key}-{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}", [row])


def with_given_name(results: Path, run: Run) -> Run:
    """The run as it is called already, where a repeated run brings back what it was called before that.

    A name that was given up stays given up; tags and a note stay where none are brought. Raises ResultsError.
    """
    known = _named(results, run.key).get(run.key)
    if known is None:
        return run
    earlier = set(read(results, RUNS, {"run": run.key}, columns=["name"], run_keys=run.key).column("name").to_pylist())
    name = known.name if run.name in earlier else run.name
    return replace(run, name=name, tags=run.tags or known.tags, note=run.note or known.note)


def runs_in(results: Path) -> list[Run]:
    """Every run of the scores' table, named or not, in the order of their keys. Raises ResultsError."""
    named = _named(results)
    keys = [path.stem for path in files_of(results, SCORES)]
    unnamed = _unnamed(results, [key for key in keys if key not in named])
    return [named.get(key) or unnamed[key] for key in keys]


def _named(results: Path, beginning: str = "") -> dict[str, Run]:
    """Key -> run as it was named last, of those whose key begins so."""
    table = read(results, RUNS, run_keys=beginning)
    columns = {name: table.column(name).to_pylist() for name in RUNS.arrow.names if name != "named_utc"}
    columns["named_utc"] = moments_of(table.column("named_utc"))
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    return {row["run"]: _run(row, results) for row in sorted(rows, key=lambda row: (row["named_utc"], row["run_key"]))}


def _unnamed(results: Path, keys: Sequence[str]) -> dict[str, Run]:
    """Runs of an earlier version, as their scores tell them."""
    columns = ("run_key", "recipe", "recipe_key")
    few = len(keys) <= FEW_FILES
    tables = [read(results, SCORES, columns=columns, run_keys=key) for key in (keys if few else [""])]
    found = {key: Run(key=key, recipe=key, recipe_key=None, name=key) for key in keys}
    for table in tables:
        rows, _ = combinations(table, columns)
        for key, recipe, recipe_key in rows:
            if key in found:
                found[key] = Run(key=key, recipe=recipe, recipe_key=recipe_key, name=key)
    return found


def _run(row: Mapping[str, Any], results: Path) -> Run:
    try:
        changed, config, tags = (json.loads(row[name] or "null") for name in ("changed", "config", "tags"))
        if not all(isinstance(value, dict | None) for value in (changed, config)) or not isinstance(tags, list | None):
            raise ValueError("it is of another kind")
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{results / RUNS.name}: what {row['run_key']} says of its settings is no JSON ({error}); delete its file"
        ) from None
    return Run(
        key=row["run"],
        recipe=row["recipe"],
        recipe_key=row["recipe_key"],
        name=row["name"],
        base=row["base"],
        changed=changed or {},
        config=config or {},
        tags=tuple(map(str, tags or ())),
        note=row["note"] or "",
        named_utc=row["named_utc"],
    )


def run_named(text: str, runs: Sequence[Run]) -> Run:
    """The one run that a text names: by its name, its key, or the beginning of its key or of the digest in it.

    Or as tables write a configuration, by a recipe and the beginning of its key: demo@9be8caf9.
    Raises ConfigError where there is none, with the nearest, and where there are several, with their keys.
    """
    ways = (
        [run for run in runs if run.key == text],
        [run for run in runs if run.name == text],
        [run for run in runs if run.key.startswith(text) or _digest(run.key).startswith(text)],
        [run for run in runs if run.recipe_key and f"{run.recipe}@{run.recipe_key}".startswith(text)],
    )
    found = next((found for found in ways if text and found), [])
    if len(found) == 1:
        return found[0]
    if not found:
        names = [name for run in runs for name in (run.name, run.key)]
        near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
        if not runs:
            raise ConfigError(f"no run {text}; there is none here, `pgolf run RECIPE` makes one")
        hint = f"did you mean {_listed(dict.fromkeys(near))}?" if near else f"there are {_listed(dict.fromkeys(names))}"
        raise ConfigError(f"no run {text}; {hint}")
    latest = sorted(found, key=lambda run: (run.named_utc is not None, run.named_utc, run.key), reverse=True)
    alike = "are called" if latest[0].name == text else "are of" if "@" in text else "have keys that begin with"
    raise ConfigError(
        f"{len(found)} runs {alike} {text}: {_listed(run.key for run in latest)}; name one by its key, or rename it "
        f"with `pgolf rename {latest[0].key} NAME`"
    )


def refuse_taken(name: str, run: Run, runs: Sequence[Run]) -> None:
    """Raise ConfigError for a name that names another of the runs: as its name, its key or a beginning of that."""
    for other in runs:
        if other.key == run.key:
            continue
        begins = other.key.startswith(name) and not f"{other.recipe}-".startswith(name)
        if other.key == name or begins or (len(name) >= _LEAST_DIGITS and _digest(other.key).startswith(name)):
            what = "the key" if other.key == name else "a beginning of the key"
            raise ConfigError(
                f"{name} is {what} of another run, {other.key} ({other.name}), which goes by it; take another name"
            )
        if other.name == name:
            raise ConfigError(
                f"{name} is what {other.key} is called; take another name, or first give that one another: "
                f"pgolf rename {other.key} NAME"
            )


def rows_of(table: pa.Table, spec: TableSpec, runs: Sequence[Run]) -> pa.Table:
    """Rows of these runs. Stages and names stand in files of their own, called after the run."""
    column = {RUNS.name: "run", DECLARATIONS.name: "recipe", SEEDS.name: "recipe"}.get(spec.name, "run_key")
    wanted = {run.recipe if column == "recipe" else run.key for run in runs}
    ours = [
        value in wanted or (spec is STAGES and value.rpartition("-")[0] in wanted)
        for value in table.column(column).to_pylist()
    ]
    return table.filter(mask(np.array(ours, np.bool_)))


def settings_that_differ(runs: Sequence[Run]) -> list[str]:
    """Dotted names of all settings in which these runs differ, those that any of them changes first.

    Runs that do not say their settings are left out, and so is what a recipe says of itself.
    """
    said = [run for run in runs if run.config]
    paths = dict.fromkeys(path for run in said for path in run.changed)
    paths |= dict.fromkeys(path for run in said for path in dotted_names(run.config))
    known = [path for path in paths if path.partition(".")[0] not in _NO_SETTINGS]
    found = [path for path in known if len({_json(_setting(run, path)) for run in said}) > 1]
    # A section that one of them has not is one setting.
    return [path for path in found if not any(path.startswith(f"{section}.") for section in found)]


def dotted_names(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of all settings of a configuration."""
    found = []
    for name, value in config.items():
        found += dotted_names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [f"{prefix}{name}"]
    return found


def _setting(run: Run, path: str) -> Any:
    try:
        return run.setting(path)
    except KeyError:
        return None


def _digest(key: str) -> str:
    match = re.fullmatch(r".*-([0-9a-f]{6,})", key)
    return match[1] if match else ""


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = [f"and {len(all_names) - _LISTED} more"] if len(all_names) > _LISTED else []
    return ", ".join([*(repr(name) if " " in name else name for name in all_names[:_LISTED]), *more])


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
