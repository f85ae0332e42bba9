"""What tells a scorer from the others of its run: for whoever asks for one, and for tables that show several."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from pgolf.tables.ranked import ScorerResult
from pgolf.tables.schema import SCORER

_CELL = "cell"
# Long lists say less than that they differ.
_MOST_CHARACTERS = 40


def settings_of(result: ScorerResult) -> dict[str, Any]:
    """Its settings by name: columns of the scores' table, and those that only its `cell` holds. None where unused."""
    settings: dict[str, Any] = dict(zip(SCORER, result.scorer))
    try:
        further = json.loads(settings[_CELL] or "null")
    except (ValueError, RecursionError):
        further = None
    return settings if not isinstance(further, dict) else further | settings


def told_apart(results: Sequence[ScorerResult], text: Callable[[ScorerResult], str]) -> list[str]:
    """The text of each; of those with the same text also the settings in which they differ."""
    texts = [text(result) for result in results]
    places: dict[str, list[int]] = {}
    for place, said in enumerate(texts):
        places.setdefault(said, []).append(place)
    for said, alike in places.items():
        if len(alike) > 1:
            for place, further in zip(alike, _differences([settings_of(results[place]) for place in alike])):
                texts[place] = " ".join([said, *further])
    return texts


def _differences(all_settings: Sequence[dict[str, Any]]) -> list[list[str]]:
    names = [name for name in dict.fromkeys(name for settings in all_settings for name in settings) if name != _CELL]
    differ = [name for name in names if len({_json(settings.get(name)) for settings in all_settings}) > 1]
    return [[f"{name}={_json(settings.get(name))}" for name in differ] for settings in all_settings]


def _json(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
