"""Group a run's scorers into pictures, panels and axes.

A *family* is all scorers of one estimator and one mixer. Families of one mixer share a picture, one panel each: scores
and legacy numbers appear side by side, never in one panel. The two settings with most values become the axes; each
combination of values of other varying settings gets its own picture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from pgolf.tables.ranked import ScorerResult
from pgolf.tables.schema import SCORER, SCORES
from pgolf.tables.sheet import Value

Kind = Literal["honest", "not causal", "legacy"]
Form = Literal["map", "curves"]

# Maximum number of pictures per mixer; if there are more combinations, evenly spread ones are drawn.
MAX_PICTURES = 4

_NO_SETTING = ("estimator", "mixer", "cell")


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting and its values, ascending."""

    name: str
    values: tuple[Value, ...]

    @property
    def label(self) -> str:
        """Axis label: the setting's name and unit."""
        column = SCORES.by_name.get(self.name)
        unit = f" ({column.unit})" if column is not None and column.unit else ""
        return f"{words(self.name)}{unit}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One family's points in a picture, by their coordinates (x, y); y is None if there is only one axis."""

    kind: Kind
    estimator: str
    points: Mapping[tuple[Value, Value], ScorerResult]


@dataclass(frozen=True, slots=True)
class Picture:
    """Content of one picture. fixed: settings shared by all its points; chosen: those of them that vary elsewhere.

    drawn, combinations: how many combinations of `chosen` are drawn, and how many exist.
    """

    mixer: str
    x: Axis
    y: Axis | None
    panels: tuple[Panel, ...]
    fixed: Mapping[str, Value]
    chosen: Mapping[str, Value]
    drawn: int
    combinations: int


@dataclass(frozen=True, slots=True)
class Sketch:
    """One drawing that is to be made: its name as a file, without suffix, and what it shows in which form."""

    name: str
    form: Form
    picture: Picture


def sketches_of(pictures: Sequence[Picture]) -> list[Sketch]:
    """Of every picture curves, and a map as well if it has two axes."""
    seen: dict[str, int] = {}
    sketches = []
    for picture in pictures:
        seen[picture.mixer] = seen.get(picture.mixer, 0) + 1
        number = f"-{seen[picture.mixer]}" if picture.drawn > 1 else ""
        forms: tuple[Form, ...] = ("curves",) if picture.y is None else ("map", "curves")
        sketches += [Sketch(f"{picture.mixer}{number}-{form}", form, picture) for form in forms]
    return sketches


def words(name: str) -> str:
    """A setting's name for humans, without its unit."""
    return name.removesuffix("_nats").replace("_", " ")


def pictures_of(results: Sequence[ScorerResult]) -> list[Picture]:
    """The pictures of a recipe's scorers, by mixer; none for a mixer whose settings do not vary."""
    mixers: dict[str, dict[str, list[ScorerResult]]] = {}
    for result in results:
        settings = dict(zip(SCORER, result.scorer))
        estimator, mixer = str(settings["estimator"]), settings["mixer"]
        if mixer is not None and result.summary("bpb") is not None:
            mixers.setdefault(str(mixer), {}).setdefault(estimator, []).append(result)
    return [picture for mixer in sorted(mixers) for picture in _pictures(mixer, mixers[mixer])]


def evenly(values: Sequence[Value], most: int) -> list[Value]:
    """At most `most` of the values, evenly spread, including the first and the last."""
    return [values[index] for index in _evenly_spread(len(values), most)]


def _pictures(mixer: str, families: Mapping[str, Sequence[ScorerResult]]) -> list[Picture]:
    settings = {name: [_settings(result) for result in family] for name, family in families.items()}
    varying = {name: _varying(of_family) for name, of_family in settings.items()}
    names = sorted({setting for found in varying.values() for setting in found})
    values = {
        setting: _ascending(
            {row.get(setting) for name in families if setting in varying[name] for row in settings[name]}
        )
        for setting in names
    }
    if not names:
        return []
    x, y = _axes(values)
    rest = _needed([name for name in names if name not in (x, y)], (x, y), settings, varying)
    combinations = list(product(*(values[name] for name in rest)))
    kept = [combinations[k] for k in _evenly_spread(len(combinations), MAX_PICTURES)]
    pictures = []
    for combination in kept:
        chosen = dict(zip(rest, combination))
        panels = []
        for name, family in sorted(families.items()):
            wanted = {setting: value for setting, value in chosen.items() if setting in varying[name]}
            points = {
                (row.get(x), None if y is None else row.get(y)): result
                for row, result in zip(settings[name], family)
                if all(row.get(setting) == value for setting, value in wanted.items())
            }
            if points:
                panels.append(Panel(_kind(list(points.values())), name, points))
        if panels:
            shared = _shared([settings[name][0] for name in families], names)
            pictures.append(
                Picture(
                    mixer=mixer,
                    x=Axis(x, values[x]),
                    y=None if y is None else Axis(y, values[y]),
                    panels=tuple(
                        sorted(panels, key=lambda panel: ("honest", "not causal", "legacy").index(panel.kind))
                    ),
                    fixed={**shared, **chosen},
                    chosen=chosen,
                    drawn=len(kept),
                    combinations=len(combinations),
                )
            )
    return pictures


