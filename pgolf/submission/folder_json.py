"""The fields of a submission.json as the challenge's records have them: which must be there, and of what kind."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

# Of 55 records, each is in 53 or more.
REQUIRED = ("author", "github_id", "name", "date", "val_bpb")

_TEXTS = ("author", "github_id", "name", "date", "blurb", "track", "hardware", "pytorch_version", "technique_summary")
_NUMBERS = ("val_bpb", "val_loss")
_DEVIATIONS = ("val_bpb_std", "val_loss_std")
_COUNTS = ("bytes_total", "bytes_code")
_OF_SEED = {
    "val_bpb": "a number",
    "val_loss": "a number",
    **dict.fromkeys(("artifact_bytes", "code_bytes", "total_bytes", "steps"), "a whole number"),
}
_SEED = re.compile(r"0|[1-9][0-9]{0,19}")
_GAP = re.compile(r"<<FILL IN: [^>]{0,200}>>|\b(?:TODO|TBD|FIXME)\b")


def wrong_fields(about: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, a sentence each."""
    for name in REQUIRED:
        if name not in about:
            yield f"no field {name}"
    kinds = {
        **dict.fromkeys(_TEXTS, "text"),
        **dict.fromkeys(_NUMBERS, "a number"),
        **dict.fromkeys(_DEVIATIONS, "a number or 0"),
        **dict.fromkeys(_COUNTS, "a whole number"),
        "seeds": "a list of whole numbers",
        "compliance": "an object",
        "seed_results": "an object",
    }
    for name, kind in kinds.items():
        # A single run has no standard deviation.
        if name in about and not (_is(kind, about[name]) or (about[name] is None and name.endswith("_std"))):
            yield f"{name} is {_shown(about[name])}, {kind} is expected"
    day = about.get("date")
    if isinstance(day, str) and not _is_day(day) and not _GAP.search(day):
        yield f"date is {_shown(day)}, YYYY-MM-DD is expected"
    compliance = about.get("compliance")
    for name, value in compliance.items() if is_record(about) and isinstance(compliance, dict) else ():
        if value is False:
            yield f"compliance.{name} is false, and track does not say that it is no record (track_non_record_16mb)"
    results = about.get("seed_results")
    for seed, fields in results.items() if isinstance(results, dict) else ():
        if not _SEED.fullmatch(seed):
            yield f"seed_results has {_shown(seed)}, a seed is expected"
        elif not isinstance(fields, dict):
            yield f"seed_results[{seed}] is {_shown(fields)}, an object is expected"
        else:
            for name, kind in _OF_SEED.items():
                if fields.get(name) is not None and not _is(kind, fields[name]):
                    yield f"seed_results[{seed}].{name} is {_shown(fields[name])}, {kind} is expected"
            if fields.get("val_bpb") is None:
                yield f"seed_results[{seed}] has no val_bpb"


def is_record(about: Mapping[str, Any]) -> bool:
    """Whether it is held to be one: its track is not that of other submissions."""
    track = about.get("track")
    return not (isinstance(track, str) and "non" in track.lower())


def gaps(about: Mapping[str, Any], readme: str) -> list[str]:
    """What is left to its author: names of fields, and how many in README.md."""
    found = [name for name, value in about.items() if isinstance(value, str) and _GAP.search(value)]
    in_readme = len(_GAP.findall(readme))
    return found + ([f"{in_readme} in README.md"] if in_readme else [])


def seed_results(about: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Seed -> its fields, of those that are in order."""
    results = about.get("seed_results")
    if not isinstance(results, dict):
        return {}
    return {int(seed): one for seed, one in results.items() if _SEED.fullmatch(seed) and isinstance(one, dict)}


def declared_seeds(about: Mapping[str, Any]) -> list[int]:
    """The seeds that it names."""
    seeds = about.get("seeds")
    named = [one for one in seeds if type(one) is int] if isinstance(seeds, list) else []
    return list(dict.fromkeys([*named, *seed_results(about)]))


def _is_day(text: str) -> bool:
    """With or without the time of the day."""
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return re.match(r"\d{4}-\d\d-\d\d", text) is not None


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "text":
            return isinstance(value, str) and bool(value.strip())
        case "a number":
            return isinstance(value, Decimal | int) and not isinstance(value, bool) and value > 0
        case "a number or 0":
            return isinstance(value, Decimal | int) and not isinstance(value, bool) and value >= 0
        case "a whole number":
            return type(value) is int and value >= 0
        case "a list of whole numbers":
            return isinstance(value, list) and all(type(one) is int for one in value)
    return isinstance(value, dict)


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
