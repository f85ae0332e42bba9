"""Drawings of earlier runs that show the same: found by a key of all that they show, which lies beside them.

Another grid of weights leaves the curves of the adaptive mixtures as they are. Of a drawing everything counts that is
drawn, the code and the library that draw; what its caption says of the run it was drawn from does not: such a drawing
is copied as it is, and names the first run with these numbers.
"""

import hashlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pgolf.report.families import Sketch
from pgolf.report.run_facts import RunFacts

KEYS = ".drawn.json"  # drawing -> key, in each run's folder
ENDINGS = ("svg", "png")
# Of so many folders, the latest, it is asked whether they hold a drawing.
_MOST_FOLDERS = 50
# The modules that decide what a drawing looks like.
_DRAW = ("drawn_before", "families", "figures", "run_facts")
# Of a point's rows, what is drawn of them.
_DRAWN_COLUMNS = ("bpb", "mass_mean")


def key_of(sketch: Sketch, facts: RunFacts) -> str:
    """Digest of what a drawing shows and what draws it."""
    picture = sketch.picture
    about = {name: _plain(value) for name, value in asdict(facts).items() if name != "run_key"}
    panels = [
        [
            panel.kind,
            panel.estimator,
            [
                [_plain(place), {str(seed): _drawn(row) for seed, row in sorted(result.by_seed.items())}]
                for place, result in panel.points.items()
            ],
        ]
        for panel in picture.panels
    ]
    axes = [None if axis is None else [axis.name, _plain(axis.values)] for axis in (picture.x, picture.y)]
    settings = [_plain(picture.fixed), _plain(picture.chosen), picture.drawn, picture.combinations]
    text = json.dumps([sketch.name, sketch.form, picture.mixer, axes, panels, settings, about, _drawn_by()])
    return hashlib.sha256(text.encode()).hexdigest()


def drawn_before(figures: Path, recipe: str, keys: Mapping[str, str]) -> dict[str, Path]:
    """Drawing -> the folder of an earlier run of the recipe that has it whole. keys: of the wanted drawings, by name.

    figures: where the folders of all runs lie.
    """
    found: dict[str, Path] = {}
    folders = [path for path in figures.glob(f"{recipe}-*") if (path / KEYS).is_file()]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True)[:_MOST_FOLDERS]:
        there = _keys_in(folder)
        for name, key in keys.items():
            if name not in found and there.get(name) == key and all(path.is_file() for path in files_of(folder, name)):
                found[name] = folder
        if len(found) == len(keys):
            break
    return found


def files_of(folder: Path, name: str) -> list[Path]:
    """The files of a drawing."""
    return [folder / f"{name}.{ending}" for ending in ENDINGS]


def note_keys(folder: Path, keys: Mapping[str, str]) -> None:
    """Leave the keys of a folder's drawings beside them."""
    (folder / KEYS).write_text(json.dumps(keys, indent=2))


def _keys_in(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / KEYS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _drawn(row: Mapping[str, Any]) -> list[Any]:
    return [_plain(row.get(name)) for name in _DRAWN_COLUMNS]


@cache
def _drawn_by() -> tuple[str, ...]:
    texts = [pkgutil.get_data("pgolf.report", f"{name}.py") or b"" for name in _DRAW]
    code = hashlib.sha256(b"\0".join(texts)).hexdigest()
    return code, metadata.version("matplotlib"), metadata.version("numpy")


def _plain(value: Any) -> Any:
    """As JSON has it; numbers by all their digits."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | str) else repr(value)
