"""Names that are no UTF-8: where they would end up in JSON they are refused before the first stage."""

import os
from pathlib import Path

import pytest

from flows.commands.cli import main
from pgolf.pipeline.place import Place

NAME = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("option", ["--store", "--results", "--data"])
@pytest.mark.parametrize("command", [["run", "demo"], ["run", "demo", "--no-prefect"], ["plan", "demo"]])
def test_folders_that_jobs_and_records_name_are_refused_by_plan_too(tmp_path, monkeypatch, capsys, command, option):
    monkeypatch.chdir(tmp_path)
    assert main([*command, option, f"below/{NAME}/x"]) == 2
    said = capsys.readouterr().err
    assert f"{option} '{tmp_path}/below/caf\\udce9/x' has a name that is not UTF-8" in said
    assert list(tmp_path.iterdir()) == []


def test_the_current_folder_counts_for_paths_that_start_there(tmp_path, monkeypatch, capsys):
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(tmp_path / NAME)
    assert main(["plan", "demo"]) == 2
    assert "--store" in capsys.readouterr().err
    assert list((tmp_path / NAME).iterdir()) == []


@pytest.mark.parametrize("field", ["documents", "tokenizer", "checkpoints"])
def test_files_from_outside_are_refused_where_prefect_would_hand_them_on(field):
    path = Path(NAME)
    place = Place(**{field: {7: path} if field == "checkpoints" else path})
    assert f"{NAME} has a name that is not UTF-8, and Prefect hands it on as text" in place.unfit_for_prefect()
    assert Place(documents="café", checkpoints={7: "漢"}).unfit_for_prefect() is None


def test_a_run_under_prefect_asks_and_plan_tells(tmp_path, capsys):
    """Before Prefect is imported, and before the first stage."""
    (tmp_path / f"{NAME}.jsonl").write_text('{"text": "a"}\n' * 60)
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    source = ["--documents", str(tmp_path / f"{NAME}.jsonl"), "--set", "tokenize.source=documents"]
    assert main(["run", "demo", *places, *source]) == 2
    assert "and Prefect hands it on as text" in capsys.readouterr().err
    assert main(["plan", "demo", *places, *source]) == 0
    assert "caf\\xe9.jsonl has a name that is not UTF-8, and Prefect" in capsys.readouterr().err
