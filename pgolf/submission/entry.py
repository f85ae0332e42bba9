"""What a submission says, gathered once from the tables and the store: every file of its folder is written from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgolf.bundle.built import Built
from pgolf.bundle.bundle import built
from pgolf.compare.arms import HEADLINE, Arm, arm_of
from pgolf.errors import ConfigError
from pgolf.identity.stage import Stage
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import CALIBRATE, COMPRESS, IMPORT, TRAIN, Recipe
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.store.artifact import Artifact, Store
from pgolf.store.output_record import Record
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.filters import Condition
from pgolf.tables.named_runs import Run, rows_of, runs_in
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORER, SCORES, STAGES

DATA = "data"
# What no table knows and nobody has told; never made up.
AUTHOR_FIELDS = ("author", "github_id", "name", "blurb")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedEntry:
    """One seed. row, network: score rows of the filed scorer and of the network alone; artifacts: node -> output."""

    seed: int
    row: Mapping[str, Any]
    network: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]

    def output(self, stage: Stage) -> Artifact:
        """The output of a stage of this seed."""
        return self.artifacts[f"{stage.name}[{self.seed}]"]

    @property
    def model(self) -> Path:
        """The packed model."""
        return self.output(COMPRESS).path / "model.pgolf"

    @property
    def trained(self) -> Record:
        """What the store says of its training."""
        return self.output(TRAIN).record

    @property
    def steps(self) -> int:
        """Of the training."""
        return int(self.trained.facts["steps"] or 0)

    @property
    def step_ms(self) -> float:
        """Mean wall time of a step on the training clock, in milliseconds, to the microsecond."""
        return round(1e3 * float(self.trained.facts["train_clock_s"] or 0.0) / max(self.steps, 1), 3)

    @property
    def processes(self) -> int:
        """Ranks that trained it."""
        return int(self.trained.facts.get("processes") or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run as a submission. told: AUTHOR_FIELDS that somebody has told."""

    arm: Arm
    recipe: Recipe
    script: Built
    seeds: tuple[SeedEntry, ...]
    told: Mapping[str, str]

    @property
    def data(self) -> Path:
        """The data folder that it was scored on."""
        return self.first.artifacts[DATA].path

    @property
    def run(self) -> Run:
        """The run; of several the first."""
        return self.arm.runs[0]

    @property
    def n(self) -> str:
        """How many seeds it has, and of how many declared ones: `2 of 3`."""
        return self.arm.n if len(self.arm.by_seed) == len(self.seeds) else f"{len(self.seeds)}"

    @property
    def first(self) -> SeedEntry:
        """Its first seed, for what is alike in all."""
        return self.seeds[0]

    def with_eval_clocks(self, clocks_s: Mapping[int, float | None]) -> "Entry":
        """The entry with other evaluation clocks, such as those of the script alone; None leaves a seed's as it is."""
        known_s = {seed: clock_s for seed, clock_s in clocks_s.items() if clock_s is not None}
        seeds = (
            replace(one, row={**one.row, "eval_clock_s": known_s.get(one.seed, one.row["eval_clock_s"])})
            for one in self.seeds
        )
        return replace(self, seeds=tuple(seeds))

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
            count = f"{one.processes} × " if one.trained.gpu or one.processes > 1 else ""
            found.append(f"{count}{one.trained.gpu or f'{one.trained.cpu} (CPU)'}")
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

    A scorer that is no code length is `refusals`' affair. Raises ConfigError for a run that there is not, and for
    outputs that the store does not hold any more.
    """
    scores = read(results, SCORES)
    declared = declared_seeds(results, scores)
    arm = arm_of(asked, runs_in(results), scores, scorer=scorer, declared=declared, only_honest=False)
    rows = rows_of(scores, SCORES, arm.runs).to_pylist()
    again = arm.runs[0].command(arm.seeds)
    network = {row["seed"]: row for row in rows if row["estimator"] == "neural"}
    filed = {row["seed"]: row for row in rows if tuple(row[name] for name in SCORER) == arm.result.scorer}
    for seed, row in filed.items():
        if seed not in network:
            raise ConfigError(f"seed {seed}: its rows have no score of the network alone; file them again: {again}")
        if row["bpb"] is None:
            raise ConfigError(
                f"seed {seed}: nobody knows how many bytes of text its {row['targets']:,} targets are, so it has no "
                "val_bpb: give the tokenizer that the shards were made with (--tokenizer)"
            )
    seeds = [
        SeedEntry(
            seed=seed,
            row=filed[seed],
            network=network[seed],
            artifacts=_artifacts(arm, seed, results, store),
        )
        for seed in arm.seeds
    ]
    config = dict(arm.runs[0].config)
    if not config:
        raise ConfigError(f"{arm.runs[0].key} was filed by an earlier version, which kept no settings; run it again")
    recipe = validated(Recipe, config, f"the settings of {arm.runs[0].key}")
    return Entry(arm=arm, recipe=recipe, script=built(recipe), seeds=tuple(seeds), told=dict(told or {}))


def _artifacts(arm: Arm, seed: int, results: Path, store: Store) -> dict[str, Artifact]:
    """Node -> output of a seed, and of all seeds together. Raises ConfigError for one that is needed and gone."""
    run = arm.run_of(seed)
    rows = read(results, STAGES, run_keys=run.key, columns=["run_key", "node", "stage", "seed", "folder"]).to_pylist()
    mine = [row for row in rows if row["run_key"].rpartition("-")[0] == run.key and row["seed"] in (seed, None)]
    if any(row["stage"] == IMPORT.name for row in mine):
        raise ConfigError(f"{run.key}: its weights were imported; the script of a submission trains its own")
    again = run.command(one for one in arm.seeds if arm.run_of(one) is run)
    found = {}
    for row in mine:
        needed = row["node"] == DATA or row["stage"] in (TRAIN.name, CALIBRATE.name, COMPRESS.name)
        output = store.at(row["folder"])
        if isinstance(output, Artifact):
            found[row["node"]] = store.fetch(output) if needed else output
        elif needed:
            why = "is gone" if output is None else f"is damaged ({output.why})"
            raise ConfigError(f"seed {seed}: {row['folder']} {why}; make it again: {again}")
    for node in (DATA, f"{TRAIN.name}[{seed}]", f"{COMPRESS.name}[{seed}]"):
        if node not in found:
            raise ConfigError(f"seed {seed}: the tables do not say which output its {node} is; file it again: {again}")
    return found
