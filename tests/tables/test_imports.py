"""Statistics and tables start fast: what they do not need is not imported."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "prefect", "pandas", "rich", "click", "scipy", "pyarrow.dataset", "numba")


@pytest.mark.parametrize(
    "modules",
    [
        ("pgolf.stats.seeds", "pgolf.stats.compare"),
        ("pgolf.tables.schema", "pgolf.tables.parquet", "pgolf.tables.filters", "pgolf.tables.ranked"),
        ("pgolf.tables.sheet", "pgolf.tables.text"),
        ("pgolf.eval.config", "pgolf.eval.bpb"),
    ],
)
def test_importing_statistics_and_tables_loads_neither_torch_nor_prefect(modules):
    program = f"import sys, {', '.join(modules)}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_reading_and_ranking_results_loads_none_of_them(tmp_path):
    program = f"""
import sys
from pathlib import Path
from pgolf.tables import parquet, ranked, schema, text, texts
results = Path({str(tmp_path)!r})
row = dict(recipe="demo", estimator="neural", loss_nats=2.0, bpb=1.2, targets=10, started_utc="2025-12-01T00:00Z")
parquet.append(results, schema.SCORES, "r", [dict(row, seed=seed) for seed in (1, 2)])
scores = parquet.read(results, schema.SCORES, dict(recipe="demo"))
((_, of_text),) = texts.by_text(scores)
for of in (ranked.scorer_means, ranked.ranking, ranked.found_by_looking, ranked.legacy_scores):
    text.to_text(of(of_text), 80)
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
