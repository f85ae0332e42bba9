"""A whole run whose sources are edited, broken and deleted while it trains: nothing of it reaches the run."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from tests.tiny import tiny_recipe, write_documents

ROOT = Path(__file__).parents[2]

PROGRAM = """
import shutil, sys
from pathlib import Path
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.pipeline.listen import Silence
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from tests.tiny import tiny_recipe

folder, sources = Path(sys.argv[1]), Path(sys.argv[2])

class Edits(Silence):
    def building(self, node):
        if node.stage.name != "train":
            return
        # Imported long since, imported by the ranks alone, and imported by later stages alone.
        bpb = sources / "pgolf/eval/bpb.py"
        bpb.write_text(bpb.read_text().replace("LN2 = math.log(2.0)", "LN2 = math.log(4.0)"))
        (sources / "pgolf/train/loop.py").write_text("this is no Python")
        shutil.rmtree(sources / "pgolf/mix")
        (sources / "pgolf/errors.py").unlink()

nodes = pipeline(tiny_recipe("seeds=[1]"), Sources(documents=folder / "docs.jsonl"))
build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(), Edits())
"""


def test_a_run_ends_as_it_began_whatever_happens_to_its_sources(tmp_path):
    documents = write_documents(tmp_path)
    sources = tmp_path / "sources"
    for package in ("pgolf", "tests"):
        shutil.copytree(ROOT / package, sources / package)  # with compiled code, which goes by content
    (sources / "pgolf/eval/bpb.py").read_text().index("LN2 = math.log(2.0)")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(sources)],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    # Unedited sources find all of it, under the keys of what ran.
    store = Store(tmp_path / "store")
    steps = make_plan(pipeline(tiny_recipe("seeds=[1]"), documents), store, Memo(tmp_path / "memo"))
    assert {step.node.name: step.action for step in steps if step.action != "reuse"} == {}
    made = {step.node.stage.name: step.artifact for step in steps if step.artifact}
    (network,) = (row for row in pq.read_table(made["mix"].path / "cells.parquet").to_pylist() if not row["counts"])
    bits = network["loss_nats"] * network["targets"] / math.log(2.0)
    assert made["score"].record.facts["bpb"] == pytest.approx(bits / network["bytes"], rel=1e-12)
    assert made["score"].record.git_commit is None  # no commit is said to hold what is not there any more
