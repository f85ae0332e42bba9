"""What a submission says, gathered once from the tables and the store: every file of its folder is written from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgolf.compare.arms import HEADLINE, Arm, arm_of
from pgolf.errors import ConfigError
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import CALIBRATE, COMPRESS, IMPORT, SCORE, TRAIN, Recipe
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.store.artifact import Artifact, Store
from pgolf.store.output_record import Record
from pgolf.submission.built import Built
from pgolf.submission.bundle import built
from pgolf.tables.filters import Condition
from pgolf.tables.named_runs import Run, rows_of, runs_in
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORER, SCORES, STAGES

DATA = "data"
# What no table knows and nobody has told; never made up.
AUTHOR_FIELDS = ("author", "github_id", "name", "blurb")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedEntry:
    """One seed. row, network: its score rows of the filed scorer and of the network alone; outputs: stage -> output."""

    seed: int
    row: Mapping[str, Any]
    network: Mapping[str, Any]
    outputs: Mapping[str, Artifact]

    def record(self, stage: str) -> Record | None:
        """What the store says of the output of a stage; None where the recipe has no such stage."""
        output = self.outputs.get(stage)
        return None if output is None else output.record

    @property
    def model(self) -> Path:
        """The packed model."""
        return self.outputs[COMPRESS.name].path / "model.pgolf"

    @property
    def steps(self) -> int:
        """Of the training."""
        return int(self.outputs[TRAIN.name].record.facts["steps"] or 0)

    @property
    def step_ms(self) -> float:
        """Mean wall time of a step on the training clock, in milliseconds."""
        return 1e3 * float(self.outputs[TRAIN.name].record.facts["train_clock_s"] or 0.0) / max(self.steps, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run as a submission. told: AUTHOR_FIELDS that somebody has told. data: the folder that it was scored on."""

    arm: Arm
    recipe: Recipe
    script: Built
    seeds: tuple[SeedEntry, ...]
    data: Path
    told: Mapping[str, str]

    @property
    def run(self) -> Run:
        """The run; of several the first."""
        return self.arm.runs[0]

    @property
    def first(self) -> SeedEntry:
        """Its first seed, for what is alike in all."""
        return self.seeds[0]

    def summary(self, column: str, *, network: bool = False) -> SeedSummary:
        """Mean, std and n over the seeds of a column of the scores."""
        return summarize((one.network if network else one.row)[column] for one in self.seeds)

    @property
    def total_bytes(self) -> int:
        """Of the seed with the largest model."""
        return max(int(one.row["total_bytes"]) for one in self.seeds)

    @property
    def is_network(self) -> bool:
        """Whether the network alone is filed."""
        return bool(self.first.row["estimator"] == "neural")

    @property
    def hardware(self) -> str:
        """What it was trained on: 8 × NVIDIA H100 80GB HBM3, or the processor."""
        found = []
        for one in self.seeds:
            record = one.outputs[TRAIN.name].record
            processes = int(record.facts.get("processes") or 1)
            count = f"{processes} × " if record.gpu or processes > 1 else ""
            found.append(f"{count}{record.gpu or f'{record.cpu} (CPU)'}")
        return "; ".join(dict.fromkeys(found))


def gather(
    asked: str,
    results: Path,
    store: Store,
    *,
    scorer: Sequence[Condition] | str = HEADLINE,
    told: Mapping[str, str] | None = None,
) -> Entry:
    """The entry of a run, or of several of one configuration (`first,second`). scorer: as for `compare.arms.arm_of`.

    Raises ConfigError for a run that there is not and for outputs that the store does not hold any more, ResultsError
    for a scorer that is no code length, as `arm_of` does.
    """
    scores = read(results, SCORES)
    arm = arm_of(asked, runs_in(results), scores, scorer=scorer)
    rows = rows_of(scores, SCORES, arm.runs).to_pylist()
    network = {row["seed"]: row for row in rows if row["estimator"] == "neural"}
    filed = {row["seed"]: row for row in rows if tuple(row[name] for name in SCORER) == arm.result.scorer}
    seeds, data = [], None
    for seed in arm.seeds:
        run = arm.run_of(seed)
        outputs = _outputs(run, seed, results, store)
        data = outputs.pop(DATA)
        seeds.append(SeedEntry(seed=seed, row=filed[seed], network=network[seed], outputs=outputs))
    assert data is not None
    config = dict(arm.runs[0].config)
    if not config:
        raise ConfigError(f"{arm.runs[0].key} was filed by an earlier version, which kept no settings; run it again")
    recipe = validated(Recipe, config, f"the settings of {arm.runs[0].key}")
    return Entry(
        arm=arm, recipe=recipe, script=built(recipe), seeds=tuple(seeds), data=data.path, told=dict(told or {})
    )


def _outputs(run: Run, seed: int, results: Path, store: Store) -> dict[str, Artifact]:
    """Stage -> output of a seed, and the data's. Raises ConfigError for one that is gone."""
    rows = read(results, STAGES, run_keys=run.key, columns=["run_key", "node", "stage", "seed", "folder"]).to_pylist()
    if any(row["stage"] == IMPORT.name for row in rows):
        raise ConfigError(f"{run.key}: its weights were imported; a submission's script trains its own: pgolf run")
    folders = {
        DATA if row["node"] == DATA else row["stage"]: row["folder"]
        for row in rows
        if row["run_key"].rpartition("-")[0] == run.key
        and (row["node"] == DATA or (row["seed"] == seed and row["stage"] in _NEEDED))
    }
    found = {}
    for stage, folder in folders.items():
        output = store.at(folder)
        if not isinstance(output, Artifact):
            why = "is gone" if output is None else f"is damaged ({output.why})"
            raise ConfigError(f"seed {seed}: {folder} {why}; make it again: pgolf run {run.recipe} --seeds {seed}")
        found[stage] = store.fetch(output)
    if lacking := [stage for stage in (DATA, *_NEEDED) if stage != CALIBRATE.name and stage not in found]:
        raise ConfigError(
            f"seed {seed}: the tables do not say which {', '.join(lacking)} output is its own; file it again: "
            f"pgolf run {run.recipe} --seeds {seed}"
        )
    return found


_NEEDED = (TRAIN.name, CALIBRATE.name, COMPRESS.name, SCORE.name)


def settings_json(entry: Entry) -> str:
    """The recipe's settings as JSON, without what does not decide a number."""
    config = entry.recipe.model_dump(mode="json", exclude={"run_name", "tags", "notes", "description", "base"})
    return json.dumps(config, indent=1)
