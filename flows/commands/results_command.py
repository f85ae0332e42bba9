"""`pgolf results`: per validation text the ranking, then what is not ranked, or the stored rows of a result table."""

import argparse
import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.commands.arguments import add_json, add_results, add_wide, results_there, table_width
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.tables.declared_seeds import (
    NOTHING_DECLARED,
    DeclaredSeeds,
    MissingSeed,
    declared_seeds,
    missing_notes,
)
from pgolf.tables.filters import Condition, fitting, parse_conditions
from pgolf.tables.fitting import NOT_LOOKED_FOR
from pgolf.tables.labels import labelled
from pgolf.tables.named_runs import Run, dotted_names, rows_of, run_named, runs_in, settings_that_differ
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, lists, same_text
from pgolf.tables.schema import TABLES, TableSpec
from pgolf.tables.sheet import Sheet, SheetColumn, sheet_of
from pgolf.tables.text import to_csv, to_json, to_text
from pgolf.tables.texts import by_text

_MOST_LISTED = 8
# Names that are neither columns nor settings to filter by, though recipes have them.
_ASKED_FOR_OTHERWISE = {
    "tags": "runs are chosen by their tags with --tag {value}",
    "tag": "runs are chosen by their tags with --tag {value}",
    "run_name": "runs are named in front: pgolf results '{value}'",
    "name": "runs are named in front: pgolf results '{value}'",
}
# On a narrow terminal settings leave after what nobody looks for, and before what was measured.
_SETTINGS_SPARE = NOT_LOOKED_FOR - 1

