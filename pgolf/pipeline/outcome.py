"""A finished run: its rows of the result tables, and the summary printed at its end."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.budget import CLOCK_LIMIT_S
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.errors import ResultsError
from pgolf.identity.fingerprint import digest
from pgolf.pipeline.clock_limit import over_the_clock
from pgolf.pipeline.configuration import configurations
from pgolf.pipeline.declared import Declared, declared_of, headline_text, scorer_name
from pgolf.pipeline.graph import Node
from pgolf.pipeline.own_verdicts import OwnVerdicts, own_verdicts
from pgolf.recipes.changed import changed_settings, default_name, without_idle
from pgolf.recipes.recipe import AUDIT, SCORE, Recipe
from pgolf.report.folder import figures_folder
from pgolf.run_options import Fact
from pgolf.store.artifact import Artifact
from pgolf.store.content import combined
from pgolf.store.output_record import Record
from pgolf.tables.columns import moments_of
from pgolf.tables.declared_seeds import DeclaredSeeds, MissingSeed, declared_seeds
from pgolf.tables.gates import RULESET
from pgolf.tables.named_runs import Run, name_run, with_given_name
from pgolf.tables.parquet import append, append_table, read, rows_to_arrow
from pgolf.tables.ranked import NEURAL, means, seeds_side_by_side
from pgolf.tables.removed import removed_results
from pgolf.tables.schema import ATTEMPTS, SCORER, SCORES, STAGES
from pgolf.tables.scorer_row import scorer_row
from pgolf.tables.sheet import Sheet
from pgolf.tables.text import to_json, to_text

NOT_LOOKED_AT = "the program that made the data did not look; make them again"
# Of a data folder: the data set's name and a shard's number. Other files about the validation text are no tokens.
_VAL_SHARD = re.compile(r"datasets/([^/]+)/fineweb_val_(\d{6})\.bin")
_TOKENIZER = re.compile(r"tokenizers/[^/]+\.model")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run's rows and where they were filed. built: node -> wall seconds of the stages this run built itself.

    unverified_bytes: why the bytes counted may not be those of the text; empty where they are. verdicts: of the trial
    of its scorers, None where there was none. declared_seeds: of the configurations that ran.
    """

    recipe: Recipe
    recipe_key: str
    run_key: str
    scores: pa.Table
    attempts: tuple[Row, ...]
    stages: tuple[Row, ...]
    scores_path: Path
    built: Mapping[str, float]
    reused: tuple[str, ...]
    unverified_bytes: str
    declared: Mapping[str, Declared]
    verdicts: OwnVerdicts | None
    declared_seeds: DeclaredSeeds

    def file(self, results: Path) -> None:
        """Append the rows to the tables under `results`; rows that are already there are left alone.

        The scores of a run are a function of its artifacts, its headline and the rule set, so their file is named by
        these: the same run again adds nothing. Stage rows are added by every run that built something, and by one that
        finds none of its own: of a run that was killed while it filed them. Raises ResultsError when the tables cannot
        be written.
        """
        new = not self.scores_path.exists()
        append_table(results, SCORES, self.run_key, self.scores)
        append(results, ATTEMPTS, self.run_key, self.attempts)
        if self.built or new or not any((results / STAGES.name).glob(f"{self.run_key}-*.parquet")):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            append(results, STAGES, f"{self.run_key}-{stamp}", self.stages)
        name_run(results, with_given_name(results, self.run))

    @property
    def run(self) -> Run:
        """What the run is called: as its recipe says, else by what that changes of its base."""
        recipe = self.recipe
        return Run(
            key=self.run_key,
            recipe=recipe.name,
            recipe_key=self.recipe_key,
            name=recipe.run_name or default_name(recipe),
            base=recipe.base,
            changed=changed_settings(recipe),
            config=without_idle(recipe).model_dump(mode="json"),
            tags=recipe.tags,
            note=recipe.notes,
        )

    @property
    def missing_seeds(self) -> tuple[MissingSeed, ...]:
        """The seeds that were declared for this configuration and have no result in any run."""
        return self.declared_seeds.missing

    @property
    def figures(self) -> Path | None:
        """The folder of the run's pictures, if there is one."""
        folder = figures_folder(self.scores_path.parents[1], self.run_key)
        return folder if folder.is_dir() else None

    def sheets(self) -> tuple[Sheet, Sheet]:
        """The headline per seed, and its mean ± std over seeds."""
        scorers = {label: self._one_cell(settings) for label, settings in headline_scorers(self.recipe).items()}
        known = self.declared_seeds
        return seeds_side_by_side(self.scores, scorers, declared=known), means(self.scores, scorers, declared=known)

    def _rows(self, *names: str) -> list[Row]:
        """Every score, by these columns alone: a grid has tens of thousands of rows of forty."""
        known = [name for name in dict.fromkeys(names) if name in self.scores.column_names]
        rows: list[Row] = self.scores.select(known).to_pylist()
        return rows

    def _one_cell(self, settings: Row) -> Row:
        """The settings with the first cell that has them: a grid may try several values of what they omit."""
        for row in self._rows("cell", *settings):
            if all(row.get(name) == value for name, value in settings.items()):
                return settings | {"cell": row["cell"]}
        return settings

    def exit_code(self) -> int:
        """0 when every seed's artifact fits the budget, 1 when one does not."""
        return 0 if all(self.scores.column("fits_budget").to_pylist()) else 1

    def text(self, width: int | None = None) -> str:
        """What a person reads at the end of a run. width: columns of the terminal."""
        tables = "\n".join(to_text(sheet, width) for sheet in self.sheets())
        total = len(self.built) + len(self.reused)
        missing = self.headline_missing()
        note = "" if missing is None else f"\n{missing}\n"
        return (
            f"\n{tables}{note}\n{self._over_budget()}{self._over_clock()}{self._interrupted()}"
            f"{self._unverified_bytes()}{self._declared_late()}{self._audited()}"
            f"ran: {_by_stage(self.built)} ({len(self.built)} of {total})\n"
            f"reused: {_by_stage(self.reused)}\n"
            f"run: {self.run.name} ({self.run_key})\n"
            f"table: {self.scores_path} ({self.scores.num_rows:,} rows; `pgolf results` prints it)"
        )

    def _over_budget(self) -> str:
        """One line per seed whose artifact does not fit."""
        rows = self._rows("seed", "fits_budget", "total_bytes", "budget_bytes")
        over = {row["seed"]: row for row in rows if row["fits_budget"] is False}
        return "".join(
            f"over budget: seed {seed} takes {row['total_bytes']:,} bytes of {row['budget_bytes']:,}; "
            "its rows are marked and not ranked\n"
            for seed, row in sorted(over.items())
        )

    def _over_clock(self) -> str:
        """One line per seed that trained longer than the challenge allows, and one if that could not be otherwise."""
        rows = self._rows("seed", "train_clock_s", "within_train_clock")
        over = {row["seed"]: row["train_clock_s"] for row in rows if row["within_train_clock"] is False}
        lines = [
            f"over the clock: training and calibration of seed {seed} took {train_clock_s:,.1f} s of {CLOCK_LIMIT_S:g}"
            for seed, train_clock_s in sorted(over.items())
        ]
        why = over_the_clock(self.recipe.train) if over else ""
        return "".join(f"{line}\n" for line in [*lines, *filter(None, [why])])

    def _interrupted(self) -> str:
        """One line per seed whose training by the clock had been killed."""
        seeds = sorted({row["seed"] for row in self._rows("seed", "interrupted") if row["interrupted"]})
        return "".join(
            f"interrupted: the training of seed {seed}, which stops by the clock, was killed and went on; "
            "its rows are marked and not ranked\n"
            for seed in seeds
        )

    def _unverified_bytes(self) -> str:
        """One line where the bytes of the text are not certain."""
        if not self.unverified_bytes:
            return ""
        return f"bytes not verified: {self.unverified_bytes}; all rows are marked and not ranked\n"

    def _audited(self) -> str:
        """What the trial of the scorers came to."""
        if self.verdicts is not None:
            return "".join(f"{line}\n" for line in self.verdicts.lines())
        if not self.recipe.score.causal:
            return ""  # nothing of it is ranked in any case
        return "not audited: the recipe has audit=null; all rows are marked and not ranked\n"

    def _declared_late(self) -> str:
        """One line where the headline was not the declared one when scoring began."""
        late = {name: found for name, found in self.declared.items() if not found.before_scoring}
        if not late:
            return ""
        moments = [found.declared_utc for found in late.values() if found.declared_utc is not None]
        since = f"declared {max(moments):%Y-%m-%d %H:%M:%S} UTC, not" if moments else "not declared"
        return (
            f"declared late: {', '.join(late)}: {since} before the first scores of this recipe on this text, which may "
            "have been seen; marked and not ranked\n"
        )

    def _has_headline(self) -> bool:
        scorers = [settings for label, settings in headline_scorers(self.recipe).items() if label != "network"]
        names = {name for settings in scorers for name in settings}
        found = {
            row["estimator"]
            for row in self._rows(*sorted(names | {"estimator"}))
            if any(all(row[name] == value for name, value in settings.items()) for settings in scorers)
        }
        return found >= set(self.recipe.estimators)

    def headline_missing(self) -> str | None:
        """A sentence where the declared headline is no cell of the grid."""
        if self._has_headline():
            return None
        declared = self.recipe.headline
        weight = "" if declared.mixer == "adaptive" else f" alpha {declared.alpha}"
        return (
            f"the recipe's headline, {declared.mixer} order {declared.order}{weight}, is no cell of this grid: "
            "set headline.order and headline.alpha to one that is, or see `pgolf results`"
        )

    def data(self) -> Row:
        """The same as plain data."""
        seeds, over_seeds = self.sheets()
        return {
            "recipe": self.recipe.name,
            "run": self.run.name,
            "run_key": self.run_key,
            "declared": {
                name: {
                    "declared_utc": None if found.declared_utc is None else found.declared_utc.isoformat(),
                    "declared_before_scoring": found.before_scoring,
                }
                for name, found in self.declared.items()
            },
            "ran": dict(self.built),
            "reused": list(self.reused),
            "bytes_unverified": self.unverified_bytes or None,
            "audit": None if self.verdicts is None else self.verdicts.data(),
            "table": str(self.scores_path),
            "figures": None if self.figures is None else str(self.figures),
            "missing_seeds": [one.data() for one in self.missing_seeds],
            "seeds": json.loads(to_json(seeds)),
            "means": json.loads(to_json(over_seeds)),
        }


