"""The command line: what it loads, what it prints where, and what it says to a mistake."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.commands import cli
from flows.commands.cli import COMMANDS, command_named, main, parser
from flows.commands.plan_command import Totals, _sentences
from pgolf.errors import ResultsError
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.pipeline.place import Place
from pgolf.pipeline.referring import note_results
from pgolf.report.drawn_before import KEYS
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES
from tests.object_service import BUCKET, CREDENTIALS, Service
from tests.tiny import ALL_MIXERS, SEEDS, tiny_arguments, tiny_recipe, write_documents

# Says that it builds, and ends without another word.
DIED = """
import os, sys
from pathlib import Path
from pgolf.mix.config import MixConfig
from pgolf.pipeline.graph import Node
from pgolf.run_options import RunOptions
from pgolf.recipes.recipe import MIX
from pgolf.pipeline.status import StatusFile
StatusFile(Path(sys.argv[1]), "mix-0123456789ab", RunOptions()).building(Node(name="m", stage=MIX, config=MixConfig()))
os._exit(0)
"""


def wide_recipe(*overrides):
    return tiny_recipe(*ALL_MIXERS, *overrides)


def wide_arguments(folder, *overrides):
    return tiny_arguments(folder, *ALL_MIXERS, *overrides)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A folder in which the tiny recipe has run and filed its results."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = wide_recipe()
    nodes = pipeline(recipe, write_documents(folder))
    artifacts = build_all(nodes, Store(folder / "store"), Memo(folder / "store" / ".sources.sqlite"), RunOptions())
    built = dict.fromkeys(artifacts, 1.0)
    outcome_of(recipe, nodes, artifacts, folder / "results", built=built).file(folder / "results")
    return folder


def in_one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, whatever the width at which it was wrapped."""
    return " ".join(capsys.readouterr().out.split())


def in_new_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_pgolf_loads_neither_prefect_nor_torch_nor_pandas():
    assert (
        in_new_process("import pgolf, sys; print(*sys.modules.keys() & {'prefect', 'torch', 'pandas'})").strip() == ""
    )


def test_a_plan_loads_nothing_that_only_runs_need():
    runs = {"filelock", "numpy", "pyarrow", "pgolf.train.checkpoint_record", "pgolf.train.train_job", "pgolf.ranks.job"}
    assert in_new_process(f"import flows.commands.plan_command, sys; print(*sys.modules.keys() & {runs})").strip() == ""


def test_plan_of_a_finished_recipe_imports_neither_torch_nor_prefect(ran):
    arguments = ["plan", *wide_arguments(ran)]
    code = (
        f"import sys; from flows.commands.cli import main; assert main({arguments!r}) == 0; "
        "print('LOADED', *sys.modules.keys() & {'prefect', 'torch', 'pandas', 'numba', 'numpy', 'pyarrow'})"
    )
    shown = in_new_process(code)
    assert "14 of 14 reused" in shown
    assert shown.splitlines()[-1].strip() == "LOADED"


def test_a_fully_reused_run_starts_no_prefect_and_says_that_everything_was_reused(ran):
    arguments = ["run", *wide_arguments(ran)]
    code = (
        f"import sys; from flows.commands.cli import main; assert main({arguments!r}) == 0; "
        "print('LOADED', *sys.modules.keys() & {'prefect', 'torch'})"
    )
    shown = in_new_process(code)
    assert "ran: nothing (0 of 14)" in shown
    assert shown.splitlines()[-1].strip() == "LOADED"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_all_but_the_plainest_have_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert command == "recipes" or "examples:" in shown


def test_every_command_is_one_file_and_every_file_of_a_command_is_listed():
    files = {
        path.stem.removesuffix("_command").replace("_", "-") for path in Path(cli.__file__).parent.glob("*_command.py")
    }
    assert COMMANDS.keys() == files
    for name in COMMANDS:
        command = command_named(name)
        assert callable(command.add_arguments)
        assert callable(command.execute)


