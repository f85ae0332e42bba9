"""Seeds as runs declared them when they started, and those of them that have no result.

Scores are filed when a run ends: one that was killed has none, and neither has a seed that the next run leaves out.
What was declared stays, so that a mean over the seeds that are left cannot pass for one over all of them. Seeds are
declared for a *configuration*: all that decides what a seed comes to but the seed and our code, whatever the recipe is
called (`pgolf.pipeline.configuration`). Of rows that do not say their configuration nothing is known, and nothing is
said.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.identity.fingerprint import canonical_json, digest
from pgolf.machine.hardware import host_name
from pgolf.tables.columns import moments_of
from pgolf.tables.declared_when import declared_when
from pgolf.tables.grouped import combinations
from pgolf.tables.how_to_run import run_command
from pgolf.tables.parquet import append, read, read_run
from pgolf.tables.removed import removed_results
from pgolf.tables.schema import SCORES, SEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSeed:
    """A seed, and by whom and when it was declared first for a configuration.

    base: the recipe of pgolf that the recipe began as; changed: what it changes of it, as JSON.
    """

    seed: int
    config_key: str
    recipe: str
    declared_utc: datetime
    base: str | None = None
    changed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSeed:
    """A declared seed without a result. removed: the run that held one and was taken out of the tables; else empty.

    base: the recipe of pgolf that its recipe began as; changed: dotted name -> value of the settings that it changes.
    """

    seed: int
    config_key: str
    recipe: str
    declared_utc: datetime
    removed: str = ""
    base: str | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "seed": self.seed,
            "config_key": self.config_key,
            "recipe": self.recipe,
            "declared_utc": self.declared_utc.isoformat(),
            "removed": self.removed or None,
        }

    def command(self, seeds: str) -> str:
        """What gives these seeds of its configuration a result, as a person types it."""
        return run_command(self.recipe, self.base, self.changed, [seeds])


@dataclass(frozen=True, slots=True)
class DeclaredSeeds:
    """What is known of some configurations: configuration key -> seed -> its declaration, and the seeds without one
    result in any run.
    """

    by_config: Mapping[str, Mapping[int, DeclaredSeed]] = field(default_factory=dict)
    missing: tuple[MissingSeed, ...] = ()

    def seeds_of(self, config_keys: Iterable[str]) -> set[int]:
        """The seeds that were declared for any of these configurations."""
        return {seed for key in config_keys for seed in self.by_config.get(key, ())}

    def count(self, config_keys: Collection[str], scored: Iterable[int]) -> int | None:
        """Of how many seeds a mean over the scored ones is; None where none was declared for these configurations."""
        declared = self.seeds_of(config_keys)
        return len(declared.union(scored)) if declared else None

    def missing_of(self, config_keys: Collection[str]) -> tuple[MissingSeed, ...]:
        """Those of these configurations."""
        return tuple(one for one in self.missing if one.config_key in config_keys)

    def without_any(self, recipe: str | None = None) -> tuple[MissingSeed, ...]:
        """Those of configurations of which no seed has a result. recipe: only what was declared under that name."""
        lacking: dict[str, set[int]] = {}
        for one in self.missing:
            lacking.setdefault(one.config_key, set()).add(one.seed)
        bare = {key for key, seeds in lacking.items() if seeds == set(self.by_config[key])}
        return tuple(one for one in self.missing if one.config_key in bare and recipe in (None, one.recipe))


NOTHING_DECLARED = DeclaredSeeds()


def declare_seeds(
    results: Path,
    recipe: str,
    configurations: Mapping[int, Mapping[str, Any]],
    *,
    base: str = "",
    changed: Mapping[str, Any] | None = None,
    scored_utc: Iterable[str] = (),
) -> None:
    """Note under `results` that these seeds are declared now, but for those that are already.

    configurations: seed -> what it will be run with. scored_utc: when scores that the run reuses were begun.
    Raises ResultsError where the tables cannot be read or written.
    """
    keys = {seed: digest(configuration) for seed, configuration in configurations.items()}
    known = _declared(results, set(keys.values()))
    new = [seed for seed, key in keys.items() if seed not in known.get(key, {})]
    if not new:
        return
    before = [one.declared_utc for of_key in known.values() for one in of_key.values()]
    scored = [*map(datetime.fromisoformat, scored_utc), *_scored_utc(results, {keys[seed] for seed in new})]
    now = declared_when(before, scored)
    about = {
        "recipe": recipe,
        "base": base or None,
        "changed": json.dumps(changed, sort_keys=True, separators=(",", ":")) if changed else None,
        "declared_utc": now,
        "host": host_name(),
    }
    rows = [
        about | {"seed": seed, "config_key": keys[seed], "configuration": canonical_json(configurations[seed])}
        for seed in new
    ]
    append(results, SEEDS, f"{recipe}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}", rows)


def declared_seeds(
    results: Path, scores: pa.Table | None = None, *, config_keys: Collection[str] | None = None
) -> DeclaredSeeds:
    """What was declared, and what of that has no result in the tables under `results`.

    scores: all rows of the scores' table, where they are read already (columns config_key and seed); rows that are not
    filed yet may be among them. config_keys: only of these configurations. Raises ResultsError.
    """
    by_config = _declared(results, config_keys)
    if not by_config:
        return NOTHING_DECLARED
    if scores is None:
        scores = read(results, SCORES, columns=["config_key", "seed"])
    scored = set(combinations(scores, ("config_key", "seed"))[0])
    lacking = [
        one for key, of_key in by_config.items() for seed, one in sorted(of_key.items()) if (key, seed) not in scored
    ]
    if not lacking:
        return DeclaredSeeds(by_config)
    removed = _removed(results)
    missing = (_missing(one, removed.get((one.config_key, one.seed), ""), results) for one in lacking)
    return DeclaredSeeds(by_config, tuple(missing))


def missing_seeds(
    results: Path, *, config_key: str | None = None, run_key: str | None = None
) -> tuple[MissingSeed, ...]:
    """The declared seeds without a result: of one configuration, of those of a run, or of all.

    Raises ResultsError for a run that the tables do not know, and for tables that cannot be read.
    """
    keys = None if config_key is None else {config_key}
    if run_key is not None:
        keys = set(configurations_of_run(results, run_key).values())
    return declared_seeds(results, config_keys=keys).missing


def configurations_of_run(results: Path, run_key: str) -> dict[int, str]:
    """Seed -> configuration key of a run's scores, of those that say it. Raises ResultsError for no such run."""
    rows = read_run(results, SCORES, run_key)
    if rows is None:
        raise ResultsError(f"there are no scores of {run_key} in {results / SCORES.name}; `pgolf results` lists runs")
    pairs, _ = combinations(rows, ("seed", "config_key"))
    return {seed: key for seed, key in sorted(pairs, key=str) if key is not None}


