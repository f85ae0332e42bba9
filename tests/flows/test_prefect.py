"""The flow under a real Prefect server: what its UI shows of a run, of a changed grid and of a damaged artifact."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store, build_once
from tests.flows.prefect_home import prefect_home
from tests.flows.test_import import write_published
from tests.tiny import SEEDS
from tests.toy_stage import TOY, toy_key

PER_SEED = [f"{stage}[{seed}]" for seed in SEEDS for stage in ("train", "calibrate", "compress", "score", "mix")]
STAGES = ["data", "count[hashed]", "count[exact]", *PER_SEED]


@pytest.fixture(scope="module")
def report(tmp_path_factory, prefect_database) -> dict:
    """What the server recorded of four runs."""
    folder = tmp_path_factory.mktemp("prefect")
    prefect_home(folder, prefect_database)
    write_published(folder / "final_model.pt", "pr792-tiny")
    run = subprocess.run(
        [sys.executable, "-m", "tests.flows.prefect_driver", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_every_stage_is_a_task_of_its_own_with_its_own_state(report):
    assert report["flows"] == ["Completed"] * 4
    first = report["states"][0]
    assert {name: first.get(name) for name in STAGES} == dict.fromkeys(STAGES, "Completed")


def test_a_changed_grid_shows_the_rest_as_cached_and_a_damaged_artifact_is_not_taken_from_prefects_record(report):
    second = report["states"][1]
    ran = {name for name in STAGES if second[name] == "Completed"}
    assert ran == {"mix[1]", "mix[2]", "score[1]"}
    assert {second[name] for name in STAGES if name not in ran} == {"Cached"}


def test_the_same_again_as_a_sweep_is_cached_throughout(report):
    assert {report["states"][2][name] for name in STAGES} == {"Cached"}


def test_another_store_is_filled_by_itself_whatever_prefect_remembers_of_the_first(report):
    assert set(report["states"][3].values()) == {"Completed"}
    assert report["elsewhere"] == 8


def test_training_keeps_a_progress_artifact_and_its_lines_reach_the_log_and_the_end_is_a_table(report):
    kinds = {tuple(item) for item in report["artifacts"]}
    assert {("progress", f"train-{seed}") for seed in SEEDS} <= kinds
    assert ("table", "pgolf-demo") in kinds
    assert any("loss" in line for line in report["log"])


def test_the_flow_files_the_pictures_of_every_run_beside_its_rows(report):
    assert report["figures"] == dict.fromkeys(report["runs"], 2)
    assert len(report["runs"]) == 3


def test_the_users_own_retries_in_prefect_do_not_pack_a_hopeless_budget_again(report):
    code, said = report["refused"]["over budget"]
    assert code == 1
    assert "over the budget of 30,000" in said
    assert said.count("▸ compress[1]") == 1
    assert "Traceback" not in said


def test_under_prefect_too_no_other_stage_starts_before_a_checkpoint_is_found_to_fit(report):
    code, said = report["refused"]["checkpoint"]
    assert code == 2
    assert "DataError" in said
    assert report["built before the refusal"] == []


def test_a_reference_is_valid_only_while_its_artifact_is_sound(tmp_path):
    from tasks.cache import Ref

    artifact, _ = build_once(Store(tmp_path), TOY, toy_key(), node="toy", inputs={}, parents={}, run=RunOptions())
    text = Ref.to(artifact).model_dump_json()
    assert Ref.model_validate_json(text).artifact().record == artifact.record
    target = Path(artifact.path) / "text.txt"
    target.chmod(0o644)
    target.write_text("other\n")
    with pytest.raises(ValidationError, match=r"text.txt"):
        Ref.model_validate_json(text)