def test_help_and_version_load_no_command():
    code = (
        "import sys; from flows.commands.cli import main; assert main(['--version']) == 0; assert main([]) == 0; "
        "print('LOADED', *sys.modules.keys() & {'pydantic', 'pyarrow', 'numpy', 'rich', 'flows.commands.arguments'})"
    )
    assert in_new_process(code).splitlines()[-1].strip() == "LOADED"


def test_the_help_names_every_command(capsys):
    parser().print_help()
    shown = capsys.readouterr().out
    assert all(f"\n    {command}" in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "dmeo"], "no recipe dmeo; did you mean demo?"),
        (["plan", "demo", "--set", "train.stpes=1"], "no field train.stpes; did you mean train.steps?"),
        (["plan", "demo", "--set", "train.steps=-1"], "train.steps: Input should be greater than or equal to 1"),
        (["plan", "demo", "--set", "model.heads=3"], "width 128 is not a multiple of heads 3"),
        (["plan", "demo", "--seeds", "1", "1"], "seeds repeat"),
        (["plan", "demo", "--documents", "nowhere", "--set", "tokenize.source=documents"], "no such file or folder"),
        (["plan", "demo", "--price-per-hour", "nan"], "--price-per-hour is nan"),
        (["results", "--results", ".", "--where", "seeed=1"], "no column 'seeed'; did you mean seed"),
        (["adopt", "demo", "trian", "--why", "x"], "no stage trian"),
        (["figures", "demo", "--results", "."], "begins with 'demo'; `pgolf run RECIPE` makes some"),
    ],
)
def test_a_mistake_ends_with_2_and_one_clear_message(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("command", [["plan", "demo"], ["run", "demo", "--no-prefect"], ["tokenize"]])
@pytest.mark.parametrize("option", ["--documents", "--tokenizer", "--data", "--store", "--results", "--checkpoint"])
def test_an_empty_path_is_never_the_current_folder(command, option, capsys, tmp_path, monkeypatch):
    if command == ["tokenize"] and option in ("--data", "--results", "--checkpoint"):
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "not asked for"}')
    texts = ["", "1="] if option == "--checkpoint" else [""]
    for text in texts:
        seeds = ["--seeds", "1"] if option == "--checkpoint" else []
        try:
            code = main([*command, *seeds, option, text])
        except SystemExit as ended:
            code = ended.code
        assert code == 2
        told = capsys.readouterr()
        assert option in told.err
        assert "is empty (an unset variable?)" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("fields", [{"data": ""}, {"store": ""}, {"checkpoints": {7: ""}}])
def test_an_empty_path_of_a_deployment_is_refused(fields):
    with pytest.raises(ValidationError, match="is an empty path"):
        Place(**fields)


def test_an_export_is_the_run_as_its_script_alone_repeats_it(ran, tmp_path, capsys):
    """With a real clean room; the run has two seeds, so it is no record."""
    places = ["--store", str(ran / "store"), "--results", str(ran / "results")]
    arguments = ["export", "demo", *places, "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert "2 seeds, and a record takes 3: pgolf run demo --seeds" in told.err
    assert "--non-record writes it all the same" in told.err
    assert main([*arguments[:-1], str(ran / "store" / "out")]) == 2
    assert "which holds pgolf's own files; name a folder outside" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main([*arguments, "--non-record", "--author", "A. Other", "--json"]) == 0
    told = capsys.readouterr()
    done = json.loads(told.out)
    assert re.fullmatch(
        r"2 seeds, and a record takes 3: pgolf run demo --seeds 1,2,… with the \d+ settings that were declared",
        done["refused"][0],
    )
    said = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert (said["author"], said["track"]) == ("A. Other", "track_non_record_16mb")
    rows = read(ran / "results", SCORES, {"estimator": "exact", "declared": True}).to_pylist()
    filed = {int(seed): one["val_bpb"] for seed, one in said["seed_results"].items()}
    assert {row["seed"]: row["bpb"] for row in rows} == filed
    for seed, one in said["seed_results"].items():
        log = (tmp_path / "out" / f"train_seed{seed}.log").read_text()
        assert log.splitlines()[-1] == f"val_loss:{one['val_loss']!r} val_bpb:{one['val_bpb']!r}"
        assert log.startswith("step 1/4  loss ")
        assert f"evaluation clock  {one['eval_time_s']:.1f} s of 600" in log
        assert f"seed {seed}: the same scores to the last digit" in told.err
    assert "2 seeds, and a record takes 3" in (tmp_path / "out" / "README.md").read_text()
    assert main(["check-submission", str(tmp_path / "out")]) == 0
    assert main([*arguments, "--non-record"]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--store", "gs://bucket/x"], "lacks the conditional writes"),
        (["--store", "s3://key:secret@bucket/x"], "contains credentials"),
        (["--store", "s3://bucket/x", "--cache-limit", "much"], "give a size such as 20GB"),
        (["--cache", "there"], "--cache is for a --store at an URL"),
    ],
)
def test_a_store_that_cannot_be_one_is_refused(options, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["plan", "demo"], ["verify"], ["tokenize"]):
        assert main([*command, *options]) == 2
        told = capsys.readouterr().err
        assert says in told
        assert "secret" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["store", "remote"])