def missing_notes(missing: Sequence[MissingSeed], name: str = "") -> list[str]:
    """A sentence for every configuration and moment of declaration. name: what to call it, default its recipe."""
    groups: dict[tuple[str, str, str], list[MissingSeed]] = {}
    for one in missing:
        groups.setdefault((one.config_key, f"{one.declared_utc:%Y-%m-%d %H:%M} UTC", one.removed), []).append(one)
    notes = []
    for (_, when, removed), of_group in groups.items():
        several = len(of_group) > 1
        seeds = ",".join(str(one.seed) for one in of_group)
        was = f"seeds {seeds.replace(',', ', ')} were" if several else f"seed {seeds} was"
        if removed:
            lack = f"and {'their results were' if several else 'its result was'} removed"
            remedy = f"take {'them' if several else 'it'} back: pgolf rm {removed} --restore"
        else:
            lack = f"and {'have' if several else 'has'} no result"
            remedy = f"run {'them' if several else 'it'}: {of_group[0].command(seeds)}"
        notes.append(f"{name or of_group[0].recipe}: {was} declared {when} {lack}; {remedy}")
    return notes


def _missing(declared: DeclaredSeed, removed: str, results: Path) -> MissingSeed:
    try:
        changed = json.loads(declared.changed or "{}")
        if not isinstance(changed, dict):
            raise ValueError(f"it is a {type(changed).__name__}")
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{results / SEEDS.name}: what the declaration of seed {declared.seed} of {declared.recipe} changes is no "
            f"JSON object ({error}); delete the file that holds it: what it declared is then unknown"
        ) from None
    return MissingSeed(
        seed=declared.seed,
        config_key=declared.config_key,
        recipe=declared.recipe,
        declared_utc=declared.declared_utc,
        removed=removed,
        base=declared.base,
        changed=changed,
    )


def _declared(results: Path, config_keys: Collection[str] | None) -> dict[str, dict[int, DeclaredSeed]]:
    """Configuration key -> seed -> its first declaration."""
    if config_keys is not None and not config_keys:
        return {}
    where = None if config_keys is None else {"config_key": sorted(config_keys)}
    names = ("config_key", "seed", "recipe", "base", "changed")
    table = read(results, SEEDS, where, columns=[*names, "declared_utc"])
    columns = (table.column(name).to_pylist() for name in names)
    found: dict[str, dict[int, DeclaredSeed]] = {}
    for when, key, seed, recipe, base, changed in zip(moments_of(table.column("declared_utc")), *columns):
        assert when is not None  # required
        first = found.setdefault(key, {}).get(seed)
        if first is None or when < first.declared_utc:
            found[key][seed] = DeclaredSeed(
                seed=seed, config_key=key, recipe=recipe, declared_utc=when, base=base, changed=changed
            )
    return found


def _removed(results: Path) -> dict[tuple[str, int], str]:
    """Configuration key and seed -> the run that held a result of it and was removed, of several the last."""
    names = ("config_key", "seed", "run_key")
    found: dict[tuple[str, int], str] = {}
    for folder in removed_results(results):
        for key, seed, run_key in combinations(read(folder, SCORES, columns=names), names)[0]:
            found.setdefault((key, seed), run_key)
    return found


def _scored_utc(results: Path, config_keys: Collection[str]) -> list[datetime]:
    """When scores of these configurations were begun, removed ones too."""
    tables = [
        read(one, SCORES, {"config_key": sorted(config_keys)}, columns=["started_utc"])
        for one in (results, *removed_results(results))
    ]
    return [when for table in tables for when in moments_of(table.column("started_utc")) if when is not None]
