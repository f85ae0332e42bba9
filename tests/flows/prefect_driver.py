"""Runs the record flow on the tiny recipe in Prefect's in-process server, and prints what the server recorded.

python -m tests.flows.prefect_driver FOLDER: four runs (everything; a changed grid after a trace was damaged; the same
as a sweep; one seed in another store), then the task states by run, the artifacts and the log lines, as JSON. With them
what the flow `verdict` makes of the second run and of a program, and
what `pgolf run` says there of a budget that cannot be met, and of FOLDER/final_model.pt, weights of #792's twin, in
another's network.
"""

import contextlib
import io
import json
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from flows.settings import apply_settings
from tests.tiny import tiny_arguments, tiny_recipe, write_documents

MAPS = ("mix.alphas=0.2,0.4", "mix.orders=null")  # of two axes, so that a mixer has two pictures


def damage(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def refused(folder: Path) -> dict[str, tuple[int, str]]:
    """Exit code and standard error of commands that end early, under a person's own settings of Prefect."""
    from prefect.settings import PREFECT_FLOWS_DEFAULT_RETRIES, PREFECT_TASKS_DEFAULT_RETRIES, temporary_settings

    from flows.commands.cli import main as pgolf

    small = tiny_arguments(folder, "compress.budget_bytes=30000", "compress.zstd_levels=3")
    file = ["--checkpoint", str(folder / "final_model.pt"), "--store", str(folder / "refused")]
    commands = {"over budget": ["run", *small, "--seeds", "1"], "checkpoint": ["run", "pr715-tiny", *file]}
    told = {}
    with temporary_settings({PREFECT_TASKS_DEFAULT_RETRIES: 2, PREFECT_FLOWS_DEFAULT_RETRIES: 2}):
        for name, command in commands.items():
            with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
                told[name] = (pgolf(command), errors.getvalue())
    return told


def trial(client: Any, place: Any) -> dict[str, Any]:
    """What the server has of two runs of the flow `verdict`, one of them on a run that there is not."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    flow_runs = {one.name: one for one in client.read_flow_runs() if one.name.startswith("verdict on ")}
    run, program = flow_runs["verdict on other weights"], flow_runs["verdict on python silent.py"]
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)
    return {
        "states": {name: one.state_name for name, one in flow_runs.items()},
        "said": {name: one.state.message for name, one in flow_runs.items()},
        "tags": run.tags,
        "tasks": {one.name: one.state_name for one in client.read_task_runs(limit=200) if one.flow_run_id == run.id},
        "log": [(line.level, line.message) for line in logs],
        "artifacts": [
            (one.type, one.key, one.data, one.description)
            for one in client.read_artifacts(limit=200)
            if one.flow_run_id == run.id
        ],
        "program": {
            "tasks": {one.name: one.state_name for one in client.read_task_runs() if one.flow_run_id == program.id},
            "artifacts": [
                (one.type, one.key, one.data, one.description)
                for one in client.read_artifacts(limit=200)
                if one.flow_run_id == program.id
            ],
        },
        "pages": [path.name for path in (place.results / "reports").glob("audit-*.html")],
    }


def leaked(folder: Path, data: Path) -> tuple[int, dict[str, Any]]:
    """What `pgolf audit` says of the same run if its validation shard was trained on. data: what the run read."""
    from flows.commands.cli import main as pgolf

    (folder / "leak").mkdir()
    shutil.copy(next(data.rglob("fineweb_val_000000.bin")), folder / "leak/fineweb_train_000000.bin")
    places = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    words = ["audit", "other weights", "--scorer", "network", "--targets", "24", "--train-shards", str(folder / "leak")]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as told:
        code = pgolf([*words, *places, "--page", str(folder / "leak.html"), "--json"])
    return code, json.loads(told.getvalue())


def names_while_waiting(database: Path) -> list[str]:
    """What tasks were called when they became Pending, which is what pages show until they begin."""
    asked = "select resource from events where event = 'prefect.task-run.Pending'"
    with contextlib.closing(sqlite3.connect(database)) as events:
        return [json.loads(resource)["prefect.resource.name"] for [resource] in events.execute(asked)]


def main(folder: Path) -> None:
    """Run all of it and print the report."""
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    apply_settings(quiet=True)
    from prefect.client.orchestration import get_client

    from flows.parameters import ASKED, flow_parameters
    from flows.record import record
    from flows.sweep import sweep
    from flows.verdict import verdict
    from pgolf.errors import ConfigError
    from pgolf.pipeline.place import Place
    from pgolf.tables.parquet import read
    from pgolf.tables.schema import SEEDS

    place = Place(
        store=folder / "store", results=folder / "results", documents=write_documents(folder).documents, device="cpu"
    )

    def run(flow: Any, *overrides: str, where: Place = place) -> dict[str, Any]:
        recipe = tiny_recipe(*MAPS, *overrides)
        token = ASKED.set(recipe)
        try:
            return flow(**flow_parameters(flow, recipe, where, 10_000))
        finally:
            ASKED.reset(token)

    first = run(record)
    damage(first["score[1]"].artifact().path / "trace.arrow")
    run(record, "mix.alphas=0.1,0.4", "train.crownq_bits=6", "run_name=other weights", 'tags=["try"]')
    run(sweep, "mix.alphas=0.1,0.4", "headline.alpha=0.3")
    run(record, "seeds=1", where=place.model_copy(update={"store": folder / "other store"}))
    outcome = verdict(run="other weights", scorer="network", targets=24, place=place)
    with contextlib.suppress(ConfigError):
        verdict(run="nothing", place=place)
    (folder / "theirs").mkdir()
    (folder / "theirs/silent.py").write_text("raise SystemExit(3)")
    data = first["data"].artifact().path
    of_program = verdict(
        program="python silent.py",
        folder=folder / "theirs",
        tokens=next(data.rglob("fineweb_val_000000.bin")),
        tokenizer=next(data.rglob("*.model")),
        targets=16,
        place=place,
    )
    time.sleep(3)  # the recorder writes in batches
    with get_client(sync_client=True) as client:
        flow_runs = sorted(client.read_flow_runs(), key=lambda flow_run: flow_run.start_time)
        flow_runs = [one for one in flow_runs if not one.name.startswith("verdict on ")]
        names = {flow_run.id: i for i, flow_run in enumerate(flow_runs)}
        states: list[dict[str, str]] = [{} for _ in flow_runs]
        for task_run in client.read_task_runs(limit=200):
            if task_run.flow_run_id not in names:
                continue
            states[names[task_run.flow_run_id]][task_run.name] = task_run.state_name
        report = {
            "elsewhere": len(list((folder / "other store").glob("*-*"))),
            "figures": {
                path.name: len(list(path.glob("*.svg"))) for path in (folder / "results" / "figures").iterdir()
            },
            "declared": sorted(read(folder / "results", SEEDS).column("seed").to_pylist()),
            "runs": sorted(path.stem for path in (folder / "results" / "scores").iterdir()),
            "flows": [flow_run.state_name for flow_run in flow_runs],
            "states": states,
            "waiting": names_while_waiting(folder / "prefect" / "prefect.db"),
            "names": [flow_run.name for flow_run in flow_runs],
            "tags": [flow_run.tags for flow_run in flow_runs],
            "artifacts": [
                (names[item.flow_run_id], str(item.flow_run_id)[:8], item.type, item.key, item.data, item.description)
                for item in client.read_artifacts(limit=200)
                if item.flow_run_id in names
            ],
            "log": [line.message for line in client.read_logs(limit=200) if "step" in line.message],
            "for nothing": [
                names[line.flow_run_id] for line in client.read_logs(limit=200) if "crownq_bits" in line.message
            ],
        }
        report["trial"] = {**trial(client, place), "outcome": outcome}
        report["trial"]["program"]["outcome"] = of_program
    report["leaked"] = leaked(folder, first["data"].artifact().path)
    report["refused"] = refused(folder)
    report["built before the refusal"] = [path.name for path in (folder / "refused").glob("*-*")]
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