def test_a_place_takes_an_address_and_shows_no_credentials(field, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = Place.model_validate({field: "s3://bucket/prefix/"})
    assert place.remote == "s3://bucket/prefix"
    assert place.store.parent == tmp_path / "pgolf"
    assert Place.model_validate_json(place.model_dump_json()) == place
    with pytest.raises(ValueError, match="contains credentials") as refused:
        Place.model_validate({field: "s3://key:secret@bucket/prefix"})
    assert "secret" not in str(refused.value)


def test_a_second_machine_takes_everything_from_an_object_store(ran, tmp_path, capsys, monkeypatch):
    service = Service(tmp_path / "log")
    service.start()
    try:
        service.files().mkdir(BUCKET)
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        arguments = wide_arguments(ran)
        arguments[arguments.index("--store") + 1] = f"s3://{BUCKET}/tiny"
        first = tmp_path / "first"
        shutil.copytree(ran / "store", first)
        assert main(["run", *arguments, "--cache", str(first), "--no-prefect"]) == 0
        assert "ran: nothing (0 of 14)" in capsys.readouterr().out
        second = ["--cache", str(tmp_path / "second")]
        assert main(["plan", *arguments, *second]) == 0
        assert "14 of 14 reused" in capsys.readouterr().out
        assert list(Store(tmp_path / "second").artifacts()) == []
        assert main(["run", *arguments, *second, "--no-prefect"]) == 0
        assert "ran: nothing (0 of 14)" in capsys.readouterr().out
        assert len(list(Store(tmp_path / "second").artifacts())) == 14
        places = ["--store", f"s3://{BUCKET}/tiny", *second, "--without-results"]
        assert main(["gc", *places]) == 0
        assert f"results {ran / 'results'}: 14 outputs in use" in in_one_line(capsys), "noted by another machine"
        places += ["--forget", str(ran / "results")]
        assert main(["gc", *places, "--what", "all"]) == 0
        told = in_one_line(capsys)
        assert f"in the cache {tmp_path / 'second'} 14 folders, " in told
        assert f"; in s3://{BUCKET}/tiny, for all who use it, 14 folders, " in told
        assert main(["gc", *places, "--what", "all", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["garbage"]
        assert [row["shared"] for row in rows] == [False] * 14 + [True] * 14
        told = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "log")
        assert all(value.encode() not in told for value in CREDENTIALS.values())
    finally:
        service.stop()


def test_recipes_as_json_name_parameters_and_stages(capsys):
    assert main(["recipes", "--json"]) == 0
    (demo,) = [recipe for recipe in json.loads(capsys.readouterr().out) if recipe["name"] == "demo"]
    assert demo["parameters"] > 100_000
    assert demo["stages"] == ["tokenize", "train", "calibrate", "compress", "score", "count", "mix", "audit"]


def test_show_prints_every_field_with_overrides_applied(capsys):
    assert main(["show", "demo", "--set", "train.steps=77", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["train"]["steps"] == 77
    assert main(["show", "demo"]) == 0
    text, remarks = capsys.readouterr()
    assert "train.muon_momentum_start" in text
    assert "compress.budget_bytes" in text
    assert remarks == ""
    assert main(["show", "pr715"]) == 0
    assert capsys.readouterr().err.startswith("training cannot be within 600 s")


def test_plan_as_json_gives_reasons_seconds_and_cost(ran, capsys):
    arguments = ["plan", *wide_arguments(ran, "compress.zstd_levels=5"), "--json", "--price-per-hour", "36"]
    assert main(arguments) == 0
    plan = json.loads(capsys.readouterr().out)
    by_node = {step["node"]: step for step in plan["steps"]}
    assert by_node["compress[1]"]["reasons"] == ["zstd_levels [16, 1, 17, 2] → [5]"]
    assert by_node["train[1]"]["action"] == "reuse"
    assert plan["expected_cost"] == pytest.approx(plan["expected_s"] / 100, abs=1e-4)
    assert plan["expected_wall_cost"] == pytest.approx(plan["expected_wall_s"] / 100, abs=1e-4)
    assert plan["reused_cost"] == pytest.approx(plan["reused_s"] / 100, abs=1e-4)
    # Two seeds: what follows of one does not wait for the other.
    assert plan["expected_s"] / 2 <= plan["expected_wall_s"] < plan["expected_s"]
    assert plan["refused"] == []
    # Another level is other work, and no earlier run tells how long it takes.
    assert plan["without_estimate"] == ["compress[1]", "compress[2]"]
    assert main([*arguments[:-3], "--price-per-hour", "36"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    least = f"{plan['expected_wall_s'] / 100:.2f}"
    assert last.endswith(f"cost at least {least}, without compress ×2, saved {plan['reused_s'] / 100:.2f}")


def test_a_plan_gives_its_seconds_as_one_range():
    def said(seconds, wall_s, *unknown):
        totals = Totals(to_run=3, seconds=seconds, wall_s=wall_s, unknown=unknown, reused=0, reused_s=0.0)
        return _sentences(totals, None)[1]

    whole = "358.7 s (stages side by side) to 543.1 s (one after the other) to run"
    assert said(543.1, 358.7) == whole
    assert said(543.1, 358.7, "train[1]", "mix[1]") == f"{whole}, and what train[1], mix[1] will take"
    assert said(50.0, 50.0) == "about 50.0 s to run"
    assert said(50.0, 50.0, "mix[1]") == "at least 50.0 s to run, without mix[1]"


def test_a_price_is_a_range_where_all_is_known(ran, capsys):
    arguments = ["plan", *wide_arguments(ran, "train.muon_lr=0.01"), "--price-per-hour", "36"]
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["without_estimate"] == []
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    least, most = f"{plan['expected_wall_s'] / 100:.2f}", f"{plan['expected_s'] / 100:.2f}"
    assert " s (stages side by side) to " in last
    assert last.endswith(f"cost {least} to {most}, saved {plan['reused_s'] / 100:.2f}")


def test_a_plan_of_more_steps_and_of_another_network_tells_the_one_and_leaves_the_other_open(ran, capsys):
    def steps_of(*overrides):
        assert main(["plan", *wide_arguments(ran, *overrides), "--json"]) == 0
        return {step["node"]: step for step in json.loads(capsys.readouterr().out)["steps"]}

    records = {record.node: record for record in Store(ran / "store").records("train")}
    longer = steps_of("train.steps=4000")["train[1]"]
    # At the pace of one of the two seeds, which did 4 steps each.
    paces = [record.wall_s + 999 * record.phases_s["train"] for record in records.values()]
    assert any(longer["expected_s"] == pytest.approx(seconds, abs=0.01) for seconds in paces)
    assert longer["expected_note"] == "4,000 steps at the pace of 4"
    wider = steps_of("model.width=320")
    assert {name for name, step in wider.items() if step["expected_s"] is None} == {
        *(f"{stage}[{seed}]" for stage in ("train", "calibrate", "compress", "score") for seed in SEEDS),
        f"audit[{SEEDS[0]}]",
    }
    assert wider["score[1]"]["expected_note"] == "earlier runs here were of other work: model.width 32 → 320"


@pytest.mark.parametrize("columns", [60, 80, 110])
def test_a_plan_on_a_terminal_stays_within_its_columns(ran, columns):
    import pty

    leader, follower = pty.openpty()
    places = wide_arguments(ran, "compress.zstd_levels=5", "headline.order=2")
    shown = subprocess.Popen(
        [sys.executable, "-m", "flows.commands.cli", "plan", *places, "--price-per-hour", "36"],
        stdout=follower,
        env={**os.environ, "COLUMNS": str(columns)},
    )
    os.close(follower)
    text = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(leader, 65_536):
            text += part
    os.close(leader)
    assert shown.wait(60) == 0
    lines = text.decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= columns
    assert "saved" in lines[-1] + lines[-2]


def test_plan_says_where_a_stage_last_ran_when_nothing_comparable_is_known(ran, capsys):
    assert main(["plan", *wide_arguments(ran, "train.steps=5"), "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (train,) = [line for line in lines if " train[1] " in line]
    assert " ?  train.steps 4 → 5  (last ran on " in train
    assert lines[-1].endswith("to run, and what train ×2, score ×2 will take")


def test_results_come_as_table_csv_and_json(ran, capsys):
    where = ["results", "--results", str(ran / "results")]
    assert main(where) == 0
    text = capsys.readouterr().out
    assert "ranking: normalized, causal, within budget" in text
    assert "legacy scores" in text
    assert main([*where, "--json"]) == 0
    lists = json.loads(capsys.readouterr().out)
    assert all(row["estimator"] != "hashed" for row in lists["ranking"])
    assert all(row["estimator"] == "hashed" for row in lists["legacy"])
    assert main([*where, "--csv", "--where", "estimator=neural", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("run_key,recipe,recipe_key,seed,estimator")


def test_a_headline_declared_over_scores_that_the_store_held_is_marked_and_not_ranked(
    ran, tmp_path, capsys, monkeypatch
):
    where = ["--results", str(tmp_path)]
    for _ in range(2):
        assert main(["run", *wide_arguments(ran), *where]) == 0
        assert "declared late: hashed, exact: declared 20" in capsys.readouterr().out
    assert main(["run", *wide_arguments(ran), *where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["declared"]
    assert {name: each["declared_before_scoring"] for name, each in told.items()} == {"exact": False, "hashed": False}
    assert main(["results", *where, "--table", "declarations", "--json"]) == 0
    (declared,) = json.loads(capsys.readouterr().out)
    assert main(["results", *where, "--json"]) == 0
    lists = json.loads(capsys.readouterr().out)
    assert [row["estimator"] for row in lists["ranking"]] == ["neural"]
    headline, *others = lists["found_by_looking"]
    assert (headline["declared"], headline["declared_utc"]) == ("after scoring", declared["declared_utc"])
    assert {row["declared"] for row in others} == {"no"}
    assert len({row["val_sha256"] for rows in lists.values() for row in rows}) == 1
    for width in (60, 80, 110):
        monkeypatch.setenv("COLUMNS", str(width))
        for arguments in (["results", *where], ["results", *where, "--rows"]):
            assert main(arguments) == 0
            assert max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_results_of_an_empty_folder_say_how_to_get_some(tmp_path, capsys):
    assert main(["results", "--results", str(tmp_path)]) == 0
    assert "`pgolf run RECIPE` writes some" in capsys.readouterr().err


def test_a_run_draws_its_grid_once_and_figures_draws_it_again_from_the_tables_alone(ran, tmp_path, capsys):
    shutil.copytree(ran / "results" / "scores", tmp_path / "scores")
    arguments = ["run", *wide_arguments(ran), "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    drawn = {path.name: path.read_bytes() for path in Path(told["figures"]).iterdir()}
    assert sorted(drawn.keys() - {KEYS}) == sorted(
        f"{name}.{ending}"
        for name in ("adaptive-curves", "backoff-curves", "backoff-map", "fixed-curves", "fixed-map")
        for ending in ("png", "svg")
    )
    changed = {path: path.stat().st_mtime_ns for path in Path(told["figures"]).iterdir()}
    assert main(["run", *wide_arguments(ran)]) == 0
    assert f"\nfigures: {told['figures']}\n" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path(told["figures"]).iterdir()} == changed
    assert main(["figures", "demo", "--results", str(tmp_path), "--json"]) == 0
    ((key, folder),) = json.loads(capsys.readouterr().out).items()
    assert key == told["run_key"]
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == drawn
    assert main(["figures", "nope", "--results", str(tmp_path)]) == 2
    assert f"begins with 'nope'; there are {key}" in capsys.readouterr().err


def test_a_run_ends_with_its_report_and_its_tables_outlive_what_it_was_made_from(ran, tmp_path, capsys):
    assert main(["run", *wide_arguments(ran)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    written = Path(last.removeprefix("report: "))
    assert written.parent == ran / "results" / "reports"
    whole = written.read_text()
    for heading in ("Training", "Where the bits go", "Where the bytes go", "Time", "Text, token by token"):
        assert f">{heading}</h2>" in whole
    assert "class_=" not in whole
    assert 'class="missing"' not in whole
    assert whole.count("every step") == 2
    shutil.copytree(ran / "results", tmp_path / "results")
    arguments = ["report", written.stem, "--results", str(tmp_path / "results")]
    gone = ["--store", str(tmp_path / "gone")]
    assert main([*arguments, *gone, "--out", str(tmp_path / "again.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"report": str(tmp_path / "again.html"), "size_bytes": len(whole.encode())}
    assert (tmp_path / "again.html").read_text() == whole
    for name in ("losses", "breakdowns", "samples", "tensors"):
        shutil.rmtree(tmp_path / "results" / name)
    assert main([*arguments, *gone]) == 0
    page = (tmp_path / "results" / "reports" / written.name).read_text()
    [said] = re.findall(r"<p class=\"note\">(no .*?)</p>", page)
    what = "no losses by step, bytes by tensor, losses by place and kind of token, samples of text"
    assert re.fullmatch(rf"{what}: there is no store to look in: train-\w+, .* and 2 more", said)
    assert ">Training</h2>" not in page


def test_a_report_of_damaged_outputs_says_which_and_shows_the_rest(ran, tmp_path, capsys):
    shutil.copytree(ran / "store", tmp_path / "store")
    for name in ("scores", "stages", "attempts", "runs"):
        shutil.copytree(ran / "results" / name, tmp_path / "results" / name)
    trace = next((tmp_path / "store").glob("score-*/trace.arrow"))
    trace.chmod(0o644)
    trace.write_bytes(trace.read_bytes()[:-1])
    shutil.rmtree(next((tmp_path / "store").glob("train-*")))
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["report", "demo", *places, "--price-per-hour", "20"]) == 0
    page = Path(capsys.readouterr().out.strip().removeprefix("report  ")).read_text()
    damaged = f"no losses by place and kind of token, samples of text: {trace.parent.name}: file trace.arrow has"
    assert damaged in page
    assert f"no losses by step: not in {tmp_path / 'store'}: train-" in page
    assert ">Training</h2>" in page  # of the other seed
    assert "Time and money" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--price-per-hour", "nan"], "--price-per-hour is nan; give a price such as 23.92"),
        (["demmo"], "no run demmo; there are "),
        (["demo", "--out", "{folder}"], "could not be written to"),
    ],
)
def test_a_report_that_cannot_be_is_refused_in_words(ran, tmp_path, capsys, words, said):
    words = [word.format(folder=tmp_path) for word in words]
    assert main(["report", *words, "--results", str(ran / "results"), "--store", str(ran / "store")]) == 2
    assert said in capsys.readouterr().err


def test_the_result_is_filed_and_shown_before_anything_is_drawn_and_drawing_has_its_share(
    ran, tmp_path, capsys, monkeypatch
):
    arguments = wide_arguments(ran)
    arguments[arguments.index("--results") + 1] = str(tmp_path)

    def fail(*_arguments, **_options):
        raise ResultsError("no room for pictures")

    monkeypatch.setattr("pgolf.pipeline.pages.draw_run", fail)
    assert main(["run", *arguments]) == 2
    told = capsys.readouterr()
    assert "no room for pictures" in told.err
    table = re.search(r"^table: (\S+) ", told.out, re.MULTILINE)
    assert Path(table[1]).is_file()
    monkeypatch.setattr("pgolf.pipeline.pages.draw_run", lambda *_arguments, **_options: None)
    assert main(["run", *arguments]) == 0
    shares = r"\d+\.\d s in all: stages 0\.0 s \(0 %\), drawing \d+\.\d s \(\d+ %\), start-up and tables \d+\.\d s"
    assert re.search(shares, capsys.readouterr().err)


def test_verify_names_the_damaged_file_and_ends_with_1(ran, tmp_path, capsys):
    shutil.copytree(ran / "store", tmp_path / "store")
    assert main(["verify", "--store", str(tmp_path / "store")]) == 0
    capsys.readouterr()
    trace = next((tmp_path / "store").glob("score-*/trace.arrow"))
    trace.chmod(0o644)
    trace.write_bytes(trace.read_bytes()[:-1])
    assert main(["verify", "--store", str(tmp_path / "store"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (bad,) = [item for item in report["outputs"] if item["damage"]]
    assert bad["folder"] == trace.parent.name
    assert "trace.arrow has" in bad["damage"]


def test_gc_is_a_dry_run_until_told_otherwise(ran, tmp_path, capsys):
    shutil.copytree(ran / "store", tmp_path / "store")
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "none")]
    assert main(["gc", *places, "--delete"]) == 2
    assert "holds no result tables" in capsys.readouterr().err
    note_results(Store(tmp_path / "store"), ran / "results")
    places += ["--without-results", "--what", "all"]
    assert main(["gc", *places]) == 0
    assert "would go: 0 folders" in capsys.readouterr().out, "the store remembers where its results are"
    shutil.rmtree(tmp_path / "store" / "referring")
    assert main(["gc", *places]) == 0
    assert "--delete removes them" in capsys.readouterr().out
    assert len(list(Store(tmp_path / "store").artifacts())) == 14
    running = tmp_path / "store" / ".running"
    running.mkdir(exist_ok=True)
    died = subprocess.run([sys.executable, "-c", DIED, str(tmp_path / "store")], check=False)
    assert (died.returncode, len(list(running.iterdir()))) == (0, 1)
    assert main(["gc", *places, "--delete"]) == 2
    assert "(100%), more than half" in capsys.readouterr().err
    assert len(list(Store(tmp_path / "store").artifacts())) == 14
    assert main(["gc", *places, "--delete", "--yes-most", "--json"]) == 0
    assert list(running.iterdir()) == []
    assert json.loads(capsys.readouterr().out)["deleted"] is True
    assert list(Store(tmp_path / "store").artifacts()) == []


def test_a_run_that_was_killed_while_it_filed_is_filed_whole_by_the_next(ran, tmp_path, capsys):
    shutil.copytree(ran / "results", tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "stages")
    arguments = wide_arguments(ran)
    arguments[arguments.index("--results") + 1] = str(tmp_path / "results")
    places = ["--store", str(ran / "store"), "--results", str(tmp_path / "results"), "--without-results"]
    assert main(["gc", *places]) == 0, "nothing to read"
    for _again in range(2):
        assert main(["run", *arguments, "--no-prefect"]) == 0
        assert len(list((tmp_path / "results" / "stages").iterdir())) == 1
    assert main(["gc", *places]) == 0
    assert f"results {tmp_path / 'results'}: 14 outputs in use" in in_one_line(capsys)


def test_a_sweep_reruns_the_mixtures_and_refuses_to_train(ran, capsys):
    assert main(["sweep", *wide_arguments(ran, "mix.alphas=0.1,0.4"), "--no-prefect", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["ran"]) == {"mix[1]", "mix[2]"}
    assert main(["sweep", *wide_arguments(ran, "train.steps=9"), "--no-prefect"]) == 2
    told = capsys.readouterr().err
    assert "train[1]: train.steps 4 → 9" in told


@pytest.mark.parametrize("width", [60, 80, 110])
@pytest.mark.parametrize(
    "words",
    [
        *(["results", "--table", table] for table in ("scores", "attempts", "stages", "declarations", "runs")),
        *(["results"], ["results", "--rows"], ["gc", "--without-results", "--what", "all"], ["verify"], ["recipes"]),
        *(["show", "demo"], ["plan"], ["watch", "--once"]),
    ],
    ids=" ".join,
)
def test_what_is_printed_fits_the_terminal(ran, words, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    places = {"results": ["--results"], "gc": ["--store"], "verify": ["--store"], "watch": ["--store"]}
    words = ["plan", *wide_arguments(ran, "compress.zstd_levels=5")] if words == ["plan"] else words
    words = [*words, *(part for option in places.get(words[0], []) for part in (option, str(ran / option[2:])))]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    too_long = [line for line in lines if len(line) > width]
    # A single word, such as a path or the value of a setting, stays whole to be copied.
    assert [line for line in too_long if len(line.split()) > 1] == []


def test_wide_shows_what_does_not_fit(ran, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    words = ["results", "--table", "attempts", "--results", str(ran / "results")]
    assert main(words) == 0
    assert "--wide shows all" in in_one_line(capsys)
    assert main([*words, "--wide"]) == 0
    told = capsys.readouterr().out
    assert "--wide" not in told
    assert "checkpoint_sha256" in told


def test_keys_of_json_have_no_blanks(ran, capsys):
    def keys(value):
        if isinstance(value, dict):
            return {*value, *(key for part in value.values() for key in keys(part))}
        return {key for part in value for key in keys(part)} if isinstance(value, list) else set()

    assert main(["run", *wide_arguments(ran), "--json"]) == 0
    found = keys(json.loads(capsys.readouterr().out))
    assert "honest_exact_backoff_bpb" in found
    assert [key for key in found if any(letter.isspace() or letter == ":" for letter in key)] == []


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (["--recipe", "nope"], "recipe=nope fits none: there is recipe demo"),
        (["--seed", "9"], "seed=9 fits none: there is seed 1, 2"),
        (["--where", "estimator=foo"], "estimator=foo fits none: there is estimator exact, hashed, neural"),
        (["--where", "bpb<0.1"], "bpb<0.1 fits none: there is bpb "),
        (["--tag", "nope"], "no run has the tag nope: there are none"),
        (["--seed", "1", "--where", "bpb<0.1", "--rows"], "bpb<0.1 fits none"),
    ],
)
def test_filters_that_fit_nothing_say_what_there_is_and_end_with_1(ran, filters, says, capsys):
    assert main(["results", "--results", str(ran / "results"), *filters]) == 1
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == ""
    assert main(["results", "--results", str(ran / "results"), *filters, "--json"]) == 1
    json.loads(capsys.readouterr().out)


def test_a_run_is_removed_when_its_owner_agrees_and_comes_back(ran, tmp_path, capsys, monkeypatch):
    shutil.copytree(ran / "results", tmp_path / "results")
    where = ["--results", str(tmp_path / "results")]
    keys = sorted(path.stem for path in (tmp_path / "results" / "scores").iterdir())
    with monkeypatch.context() as patch:
        answer = io.StringIO("n\n")
        answer.isatty = lambda: True
        patch.setattr("sys.stdin", answer)
        assert main(["rm", *keys, *where]) == 1
    assert f"({keys[0]})" in (told := capsys.readouterr().err) or f"remove {keys[0]}" in told
    assert main(["results", *where]) == 0
    assert capsys.readouterr().err == ""
    assert main(["rm", *keys, "--yes", *where]) == 0
    assert main(["results", *where]) == 0
    assert "`pgolf run RECIPE` writes some" in capsys.readouterr().err
    assert main(["rm", "--restore", *where]) == 0
    assert sorted(line.split()[0] for line in capsys.readouterr().out.splitlines()) == keys
    assert main(["rm", *keys, "--restore", "--json", *where]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["restored"]) == keys
    assert main(["results", *keys, "--rows", *where]) == 0
