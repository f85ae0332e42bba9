"""The flow under a real Prefect server: what its UI shows of a run, of a changed grid and of a damaged artifact."""

import json
import logging
import re
import socket
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


def test_what_is_set_for_nothing_is_said_in_the_log_of_its_run_alone(report):
    assert report["for nothing"] == [1]


def test_another_store_is_filled_by_itself_whatever_prefect_remembers_of_the_first(report):
    assert set(report["states"][3].values()) == {"Completed"}
    assert report["elsewhere"] == 9


def artifacts(report, kind):
    return [tuple(item) for item in report["artifacts"] if item[2] == kind]


def test_runs_are_called_by_recipe_name_and_seeds_and_tagged_by_recipe_host_and_kind(report):
    host = socket.gethostname()
    assert [name.partition(" · ")[2] for name in report["names"]] == ["seeds 1, 2"] * 3 + ["seed 1"]
    assert report["names"][1] == "demo other weights · seeds 1, 2"
    assert all(name.startswith("demo ") for name in report["names"])
    kinds = ["record", "record", "sweep", "record"]
    assert [set(tags) for tags in report["tags"]] == [
        {"demo", host, kind, *(["try"] if number == 1 else [])} for number, kind in enumerate(kinds)
    ]


def test_training_and_every_run_keep_progress_artifacts_of_their_own_and_its_lines_reach_the_log(report):
    found = {(number, key): (data, said) for number, _, _, key, data, said in artifacts(report, "progress")}
    runs = {number: run for number, run, *_ in report["artifacts"]}
    trained = {(0, f"train-{seed}-{runs[0]}") for seed in SEEDS} | {(3, f"train-1-{runs[3]}")}
    assert found.keys() == trained | {(number, f"run-{runs[number]}") for number in range(4)}
    assert {data for data, _ in found.values()} == {100.0}
    assert found[1, f"run-{runs[1]}"][1].startswith("14 of 14 stages, last ")
    assert any("loss" in line for line in report["log"])


def test_the_table_names_what_is_declared_the_best_honest_cell_and_a_headline_that_is_no_cell(report):
    tables = {number: (key, json.loads(data), said) for number, _, _, key, data, said in artifacts(report, "table")}
    assert {key for key, _, _ in tables.values()} == {"pgolf-demo"}
    _, rows, said = tables[1]
    spread = re.compile(r"\d\.\d{4} ± \d\.\d{4}")
    assert all(spread.fullmatch(row["mean ± std (bpb)"]) and row["n"] == "2" for row in rows)
    standing = {row["scorer"]: row["standing"] for row in rows}
    assert standing["network"] == "no choice"
    assert standing["honest: exact backoff"] == "declared"
    assert standing["legacy: hashed backoff"] == "no code length"
    assert standing["best honest cell"] == "declared, too"
    best = min(float(row["mean ± std (bpb)"][:6]) for row in rows if row["standing"] in ("declared", "no choice"))
    [cell] = [row for row in rows if row["scorer"] == "best honest cell"]
    assert float(cell["mean ± std (bpb)"][:6]) <= best
    assert "it was found by looking" not in said
    assert "is no cell of this grid" not in said
    _, rows, said = tables[2]  # the same grid with another headline
    assert [row["standing"] for row in rows] == ["no choice", "found by looking: not a result"]
    assert "best honest cell: exact backoff, order 3, alpha 0.4" in said
    assert "it was found by looking" in said
    assert "the recipe's headline, backoff order 3 alpha 0.3, is no cell of this grid" in said


def test_a_markdown_artifact_holds_the_pictures_and_says_where_the_report_is(report):
    pages = {number: (key, text) for number, _, _, key, text, _ in artifacts(report, "markdown")}
    assert pages.keys() == {0, 1, 2, 3}
    key, text = pages[1]
    assert key == "pgolf-demo-figures"
    assert text.startswith("# other weights\n")
    assert re.search(r"report: \[\S+/results/reports/demo-[0-9a-f]{12}\.html\]\(file:///\S+\)", text)
    row = r"\| honest: exact backoff \| [\d.]+ ± [\d.]+ \| 2 \| declared \| exact backoff, order 3, alpha 0.4"
    assert re.search(row, text)
    assert re.findall(r"!\[(\S+)\]\(data:image/png;base64,[A-Za-z0-9+/=]{1000,}\)", text) == [
        "backoff-curves",
        "backoff-map",
    ]


