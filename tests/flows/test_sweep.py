"""`pgolf sweep` in processes of its own: grids as text, and a kill in the middle of one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.commands.cli import main
from tests.eventually import eventually
from tests.flows import sweep_program
from tests.tiny import ALL_MIXERS, tiny_arguments, tiny_recipe, write_documents

START_S = 120.0
GRID = ["--grid", "alpha=0:0.6:0.1 order=2..3", "--grid", "k=1,4", "--grid", "share=0,1e-3"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A folder in which one seed of the tiny recipe has run, with counts of orders 2 and 3."""
    folder = tmp_path_factory.mktemp("swept")
    write_documents(folder)
    run = subprocess.run(
        [sys.executable, "-m", "flows.commands.cli", *one_seed(tiny_arguments(folder), "run"), "--no-prefect"],
        capture_output=True, text=True, check=False, timeout=START_S,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


def one_seed(arguments: list[str], command: str) -> list[str]:
    place = arguments.index("--seeds")
    return [command, *arguments[: place + 2], *arguments[place + 3 :]]


def sweep(folder: Path, *options: str) -> list[str]:
    return [*one_seed(tiny_arguments(folder), "sweep"), *options, "--no-prefect"]


def cells(folder: Path) -> list[tuple[Path, bytes]]:
    return [(path, path.read_bytes()) for path in sorted((folder / "store").glob("mix-*/cells.parquet"))]


def test_a_sweep_killed_in_the_middle_goes_on_where_it_was_and_writes_the_same_bytes(ran):
    before = {path for path, _ in cells(ran)}
    command = [sys.executable, "-m", sweep_program.__name__]
    killed = subprocess.Popen(
        [*command, "0.1", *sweep(ran, *GRID)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    partial = ran / "store" / "partial"
    eventually(lambda: list(partial.glob("mix-*/totals.npz")), "the sweep has kept something", every_s=0.02)
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=START_S) == -signal.SIGKILL
    assert {path for path, _ in cells(ran)} == before
    [folder] = partial.iterdir()

    def run(*options: str) -> dict:
        done = subprocess.run(
            [*command, "0", *sweep(ran, *options, "--json")],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert set(run(*GRID)["ran"]) == {"mix[1]", "audit[1]"}
    [(path, resumed)] = [item for item in cells(ran) if item[0] not in before]
    assert path.parent.name == folder.name
    facts = json.loads((path.parent / "record.json").read_text())["facts"]
    assert facts["resumed_at_record"] >= 2 * 64
    assert facts["resumed_at_record"] % 64 == 0
    assert not folder.exists()

    os.rename(path.parent, ran / "aside")
    run(*GRID)
    [(again, whole)] = [item for item in cells(ran) if item[0] not in before]
    assert "resumed_at_record" not in json.loads((again.parent / "record.json").read_text())["facts"]
    assert whole == resumed


def test_orders_that_were_not_counted_are_counted_and_it_is_said(ran, capsys):
    assert main(sweep(ran, "--grid", "alpha=0.1,0.2 order=2..4", "--json")) == 0
    told = capsys.readouterr()
    assert "orders 4 were not counted: count.orders is now 2, 3, 4" in told.err
    ran_now = json.loads(told.out)["ran"]
    assert set(ran_now) == {"count[hashed]", "count[exact]", "mix[1]", "audit[1]"}


def test_a_grid_file_is_swept(ran, tmp_path, capsys):
    path = tmp_path / "grid.toml"
    path.write_text('[[product]]\nk = [1, 4]\norder = "2..3"\n[[bayes]]\n[[bayes]]\nshare_rate = 0.01\n')
    assert main(sweep(ran, "--grid-file", str(path), "--json")) == 0
    table = Path(json.loads(capsys.readouterr().out)["table"])
    assert main(["results", "--results", str(ran / "results"), "--csv", "--where", "estimator=bayes"]) == 0
    rows = capsys.readouterr().out
    assert table.exists()
    assert "fixed-share" in rows


def test_a_large_grid_is_refused_with_its_size_by_run_and_sweep(ran, capsys):
    large = ["--set", "mix.alphas=0:1:0.0001"]
    for command in ("run", "sweep"):
        arguments = one_seed(tiny_arguments(ran, *ALL_MIXERS), command)
        assert main([*arguments, *large, "--no-prefect"]) == 2
        told = capsys.readouterr()
        assert "the grid has 80,013 points, more than the 10,000" in told.err
        assert "--max-points 80013" in told.err


def test_the_flow_refuses_a_large_grid_too():
    from flows.record import record
    from flows.sweep import sweep as sweep_flow
    from pgolf.errors import ConfigError

    recipe = tiny_recipe(*ALL_MIXERS, "mix.alphas=0:1:0.0001")
    for flow in (record, sweep_flow):
        with pytest.raises(ConfigError, match="the grid has 80,013 points"):
            flow.fn(recipe="demo", count=recipe.count, mix=recipe.mix, headline=recipe.headline, score=recipe.score)