def _settings(result: ScorerResult) -> dict[str, Value]:
    """Every setting of a scorer: the table's columns, and further ones from its cell."""
    settings = dict(zip(SCORER, result.scorer))
    cell = settings["cell"]
    extra = {}
    if isinstance(cell, str):
        try:
            parsed = json.loads(cell)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            extra = {
                name: value if isinstance(value, str | int | float) else json.dumps(value)
                for name, value in parsed.items()
                if name not in SCORES.by_name
            }
    return {name: value for name, value in {**settings, **extra}.items() if name not in _NO_SETTING}


def _varying(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """Names of the settings that differ between the scorers of a family.

    A setting without a column counts only if the columns do not determine it: a backoff's fallback follows its order.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    varying = [name for name in names if len({row.get(name) for row in rows}) > 1]
    columns = [name for name in varying if name in SCORES.by_name]
    by_columns = [tuple(row.get(name) for name in columns) for row in rows]

    def follows(name: str) -> bool:
        return len({(row.get(name), *key) for row, key in zip(rows, by_columns)}) == len(set(by_columns))

    return [name for name in varying if name in SCORES.by_name or not follows(name)]


def _axes(values: Mapping[str, tuple[Value, ...]]) -> tuple[str, str | None]:
    """x: the real-valued setting with most values (at least three), else any with most; y: the next by most values."""

    def rank(name: str) -> tuple[bool, int, int]:
        several_reals = _is_real(values[name]) and len(values[name]) > 2
        # Ties go to the setting that comes first in the tables.
        return several_reals, len(values[name]), -SCORER.index(name) if name in SCORER else -len(SCORER)

    x = max(values, key=rank)
    others = [name for name in values if name != x]
    y = max(others, key=lambda name: rank(name)[1:]) if others else None
    return x, y


def _is_real(values: Sequence[Value]) -> bool:
    return any(isinstance(value, float) for value in values) and all(isinstance(value, int | float) for value in values)


def _needed(
    rest: Sequence[str],
    axes: tuple[str, str | None],
    settings: Mapping[str, Sequence[Mapping[str, Value]]],
    varying: Mapping[str, Sequence[str]],
) -> list[str]:
    """The settings needed to keep all scorers at distinct points; settings that follow from others are dropped."""
    needed = list(rest)
    for name in rest:
        without = [part for part in (*axes, *needed) if part is not None and part != name]
        unique = all(
            len({tuple(row.get(part) for part in without if part in varying[family]) for row in rows}) == len(rows)
            for family, rows in settings.items()
        )
        if unique:
            needed.remove(name)
    return needed


def _evenly_spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def _shared(rows: Sequence[Mapping[str, Value]], varying: Sequence[str]) -> dict[str, Value]:
    """Settings that do not vary within the mixer and on which all its families agree."""
    return {
        name: value
        for name, value in rows[0].items()
        if name not in varying and value is not None and all(row.get(name) == value for row in rows)
    }


def _kind(results: Sequence[ScorerResult]) -> Kind:
    """A family is honest only if normalized and causal at every point."""
    if not all(result.gate("normalized") for result in results):
        return "legacy"
    return "honest" if all(result.gate("causal") for result in results) else "not causal"


def _ascending(values: set[Value]) -> tuple[Value, ...]:
    """Sort: numbers by value, then texts (numeric ones by value), None last."""

    def sort_key(value: Value) -> tuple[int, float, str]:
        if isinstance(value, int | float):
            return 0, float(value), ""
        if isinstance(value, str) and value.isdecimal():
            return 1, float(value), ""
        return (3, 0.0, "") if value is None else (2, 0.0, str(value))

    return tuple(sorted(values, key=sort_key))
