"""The tables of a run that has everything a page shows, made up."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pgolf.report.run_tables import RunTables
from pgolf.tables.detail_tables import BREAKDOWNS, LOSSES, SAMPLES, TENSORS
from pgolf.tables.named_runs import Run
from pgolf.tables.parquet import rows_to_arrow
from tests.report.conftest import TARGETS, grid_rows, table_of

START_US = 1_764_583_200_000_000  # 2025-12-01 10:00 UTC
NODES = (("train", 60.0), ("calibrate", 2.0), ("compress", 5.0), ("score", 30.0), ("mix", 1.0))
GRID = {"alphas": (0.1, 0.2, 0.4), "orders": (2, 3, 4)}


def score_rows(seeds: Sequence[int] = (1, 2, 3), **columns: Any) -> list[dict[str, Any]]:
    """The network, and a grid of which one honest and one legacy cell are declared."""
    rows = []
    for row in grid_rows(seeds=tuple(seeds), **GRID):
        declared = (row.get("alpha"), row.get("order")) == (0.2, 3)
        named = {"declared": declared, "declared_before_scoring": declared}
        sizes = {"artifact_bytes": 80_000, "code_bytes": 9_000, "total_bytes": 89_000 + row["seed"]}
        clocks = {"train_clock_s": 60.0 + row["seed"], "within_train_clock": True}
        clocks |= {"eval_clock_s": 31.0, "within_eval_clock": True}
        about = {"budget_bytes": 100_000, "interrupted": False, "git_commit": "c0ffee" * 6 + "abcd", "host": "node-1"}
        of_row = {} if row["estimator"] == "neural" else named
        rows.append({**row, **sizes, **clocks, **about, **of_row, **columns})
    return rows


def tables(seeds: Sequence[int] = (1, 2, 3), *, key: str = "demo-0123456789ab", **columns: Any) -> RunTables:
    """A whole run. columns: of every score."""
    run = Run(
        key=key, recipe="demo", recipe_key="a" * 64, name="demo", base="demo", changed={"train.steps": 40},
        config={"headline": {"mixer": "fixed"}, "train": {"steps": 40}}, note="as it should be", tags=("kept",),
    )  # fmt: skip
    stages = [_stage("data", "tokenize", None, built=False, start_s=-7200.0, wall_s=None)]
    for number, seed in enumerate(seeds):
        start_s = number * 100.0
        for stage, wall_s in NODES:
            stages.append(_stage(f"{stage}[{seed}]", stage, seed, built=True, start_s=start_s, wall_s=wall_s))
            start_s += wall_s
    details = {
        spec.name: pa.concat_tables(rows_to_arrow(spec, rows([seed])) for seed in seeds)
        for spec, rows in ((LOSSES, _losses), (BREAKDOWNS, _parts), (SAMPLES, _samples), (TENSORS, _tensors))
    }
    return RunTables(
        run=run,
        scores=table_of([{**row, "run_key": key} for row in score_rows(seeds, **columns)]),
        attempts=_attempts(seeds),
        stages=stages,
        made=[{**stages[0], "built": True, "wall_s": 8.0}],
        details=details,
        missing=(),
    )


def bare(run: RunTables, **changes: Any) -> RunTables:
    """The run without anything but its scores, as of an earlier version whose store is gone."""
    gone = {"attempts": [], "stages": [], "made": [], "details": {}, "missing": ("no losses by step: gone",)}
    older = replace(run.run, config={}, changed={}, base=None, note="", tags=())
    return replace(run, **(gone | {"run": older} | changes))


def _stage(
    node: str, stage: str, seed: int | None, *, built: bool, start_s: float, wall_s: float | None
) -> dict[str, Any]:
    return {
        "run_key": "demo-0123456789ab-1", "node": node, "stage": stage, "seed": seed, "key": f"key of {node}",
        "folder": f"{stage}-{seed}", "built": built, "wall_s": wall_s,
        "started_utc": START_US + round(start_s * 1e6),
    }  # fmt: skip


def _losses(seeds: Sequence[int]) -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [
        {"run_key": f"train-{seed}", "seed": seed, "step": step, "tokens": 1024 * step, "clock_s": 0.5 * step,
         "loss_nats": 2.0 + 4.0 / step + draw.uniform(-0.1, 0.1)}
        for seed in seeds
        for step in range(1, 401)
    ]  # fmt: skip


def _parts(seeds: Sequence[int]) -> list[dict[str, Any]]:
    labels = {"position": 20, "offset": 10, "length": 6, "kind": 4}
    return [
        {"run_key": f"score-{seed}", "seed": seed, "by": by, "part": part, "label": f"{by} {part}",
         "targets": TARGETS // parts, "bytes": 0 if (by, part) == ("kind", 3) else 2 * TARGETS // parts,
         "loss_sum_nats": TARGETS / parts * (3.0 + 0.1 * part + 0.01 * seed)}
        for seed in seeds
        for by, parts in labels.items()
        for part in range(parts)
    ]  # fmt: skip


def _samples(seeds: Sequence[int]) -> list[dict[str, Any]]:
    words = ["A", " <b>", "bold", "</b>", " & ", '"quoted"', " café", " \u202eturned", "<s>"]
    return [
        {"run_key": f"score-{seed}", "seed": seed, "sample": sample, "document": 7 * sample,
         "target": 100 * sample + at, "text": "" if word == "<s>" else word,
         "special": word if word == "<s>" else None, "loss_nats": 0.9 * at}
        for seed in seeds
        for sample in range(2)
        for at, word in enumerate(words)
    ]  # fmt: skip


def _tensors(seeds: Sequence[int]) -> list[dict[str, Any]]:
    names = [f"blocks.{layer}.{part}" for layer in range(4) for part in ("attn.c_q.weight", "mlp.fc.weight")]
    return [
        {"run_key": f"compress-{seed}", "seed": seed, "tensor": name, "group": name.split(".", 2)[2],
         "stored": "float16", "elements": 8_000, "plain_bytes": 16_000, "packed_bytes": 10_000, "codec": "zstd"}
        for seed in seeds
        for name in names
    ]  # fmt: skip


def _attempts(seeds: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"seed": seed, "attempt": attempt, "rung": f"downgraded layers: {attempt}", "codec": "zstd", "level": 16,
         "artifact_bytes": 100_000 - 10_000 * attempt, "total_bytes": 109_000 - 10_000 * attempt + seed,
         "budget_bytes": 100_000, "fits_budget": attempt > 0, "chosen": attempt == 2, "started_utc": START_US}
        for seed in seeds
        for attempt in range(3)
    ]  # fmt: skip