def headline_scorers(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The scorers shown side by side: the network alone, the declared mixture per estimator, Hedge and Bayes ones."""
    scorers: dict[str, dict[str, Any]] = {"network": dict(NEURAL)}
    # A distribution is honest only if the network behind it had not learned the text before.
    learned_first = not recipe.score.causal
    honest = "not causal" if learned_first else "honest"
    for estimator in sorted(recipe.estimators):
        label = honest if estimator == "exact" else "legacy"
        scorers[f"{label}: {estimator} {recipe.headline.mixer}"] = {"estimator": estimator, **recipe.headline.settings}
    for hedge in recipe.mix.hedges:
        label = honest if hedge.normalized else "legacy"
        scorers.setdefault(f"{label}: hedge {hedge.experts}", {"estimator": "hedge", "mixer": f"hedge-{hedge.experts}"})
    for mixture in recipe.mix.bayes:
        scorers.setdefault(f"{honest}: {mixture.mixer}", {"estimator": "bayes", "mixer": mixture.mixer})
    return scorers


def _up_to_score(recipe: Recipe, nodes: Sequence[Node], artifacts: Mapping[str, Artifact]) -> Row:
    """What one mean is taken over: the data's bytes, and config, code, tools and hardware of every stage up to score.

    The seed is left out, and so are counts and grid: another grid over the same network is the same recipe, told apart
    by its cells.
    """
    parts: Row = {"data": dict(artifacts["data"].outputs)}
    behind_score = {f"{SCORE.name}[{recipe.seeds[0]}]"}
    for node in reversed(nodes):
        if node.name in behind_score and node.seed is not None:
            behind_score.update(node.parents)
            key = artifacts[node.name].record.key
            parts[node.stage.name] = {part: key[part] for part in ("version", "config", "code", "tools", "hardware")}
    return parts


def _by_stage(nodes: Iterable[str]) -> str:
    """The stages of the nodes, with how many of each: data, count ×2, train ×3."""
    counts = Counter(node.partition("[")[0] for node in nodes)
    return ", ".join(name if n == 1 else f"{name} ×{n}" for name, n in counts.items()) or "nothing"


def outcome_of(
    recipe: Recipe,
    nodes: Sequence[Node],
    artifacts: Mapping[str, Artifact],
    results: Path,
    *,
    built: Mapping[str, float] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> Outcome:
    """The rows of a finished run, not yet filed. built: node -> wall seconds of the stages this run built itself.

    reasons: node -> why it was built. results: the folder they belong in. Raises ResultsError for unreadable cells.
    """
    built = built or {}
    recipe_key = digest(_up_to_score(recipe, nodes, artifacts))
    keys = sorted(artifact.record.key_digest for artifact in artifacts.values())
    inputs = artifacts["data"].record.key["inputs"]
    config_keys = {seed: digest(settings) for seed, settings in configurations(nodes, inputs).items()}
    run_key = f"{recipe.name}-{digest([keys, headline_text(recipe), RULESET, sorted(config_keys.values())])[:12]}"
    text = text_columns(artifacts["data"].record)
    common = {"recipe": recipe.name, "recipe_key": recipe_key}
    # Not from the cells: tokens, and so a mix, may be the same with and without a text to compare with.
    data = artifacts["data"].record.facts
    bytes_of = {"bytes_verified": data.get("bytes_verified"), "dropped_share": data.get("dropped_share")}
    trial = artifacts.get(f"{AUDIT.name}[{recipe.seeds[0]}]")
    verdicts = None if trial is None else own_verdicts(trial)
    audited = {} if verdicts is None else verdicts.columns()
    scores, attempts = [], []
    for seed in recipe.seeds:
        mine = {node.stage.name: artifacts[node.name] for node in nodes if node.seed == seed}
        rows = score_rows(recipe, seed, mine, _counting_s(nodes, artifacts))
        rows = [row | audited.get(row["cell"], {}) for row in rows]
        scores += [common | text | bytes_of | {"config_key": config_keys[seed]} | row for row in rows]
        attempts += [common | row for row in attempt_rows(seed, mine)]
    own = [artifacts[f"{SCORE.name}[{seed}]"].record.started_utc for seed in recipe.seeds]
    declared = declared_of(recipe, results, _first_score_utc(recipe, text, own, results))
    _mark_headline(recipe, scores, declared)
    table = rows_to_arrow(SCORES, [{**row, "run_key": run_key} for row in scores])
    return Outcome(
        recipe=recipe,
        recipe_key=recipe_key,
        run_key=run_key,
        scores=table,
        attempts=tuple(attempts),
        stages=tuple(common | row for row in stage_rows(nodes, artifacts, built, reasons or {})),
        scores_path=results / SCORES.name / f"{run_key}.parquet",
        built=built,
        reused=tuple(node.name for node in nodes if node.name not in built),
        unverified_bytes="" if data.get("bytes_verified") else str(data.get("bytes_unverified") or NOT_LOOKED_AT),
        declared=declared,
        verdicts=verdicts,
        declared_seeds=_declared_seeds(table, set(config_keys.values()), results),
    )


def _declared_seeds(scores: pa.Table, config_keys: Set[str], results: Path) -> DeclaredSeeds:
    """What was declared for these configurations; other runs are looked at only where these scores lack a seed."""
    known = declared_seeds(results, scores, config_keys=config_keys)
    if not known.missing:
        return known
    names = ["config_key", "seed"]
    filed = read(results, SCORES, {"config_key": sorted(config_keys)}, columns=names)
    return declared_seeds(results, pa.concat_tables([scores.select(names), filed]), config_keys=config_keys)


def text_columns(data: Record) -> Row:
    """What says which text was validated on: the data set's name, and digests of tokens, tokenizer and raw text."""
    tokens = {match[2]: (match[1], file) for name, file in data.files.items() if (match := _VAL_SHARD.fullmatch(name))}
    tokenizers = [file.sha256 for name, file in data.files.items() if _TOKENIZER.fullmatch(name)]
    return {
        "data_name": next((name for name, _ in tokens.values()), None),
        "val_sha256": combined((shard, file.sha256) for shard, (_, file) in tokens.items()),
        "tokenizer_sha256": tokenizers[0] if len(tokenizers) == 1 else None,
        "text_sha256": data.facts.get("val_text_sha256"),
    }


def _first_score_utc(recipe: Recipe, text: Row, own: Sequence[str], results: Path) -> datetime:
    """When the first score of this recipe on this text was begun, as far as the tables and these artifacts know.

    own: of the artifacts. Under another tokenizer it is the same text; rows that do not say which text they are of may
    be of this one.
    """
    names = ["val_sha256", "text_sha256", "started_utc"]
    tables = [read(one, SCORES, {"recipe": recipe.name}, columns=names) for one in (results, *removed_results(results))]
    table = pa.concat_tables(tables)
    rows = zip(*(table.column(name).to_pylist() for name in names[:2]), moments_of(table.column("started_utc")))
    earlier = {
        moment
        for val, raw, moment in set(rows)
        if moment and (val in (None, text["val_sha256"]) or (raw is not None and raw == text["text_sha256"]))
    }
    return min(earlier.union(datetime.fromisoformat(moment) for moment in own))


def _mark_headline(recipe: Recipe, scores: Sequence[Row], declared: Mapping[str, Declared]) -> None:
    """Say of every row whether it is a declared scorer, since when, and whether it was before scoring."""
    cells = {}
    for label, settings in headline_scorers(recipe).items():
        if label != "network":
            fitting = (row for row in scores if all(row.get(name) == value for name, value in settings.items()))
            if (row := next(fitting, None)) is not None:
                cells[_cell_of(row)] = declared[scorer_name(settings["estimator"], settings["mixer"])]
    for row in scores:
        if row["estimator"] == NEURAL["estimator"]:
            row["declared_before_scoring"] = True
            continue
        found = cells.get(_cell_of(row))
        row["declared"] = found is not None
        row["declared_utc"] = found.declared_utc if found else None
        row["declared_before_scoring"] = found.before_scoring if found else False


def _cell_of(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in SCORER)


def score_rows(recipe: Recipe, seed: int, mine: Mapping[str, Artifact], counting_s: Mapping[str, float]) -> list[Row]:
    """One row per cell of a seed's grid, with the gates and the provenance of its artifacts (by stage name).

    counting_s: see `_counting_s`.
    """
    weights = _weights(mine)
    compress, score, mix = (mine[name].record for name in ("compress", "score", "mix"))
    path = mine["mix"].path / "cells.parquet"
    try:
        with pq.ParquetFile(path) as file:
            cells = file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    train_clock_s = _seconds(weights.facts.get("train_clock_s"))
    if train_clock_s is not None and "calibrate" in mine:
        # The challenge counts calibration on training data against the training clock; as of training, not the seconds
        # that a process of ours takes to start, which a submitted script does not.
        calibrated = mine["calibrate"].record
        train_clock_s += calibrated.wall_s - calibrated.phases_s.get("launch", 0.0)
    facts = compress.facts
    total_bytes, budget_bytes = _whole(facts.get("total_bytes")), _whole(facts.get("budget_bytes"))
    about = {
        "seed": seed,
        "artifact_bytes": facts.get("artifact_bytes"),
        "code_bytes": facts.get("code_bytes"),
        "total_bytes": total_bytes,
        "budget_bytes": budget_bytes,
        "fits_budget": None if total_bytes is None or budget_bytes is None else total_bytes <= budget_bytes,
        "train_clock_s": train_clock_s,
        "within_train_clock": None if train_clock_s is None else train_clock_s <= CLOCK_LIMIT_S,
        "interrupted": weights.facts.get("interrupted"),
        "ruleset": RULESET,
        "trace_key": score.key_digest,
        "checkpoint_sha256": weights.outputs["checkpoint"],
        "vocab": recipe.model.vocab_size,
        "git_commit": mix.git_commit,
        "torch_version": weights.key["tools"].get("torch"),
        "gpu": weights.gpu,
        "host": mix.host,
        "started_utc": mix.started_utc,
    }
    # A mix that went on after a kill has taken the killed run's seconds too.
    mix_s = mix.wall_s + mix.phases_s.get("before", 0.0)
    rows = []
    for cell in cells:
        mixing_s = 0.0 if cell["estimator"] == "neural" else counting_s.get(cell["estimator"], 0.0) + mix_s
        clock = {
            "eval_clock_s": score.wall_s + mixing_s,
            "within_eval_clock": score.wall_s + mixing_s <= CLOCK_LIMIT_S,
        }
        rows.append(scorer_row(cell) | about | clock)
    return rows


def _counting_s(nodes: Sequence[Node], artifacts: Mapping[str, Artifact]) -> dict[str, float]:
    """Estimator -> seconds of the count or hint stage that belongs to the evaluation of every mixture with it.

    Any of them may have made a member of a Bayes mixture, so it bears all. Hedge mixtures count while they mix.
    """
    counting_s: dict[str, float] = {}
    for node in nodes:
        if isinstance(node.config, CountConfig):
            counting_s[node.config.estimator] = artifacts[node.name].record.wall_s
        elif isinstance(node.config, HintConfig):
            counting_s["hint"] = artifacts[node.name].record.wall_s
    return counting_s | {"bayes": sum(counting_s.values())}


def _weights(mine: Mapping[str, Artifact]) -> Record:
    """Where a seed's weights come from: training, or an import, of which no training clock is known."""
    return mine["train" if "train" in mine else "import"].record


def _whole(value: Fact) -> int | None:
    return value if isinstance(value, int) else None


def _seconds(value: Fact) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def attempt_rows(seed: int, mine: Mapping[str, Artifact]) -> list[Row]:
    """One row per packing attempt of a seed."""
    compress, weights = mine["compress"].record, _weights(mine)
    attempts = json.loads((mine["compress"].path / "attempts.json").read_text())
    rows = []
    for attempt in attempts:
        rows.append(
            {
                "seed": seed,
                "compress_key": compress.key_digest,
                "attempt": attempt["attempt"],
                "rung": f"{attempt['policy']}, {attempt['rung']}",
                "codec": attempt["codec"],
                "level": attempt["level"],
                "artifact_bytes": attempt["size_bytes"],
                "code_bytes": compress.facts.get("code_bytes"),
                "total_bytes": attempt["total_bytes"],
                "budget_bytes": compress.facts.get("budget_bytes"),
                "fits_budget": attempt["fits"],
                "chosen": attempt["chosen"],
                "checkpoint_sha256": weights.outputs["checkpoint"],
                "git_commit": compress.git_commit,
                "host": compress.host,
                "started_utc": compress.started_utc,
            }
        )
    return rows


def stage_rows(
    nodes: Sequence[Node], artifacts: Mapping[str, Artifact], built: Mapping[str, float], reasons: Mapping[str, str]
) -> list[Row]:
    """One row per stage of a run: built now, or reused."""
    rows = []
    for node in nodes:
        record = artifacts[node.name].record
        mine = node.name in built
        rows.append(
            {
                "stage": node.stage.name,
                "node": node.name,
                "seed": node.seed,
                "key": record.key_digest,
                "folder": record.folder,
                "built": mine,
                "reason": reasons.get(node.name) if mine else None,
                "size_bytes": record.size_bytes,
                "wall_s": record.wall_s if mine else None,
                "phases_s": record.phases_s if mine else None,
                "host": record.host,
                "gpu": record.gpu,
                "torch_version": record.key["tools"].get("torch"),
                "git_commit": record.git_commit,
                "started_utc": record.started_utc,
            }
        )
    return rows