EXAMPLES = """examples:
  pgolf results                                    mean ± std per scorer: ranked, found by looking, legacy
  pgolf results --rows --recipe demo --seed 42     the stored rows
  pgolf results --table attempts --csv             every packing attempt
  pgolf results --where estimator=exact --where 'bpb<2.1' --json
  pgolf results no-gate --rows                     one run by its name, its key, or a beginning of that
  pgolf results --where model.gated_attention=false --where mix.alphas=0.4,0.51
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="only these, by name or key (default: all)")
    add_results(parser)
    parser.add_argument("--table", choices=tuple(TABLES), default="scores", help="which table (default: %(default)s)")
    parser.add_argument("--recipe", metavar="NAME", help="only this recipe")
    parser.add_argument("--seed", type=int, metavar="N", help="only this seed")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only rows that fit: seed=1,2, 'bpb<2.1', gpu=null, model.width=256; may be repeated",
    )
    parser.add_argument("--tag", action="append", default=[], metavar="WORD", help="only runs with this tag")
    parser.add_argument("--rows", action="store_true", help="the stored rows instead of means over seeds")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="at most N scorers per list (default: %(default)s)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="the stored rows, comma-separated, full precision")
    add_json(form)
    add_wide(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the tables: ranking and legacy scores apart, or the stored rows."""
    if arguments.top < 1:
        raise ConfigError(f"--top {arguments.top} would show nothing; give 1 or more")
    spec, results = TABLES[arguments.table], results_there(arguments)
    runs = runs_in(results)
    conditions = parse_conditions(arguments.where)
    of_settings = [one for one in conditions if one.is_of_setting or _is_setting(one, spec, runs)]
    if arguments.recipe is not None:
        conditions.append(Condition("recipe", "=", (arguments.recipe,)))
    if arguments.seed is not None:
        conditions.append(Condition("seed", "=", (str(arguments.seed),)))
    of_columns = [condition for condition in conditions if condition not in of_settings]
    in_means = not arguments.csv and not arguments.rows and arguments.table == "scores"
    asked = [spec.column(condition.name).name for condition in of_columns]
    needed = list(dict.fromkeys((*NEEDED, "run_key", *asked)))
    whole = read(results, spec, columns=needed if in_means else None)
    table = fitting(whole, spec, of_columns)
    chosen = _chosen(runs, arguments, of_settings)
    if len(chosen) < len(runs):
        table = rows_of(table, spec, chosen)
    declared = declared_seeds(results, whole) if in_means else NOTHING_DECLARED
    asked_for_few = arguments.runs or arguments.tag or any(one.name != "recipe" for one in conditions)
    bare = () if asked_for_few else declared.without_any(arguments.recipe)
    exit_code = 0
    if table.num_rows == 0:
        asked_for = bool(conditions or arguments.runs or arguments.tag)
        exit_code = int(asked_for and bool(runs))
        that = " that match" if exit_code else ""
        hint = _what_there_is(results, spec, of_columns, of_settings, arguments, runs)
        tell(f"no rows{that} in {results / spec.name}{'; ' if hint else ''}{hint}")
        if not (arguments.csv or arguments.json or bare):
            return exit_code
    if arguments.csv:
        hand_over(to_csv(sheet_of(table, spec)))
    elif not in_means:
        sheet = _with_current(_with_settings(sheet_of(table, spec), chosen), runs)
        if arguments.json:
            hand_over(to_json(sheet))
        else:
            show(to_text(sheet, table_width(arguments)), end="")
    elif arguments.json:
        found = _lists(labelled(table, runs), arguments.top, declared)
        found["missing_seeds"] = [one.data() for one in (*_missing_of(table, declared), *bare)]
        hand_over(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_means(labelled(table, runs), arguments.top, table_width(arguments), declared, bare)
    return exit_code


def _chosen(runs: Sequence[Run], arguments: argparse.Namespace, conditions: Sequence[Condition]) -> list[Run]:
    """The runs that are named, have the tags, and whose settings fit; a run that does not say fits nothing."""
    found = [run_named(text, runs) for text in arguments.runs] if arguments.runs else list(runs)
    found = [run for run in found if set(arguments.tag) <= set(run.tags)]
    for condition in conditions:
        known = [run for run in runs if run.config]
        if known and not any(_says(run, condition) for run in known):
            paths = dict.fromkeys(path for run in known for path in dotted_names(run.config))
            near = difflib.get_close_matches(condition.name, paths, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"--where {condition}: no run here has a setting {condition.name}{hint}")
        found = [run for run in found if _says(run, condition) and condition.holds(run.setting(condition.name))]
    return found


def _is_setting(condition: Condition, spec: TableSpec, runs: Sequence[Run]) -> bool:
    """Whether a name without a dot is a setting of a recipe, and no column.

    Raises ConfigError for one that is neither, where it is what people call a tag or a run, or the end of a setting's
    name.
    """
    name = condition.name
    if name in spec.by_name:
        return False
    if name in _ASKED_FOR_OTHERWISE:
        raise ConfigError(f"--where {condition}: {_ASKED_FOR_OTHERWISE[name].format(value=condition.whole)}")
    if any(name in run.config for run in runs):
        return True
    paths = dict.fromkeys(path for run in runs for path in dotted_names(run.config))
    if ends := [path for path in paths if path.rpartition(".")[2] == name]:
        raise ConfigError(
            f"--where {condition}: {spec.name} has no column {name}; did you mean {' or '.join(ends[:_MOST_LISTED])}?"
        )
    return False


def _says(run: Run, condition: Condition) -> bool:
    try:
        run.setting(condition.name)
    except KeyError:
        return False
    return True


def _what_there_is(
    results: Path,
    spec: TableSpec,
    conditions: Sequence[Condition],
    of_settings: Sequence[Condition],
    arguments: argparse.Namespace,
    runs: Sequence[Run],
) -> str:
    """What to ask for instead: of the first filter that alone fits nothing, what there is. Empty without a filter."""
    if not runs:
        return "`pgolf run RECIPE` writes some"
    for condition in conditions:
        column = read(results, spec, columns=[condition.name])
        if fitting(column, spec, [condition]).num_rows == 0:
            return f"{condition} fits none: there is {condition.name} {_there(column.column(0).to_pylist())}"
    for condition in of_settings:
        says = [run.setting(condition.name) for run in runs if _says(run, condition)]
        if not any(condition.holds(value) for value in says):
            return f"{condition} fits none: there is {condition.name} {_there(says)}"
    tags = sorted({tag for run in runs for tag in run.tags})
    if missing := [tag for tag in arguments.tag if tag not in tags]:
        return f"no run has the tag {missing[0]}: there are {_some(tags)}"
    asked = [*arguments.runs, *arguments.tag, *conditions, *of_settings]
    if len(asked) > 1:
        return "each filter fits some, together they fit none"
    return f"{asked[0]} has rows in other tables only" if asked else ""


def _there(values: Sequence[Any]) -> str:
    """What a column or a setting holds, as a filter spells it; of many numbers the ends."""
    reals = [value for value in values if isinstance(value, float)]
    if len(set(reals)) > 1:
        return f"{min(reals):g} to {max(reals):g}"
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    spelled = {value if isinstance(value, str) else json.dumps(value, separators=(",", ":")) for value in plain}
    return _some(sorted(spelled, key=lambda text: (len(text), text) if text.isdecimal() else (0, text)))


def _some(values: Sequence[str]) -> str:
    shown = ", ".join(values[:_MOST_LISTED])
    more = f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return f"{shown}{more}" if values else "none"


def _with_settings(sheet: Sheet, runs: Sequence[Run]) -> Sheet:
    """Rows with a column for the run's name, and one for every setting in which the shown runs differ."""
    names = [column.name for column in sheet.columns]
    if "run_key" not in names or "config" in names:
        return sheet
    of_row = [_run_of(row[names.index("run_key")], runs) for row in sheet.rows]
    shown = list({run.key: run for run in of_row if run is not None}.values())
    paths = settings_that_differ(shown)
    columns = (SheetColumn("run", "run"), *(SheetColumn(path, path, spare=_SETTINGS_SPARE) for path in paths))
    rows = tuple(
        (None if run is None else run.name, *(_shown(run, path) for path in paths), *row)
        for run, row in zip(of_row, sheet.rows)
    )
    return replace(sheet, columns=(*columns, *sheet.columns), rows=rows)


def _with_current(sheet: Sheet, runs: Sequence[Run]) -> Sheet:
    """Rows of names with a column that says which of them a run goes by now: of its names the latest."""
    names = [column.name for column in sheet.columns]
    if "named_utc" not in names:
        return sheet
    key, when = names.index("run"), names.index("named_utc")
    latest = {(run.key, run.named_utc) for run in runs}
    rows = tuple(((row[key], row[when]) in latest, *row) for row in sheet.rows)
    return replace(sheet, columns=(SheetColumn("current", "current"), *sheet.columns), rows=rows)


def _run_of(key: str, runs: Sequence[Run]) -> Run | None:
    by_key = {run.key: run for run in runs}
    return by_key.get(key) or by_key.get(key.rpartition("-")[0])


def _shown(run: Run | None, path: str) -> str | int | float | bool | None:
    try:
        value = None if run is None else run.setting(path)
    except KeyError:
        return None
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def _missing_of(scores: pa.Table, declared: DeclaredSeeds) -> tuple[MissingSeed, ...]:
    """Of the configurations of these rows."""
    return declared.missing_of(set(scores.column("config_key").unique().to_pylist()))


def _lists(scores: pa.Table, top: int, declared: DeclaredSeeds) -> dict[str, list[Any]]:
    """Every list's rows; each row names its text, and ranks count within it."""
    texts = by_text(scores)
    found: dict[str, list[Any]] = {"ranking": [], "found_by_looking": [], "legacy": [], "same_text": []}
    for _, of_text in texts:
        for name, sheet in lists(of_text, top=top, declared=declared).items():
            found[name] += _rows(sheet)
    for sheet in same_text(texts, top=top, declared=declared):
        found["same_text"] += _rows(sheet)
    return found


def _rows(sheet: Sheet) -> list[Any]:
    rows: list[Any] = json.loads(to_json(sheet))
    return rows


def _print_means(
    scores: pa.Table, top: int, width: int | None, declared: DeclaredSeeds, bare: Sequence[MissingSeed]
) -> None:
    texts = by_text(scores)
    blocks = []
    for text, of_text in texts:
        heading = Sheet(f"validation text: {text}", (), ())
        sheets = lists(of_text, top=top, declared=declared).values()
        blocks += [to_text(heading, width), *(to_text(each, width) for each in sheets if each.rows or each.notes)]
    blocks += [to_text(sheet, width) for sheet in same_text(texts, top=top, declared=declared)]
    if notes := missing_notes(bare):
        hidden = len(notes) - _MOST_LISTED
        more = [f"and {hidden} more: `pgolf results --table seeds`"] if hidden > 0 else []
        blocks.append(
            to_text(Sheet("declared, and no seed has a result", (), (), (*notes[-_MOST_LISTED:], *more)), width)
        )
    show("\n".join(blocks), end="")
