"""What nothing can make fit: an error, or where asked for a result that says so everywhere."""

import json

import pyarrow.parquet as pq
import pytest

from flows.commands.cli import main
from pgolf.tables.gates import GATES
from tests.tiny import UNTRIED, tiny_arguments, write_documents

TOO_SMALL = ("seeds=1", "compress.budget_bytes=30000", "compress.zstd_levels=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("over")
    write_documents(folder)
    return folder


def arguments(folder) -> list[str]:
    return [*tiny_arguments(folder, UNTRIED, *TOO_SMALL[1:]), "--seeds", "1", "--no-prefect"]


def test_over_budget_is_refused_and_with_the_option_marked_in_every_row(folder, capsys):
    assert main(["run", *arguments(folder)]) == 1
    refused = capsys.readouterr().err
    assert "over the budget of 30,000" in refused
    assert "--allow-over-budget" in refused
    assert main(["run", *arguments(folder), "--allow-over-budget"]) == 1
    said = capsys.readouterr()
    assert "over budget: seed 1 takes" in said.out + said.err
    (scores,) = (folder / "results" / "scores").glob("*.parquet")
    rows = pq.read_table(scores).to_pylist()
    assert rows
    assert all(row["fits_budget"] is False and row["total_bytes"] > row["budget_bytes"] for row in rows)
    assert "fits_budget" in GATES  # which keeps them out of every ranking
    (attempts,) = (path for path in (folder / "store").glob("compress-*/attempts.json"))
    tried = json.loads(attempts.read_text())
    assert sum(row["chosen"] for row in tried) == 1
    assert not any(row["fits"] for row in tried)
