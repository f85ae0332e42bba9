"""The log of a finished seed, as its script prints it: composed of what its stages have left."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.bundle.bundle import settings_of
from pgolf.bundle.log_lines import (
    calibrate_line,
    clock_line,
    compress_lines,
    headline_line,
    score_lines,
    text_of,
    train_line,
)
from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError, ResultsError
from pgolf.mix.cells import cells_of
from pgolf.mix.files import CELLS_FILE
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Artifact
from pgolf.train.train_job import LOG_FILE

# Of the training's log what its first rank has printed; the rest is what libraries say on stderr, from every rank.
_PRINTED = re.compile(r"(?:step|resumed at step) \d.*")


def seed_log(recipe: Recipe, seed: int, artifacts: Mapping[str, Artifact], *, evaluation: str | None = None) -> str:
    """The text of train_seed<N>.log: the steps of the training, then a line per stage, clock and scorer.

    artifacts: the outputs of a run by node (`train[42]`, `count[exact]`). evaluation: what the script itself has
    printed (`train_gpt.py eval`); None: the same lines of the scores in the artifacts. Raises ConfigError for a seed
    that is not finished, whose weights were imported, or that was not scored by what the script evaluates.
    """
    trained = training_log(recipe, seed, artifacts)
    if evaluation is None:
        evaluation = evaluation_log(recipe, seed, artifacts)
    return trained + (evaluation if evaluation.endswith("\n") else f"{evaluation}\n")


def training_log(recipe: Recipe, seed: int, artifacts: Mapping[str, Artifact]) -> str:
    """What `train_gpt.py train` prints of this training. Raises ConfigError as `seed_log`."""
    if f"import[{seed}]" in artifacts:
        raise ConfigError(
            f"the weights of seed {seed} were imported, so there is no log of their training; run {recipe.name} "
            "without --checkpoint, or file the log of the script that trained them"
        )
    train, compress = (_finished(recipe, f"{stage}[{seed}]", artifacts) for stage in ("train", "compress"))
    path = train.path / LOG_FILE
    try:
        logged = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    lines = [line for line in logged if _PRINTED.fullmatch(line)]
    lines.append(train_line(seed, train.record.facts))
    if train.record.facts.get("interrupted"):
        lines.append("interrupted: this training was killed and went on, so its clock is not that of one run")
    phases_s = {"train": float(train.record.facts["train_clock_s"] or 0.0)}
    calibrate = artifacts.get(f"calibrate[{seed}]")
    if calibrate is not None:
        # As the tables count it: without the seconds that a process of ours takes to start.
        launch_s = calibrate.record.phases_s.get("launch", 0.0)
        phases_s["calibrate"] = calibrate.record.wall_s - launch_s
        lines.append(calibrate_line(calibrate.record.facts, phases_s["calibrate"]))
    # Models that were packed by an earlier version do not say how many bits of what they have.
    lines += compress_lines({"bits": "not recorded", **compress.record.facts}, compress.record.wall_s)
    return text_of([*lines, clock_line("training", phases_s)])


def evaluation_log(recipe: Recipe, seed: int, artifacts: Mapping[str, Artifact]) -> str:
    """What `train_gpt.py eval` prints of this seed's model. Raises ConfigError as `seed_log`."""
    counts = [f"count[{estimator}]" for estimator in recipe.estimators]
    nodes = [*(["hint"] if recipe.hint else []), f"score[{seed}]", *counts, f"mix[{seed}]"]
    made = {node: _finished(recipe, node, artifacts) for node in nodes}
    phases_s = {
        # What killed runs had done of it is part of it.
        node.removesuffix(f"[{seed}]"): one.record.wall_s + one.record.phases_s.get("before", 0.0)
        for node, one in made.items()
    }
    cells = _evaluated(recipe, made[f"mix[{seed}]"])
    return text_of([*score_lines(cells), clock_line("evaluation", phases_s), headline_line(cells)])


def _finished(recipe: Recipe, node: str, artifacts: Mapping[str, Artifact]) -> Artifact:
    if node not in artifacts:
        raise ConfigError(
            f"{node} is not finished, or the store holds its output no more; pgolf run {recipe.name} first"
        )
    return artifacts[node]


def _evaluated(recipe: Recipe, mix: Artifact) -> Sequence[Mapping[str, Any]]:
    """The rows of the scorers that the script evaluates, in its order: of a grid the declared mixtures alone."""
    from pgolf.mix.mix_rows import settings_of as settings_of_cell  # loads numba

    path = mix.path / CELLS_FILE
    try:
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    settings = settings_of(recipe)
    counts: dict[str, CountConfig] = {config.estimator: config for config in settings.counts}
    cells = cells_of(settings.mix, counts, recipe.hinted)
    named = [json.dumps(settings_of_cell(cell, counts, recipe.hint)) for cell in cells]
    by_name = {row["cell"]: row for row in rows}
    if missing := [name for name in named if name not in by_name]:
        raise ConfigError(
            f"the script evaluates {missing[0]}, which is not among the {len(rows)} scorers of this run; run "
            f"{recipe.name} with a grid that holds its headline, or give what the script has printed"
        )
    whole = {"hedge"} if settings.counts else {"hedge", "bayes"}
    return [*(by_name[name] for name in named), *(row for row in rows if row["estimator"] in whole)]