def test_a_task_is_called_by_stage_and_seed_while_it_waits_too(report):
    assert {name.rpartition("-")[0] for name in report["waiting"]} >= set(STAGES)


def test_the_flow_files_the_pictures_of_every_run_beside_its_rows(report):
    assert report["figures"] == dict.fromkeys(report["runs"], 2)
    assert len(report["runs"]) == 4


def test_a_flow_declares_its_seeds_once(report):
    assert report["declared"] == [1, 2], "of one configuration, whatever the grid"


def test_a_trial_has_a_task_per_scorer_whose_log_tells_every_verdict_and_artifacts_of_them(report):
    trial = report["trial"]
    assert trial["states"] == {
        "verdict on other weights": "Completed",
        "verdict on nothing": "Failed",
        "verdict on python silent.py": "Completed",
    }
    assert "ConfigError: no run nothing; did you mean" in trial["said"]["verdict on nothing"]
    assert {"other weights", "verdict", socket.gethostname()} == set(trial["tags"])
    assert trial["tasks"] == {"audit": "Completed", "verdict[network]": "Completed"}
    assert trial["outcome"] == {"network": "pass"}
    said = {text.split()[0]: (level, text) for level, text in trial["log"]}
    assert said["B1"][0] == logging.INFO
    assert "causality: pass, 6 cuts" in said["B1"][1]
    level, text = said["B18"]
    assert (level, "inconclusive, 2 of at least 3 seeds; what would settle it" in text) == (logging.WARNING, True)
    assert re.fullmatch(r"network, [\d.]+ bpb: pass by readme-2026-05-02", said["network,"][1])
    assert re.search(r"B17 data split: pass, [\d,]+ training tokens in 1 shards hold", said["B17"][1])
    found = {kind: (key, data, described) for kind, key, data, described in trial["artifacts"]}
    key, rows, described = found["table"]
    [row] = json.loads(rows)
    assert (row["scorer"], row["verdict"], row["fail"], row["inconclusive"]) == ("network", "pass", "–", "B18")
    assert "other weights**, seed 1: 1 pass by readme-2026-05-02; 24 targets" in described
    assert re.fullmatch(r"pgolf-audit-[0-9a-f]{12}", key)
    assert found["markdown"][0] == f"{key}-verdicts"
    assert "## network: pass" in found["markdown"][1]
    assert "| B13s shipped bytes | pass |" in found["markdown"][1]
    assert f"{key.removeprefix('pgolf-')}.html" in trial["pages"]


def test_a_trial_of_a_program_is_a_task_with_a_page_and_artifacts_of_its_verdicts(report):
    program = report["trial"]["program"]
    assert (program["tasks"], program["outcome"]) == ({"audit": "Completed"}, {"python silent.py": "fail"})
    found = {kind: (key, data, described) for kind, key, data, described in program["artifacts"]}
    key, rows, described = found["table"]
    [row] = json.loads(rows)
    assert (row["program"], row["verdict"], "B0" in row["fail"]) == ("python silent.py", "fail", True)
    assert "python silent.py**: fail by readme-2026-05-02; 16 targets" in described
    assert found["markdown"][0] == f"{key}-verdicts"
    assert f"{key.removeprefix('pgolf-')}.html" in report["trial"]["pages"]


def test_a_run_is_compared_with_other_training_shards_where_they_are_named_and_its_trial_is_not_made_again(report):
    code, found = report["leaked"]
    [network] = found["scorers"]
    by_number = {one["number"]: one for one in network["verdicts"]}
    assert (code, found["outcome"], by_number["B17"]["outcome"]) == (1, "fail", "fail"), by_number["B17"]["because"]
    assert f"{found['audit_id']}.html" in report["trial"]["pages"]
    assert [one for one in by_number if by_number[one]["outcome"] == "fail"] == ["B17"]


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
