"""`pgolf gc`: it cannot take what a run or a result needs, keeps what was paid for, and gives back what it took."""

import errno
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from flows.commands.cli import main
from pgolf.errors import StoreError, StoreFull, StoreUnreadable
from pgolf.identity.stage import Stage
from pgolf.machine.lease import lease
from pgolf.pipeline.referring import note_results
from pgolf.pipeline.upkeep import delete, garbage
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store, build_once
from pgolf.store.output_record import Parent
from pgolf.store.use import users
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES, STAGES
from tests.eventually import eventually
from tests.toy_stage import ToyConfig, toy_key

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of a process that runs elsewhere."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def output(store: Store, stage: str, text: str = "hello", *, parents: tuple[Artifact, ...] = ()) -> Artifact:
    """An output of a stage by that name, made by the toy."""
    named = {"tokenize": ("train", "val"), "train": ("checkpoint",)}.get(stage, ("text",))
    made_by = Stage(name=stage, entry="tests.toy_stage", outputs=dict.fromkeys(named, ("text.txt",)) | {"shout": ()})
    key = replace(toy_key(ToyConfig(text=text)), stage=stage)
    made_from = {f"input{i}": Parent(folder=parent.path.name, outputs={}) for i, parent in enumerate(parents)}
    return build_once(store, made_by, key, node=stage, inputs={}, parents=made_from, run=RunOptions())[0]


def chain(store: Store, text: str = "hello") -> list[Artifact]:
    """Data, a training and its score."""
    data = output(store, "tokenize", text)
    trained = output(store, "train", text, parents=(data,))
    return [data, trained, output(store, "score", text, parents=(trained, data))]


def file_results(store: Store, results: Path, artifacts: list[Artifact], run: str = "demo-1") -> None:
    """File the outputs as a run does."""
    note_results(store, results)
    about = {"recipe": "demo", "built": True}
    rows = [
        about | {"stage": item.record.stage, "node": item.record.node, "key": "k", "folder": item.path.name}
        for item in artifacts
    ]
    append(results, STAGES, run, rows)
    note_results(store, results)


def folders(store: Store) -> set[str]:
    return {path.name for path in store.artifacts()}


def whole(store: Store) -> set[str]:
    """Outputs that are there and sound."""
    return {path.name for path in store.artifacts() if isinstance(store.inspect(path, trust=False), Artifact)}


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return Store(tmp_path / "artifacts")


@pytest.fixture
def filed(store) -> list[Artifact]:
    """A chain that results refer to."""
    artifacts = chain(store)
    file_results(store, Path("results"), artifacts)
    return artifacts


def report(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["gc", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def going(capsys, *arguments: str) -> set[str]:
    return {row["folder"] for row in report(capsys, *arguments)["garbage"] if row["goes"]}


WAITING_RUN = """
import sys
from pathlib import Path
from dataclasses import replace
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store, build_once
from tests.toy_stage import TOY, ToyConfig, toy_key
store = Store(Path(sys.argv[1]))
def build(text, device):
    run = RunOptions(device=device, lease_dir=Path(sys.argv[2]))
    build_once(store, TOY, toy_key(ToyConfig(text=text)), node=text, inputs={}, parents={}, run=run,
               on_queue=lambda _: print("queues", flush=True))
with store.using("pgolf run demo"):
    build("finished", "cpu")
    build("waiting", "cuda")
"""


def test_a_run_that_waits_for_devices_keeps_what_it_has_finished_and_is_named(store, filed, tmp_path, capsys):
    with lease(tmp_path / "devices", ("toy-0",), 1, log_line=lambda _: None):
        command = [sys.executable, "-c", WAITING_RUN, str(store.root), str(tmp_path / "devices")]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        assert run.stdout is not None
        assert run.stdout.readline() == "queues\n"
        before = folders(store)
        assert toy_key(ToyConfig(text="finished")).folder in before
        for deletes in (["--delete", "--yes-most"], ["--restore"], ["--empty-bin"]):
            assert main(["gc", *deletes]) == 2
            told = capsys.readouterr().err
            assert f"pid {run.pid}, since 20" in told
            assert "pgolf run demo" in told
        assert folders(store) == before
        assert going(capsys) == {toy_key(ToyConfig(text="finished")).folder}, "a look is free"
        run.send_signal(signal.SIGKILL)
        run.communicate()
    assert main(["gc", "--delete"]) == 0
    assert folders(store) == {item.path.name for item in filed}
    assert list((store.root / ".locks").glob("user-*")) == []


def test_a_run_that_comes_while_something_is_deleted_waits_and_says_for_whom(store, filed):
    said, entered = [], threading.Event()

    def come() -> None:
        with Store(store.root).using("pgolf run demo", said.append):
            entered.set()

    with store.alone("pgolf gc --delete"):
        comer = threading.Thread(target=come)
        comer.start()
        eventually(lambda: said, "it says that it waits")
        assert f"pgolf gc --delete ({os.uname().nodename}, pid {os.getpid()}, since " in said[0]
        assert not entered.is_set()
    comer.join(timeout=30)
    assert entered.is_set()
    assert len(said) == 1


def test_runs_use_a_store_together_and_a_process_holds_it_until_its_last_run_ends(store, filed):
    with store.using("one"):
        with Store(store.root).using("two"):
            pass
        assert [user.what for user in users(store.root)] == ["one"]
        with pytest.raises(StoreError, match="is in use"), store.alone("gc"):
            pass
    with store.alone("gc"):
        pass


def test_all_folders_of_results_that_ever_referred_to_the_store_are_asked(store, filed, tmp_path, capsys):
    others = chain(store, "other")
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far")
    file_results(store, Path("link/tables"), others)
    loose = output(store, "score", "loose")
    assert going(capsys) == {loose.path.name}
    asked = report(capsys)["results"]
    assert {item["path"] for item in asked} == {str(tmp_path / "results"), str(tmp_path / "far" / "tables")}
    (tmp_path / "link").unlink()
    assert main(["gc", "--delete", "--what", "all", "--store", str(store.root)]) == 0
    assert folders(store) == {item.path.name for item in (*filed, *others)}


def absent(results: Path) -> None:
    shutil.rmtree(results)


def a_file(results: Path) -> None:
    shutil.rmtree(results)
    results.write_text("")


def stages_a_file(results: Path) -> None:
    shutil.rmtree(results / "stages")
    (results / "stages").write_text("")


def no_stages(results: Path) -> None:
    shutil.rmtree(results / "stages")


def emptied(results: Path) -> None:
    for path in (results / "stages").iterdir():
        path.unlink()


def hidden_only(results: Path) -> None:
    for path in (results / "stages").iterdir():
        path.rename(path.with_name(f".{path.name}"))


def replaced(results: Path) -> None:
    emptied(results)
    append(results, STAGES, "new-1", [{"recipe": "n", "stage": "mix", "node": "m", "key": "k", "built": True}])


def damaged(results: Path) -> None:
    next((results / "stages").iterdir()).write_bytes(b"PAR1 no more")


def dangling(results: Path) -> None:
    shutil.rmtree(results)
    results.symlink_to("nowhere")


@pytest.mark.parametrize(
    "harm", [absent, a_file, stages_a_file, no_stages, emptied, hidden_only, replaced, damaged, dangling]
)
def test_results_that_are_gone_stop_the_collection_until_they_are_forgotten(store, filed, tmp_path, capsys, harm):
    other = tmp_path / "elsewhere"
    trained = chain(store, "other")
    file_results(store, other, trained)
    everything = folders(store)
    harm(other)
    for arguments in ([], ["--delete", "--what", "all", "--yes-most"], ["--delete", "--without-results"]):
        assert main(["gc", *arguments]) == 2
        told = capsys.readouterr().err
        assert str(other) in told
        assert f"--forget {other}" in told
    assert folders(store) == everything
    assert main(["gc", "--delete", "--what", "all", "--yes-most", "--forget", str(other)]) == 0
    assert folders(store) == {item.path.name for item in filed}
    assert main(["gc"]) == 0, "forgotten it is for good"
    assert main(["gc", "--restore"]) == 0
    assert whole(store) == everything


def test_scores_whose_outputs_nobody_names_any_more_stop_a_collection_in_an_old_store(store, filed, capsys):
    shutil.rmtree(store.root / "referring")
    Path("results/scores").mkdir()
    Path(f"results/{SCORES.name}/demo-1.parquet").write_bytes(b"scores")
    emptied(Path("results"))
    assert main(["gc", "--results", "results", "--delete"]) == 2
    assert "names no output" in capsys.readouterr().err
    assert folders(store) == {item.path.name for item in filed}


def test_a_store_that_remembers_no_results_deletes_nothing_until_all_are_named(store, filed, capsys):
    shutil.rmtree(store.root / "referring")
    others = chain(store, "other")
    append(
        Path("other"),
        STAGES,
        "r",
        [{"recipe": "d", "stage": "score", "node": "s", "key": "k", "built": True, "folder": others[-1].path.name}],
    )
    assert main(["gc"]) == 0
    assert "does not remember" in capsys.readouterr().err
    assert main(["gc", "--delete", "--what", "all"]) == 2
    assert "name every folder of results with --results" in capsys.readouterr().err
    named = ["--results", "results", "--results", "other"]
    assert main(["gc", "--delete", "--what", "all", *named]) == 0
    assert folders(store) == {item.path.name for item in (*filed, *others)}
    assert main(["gc", "--delete", "--what", "all"]) == 0, "and now it remembers them"
    assert folders(store) == {item.path.name for item in (*filed, *others)}


def test_a_store_that_moved_finds_its_results(store, filed, tmp_path, capsys, monkeypatch):
    loose = output(store, "score", "loose").path.name
    (tmp_path / "deep").mkdir()
    shutil.move(store.root, tmp_path / "deep" / "moved")
    monkeypatch.chdir("/")
    assert going(capsys, "--store", str(tmp_path / "deep" / "moved")) == {loose}


def test_a_project_that_moved_as_a_whole_keeps_what_its_results_name(store, filed, tmp_path, capsys, monkeypatch):
    loose = output(store, "score", "loose").path.name
    (tmp_path / "new").mkdir()
    for name in ("artifacts", "results"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    monkeypatch.chdir("/")
    place = ["--store", str(tmp_path / "new" / "artifacts")]
    assert going(capsys, *place) == {loose}
    assert main(["gc", *place, "--delete"]) == 0
    assert len(list((tmp_path / "new" / "artifacts" / "referring").iterdir())) == 1
    assert len(whole(Store(tmp_path / "new" / "artifacts"))) == 3


def test_results_of_another_machine_keep_what_was_noted_of_them(store, filed, tmp_path, monkeypatch, capsys):
    others = chain(store, "other")
    with monkeypatch.context() as patched:
        patched.setattr("pgolf.pipeline.referring.host_name", lambda: "node-7")
        file_results(store, tmp_path / "there", others)
    shutil.rmtree(tmp_path / "there")
    assert going(capsys, "--what", "all") == set()
    assert main(["gc"]) == 0
    assert "on node-7, as noted 20" in capsys.readouterr().out


def test_data_trainings_and_unfinished_work_stay_until_they_are_asked_for(store, filed, capsys):
    data, trained, score = (item.path.name for item in chain(store, "other"))
    partial = store.root / "partial" / "train-0123456789ab"
    partial.mkdir(parents=True)
    (partial / "state").write_bytes(b"half")
    log = store.root / "failed" / "mix-0123456789ab"
    log.mkdir(parents=True)
    (log / "mix.log").write_text("why it failed")
    assert going(capsys) == {score, log.name}
    assert going(capsys, "--what", "unfinished") == {score, log.name, partial.name}
    assert going(capsys, "--what", "checkpoints") == {score, log.name, trained}
    assert going(capsys, "--what", "data") == {score, log.name}, "the training stays, which was made from it"
    assert going(capsys, "--what", "data,checkpoints") == {score, log.name, trained, data}
    assert going(capsys, "--what", "all", "--older-than", "30d") == set()
    month_ago_s = time.time() - 31 * 86_400
    for path in (store.root / score, *(store.root / score).rglob("*")):
        os.utime(path, (month_ago_s, month_ago_s))
    assert going(capsys, "--what", "all", "--older-than", "30d") == {score}
    assert main(["gc", "--what", "checkpoint"]) == 2
    assert (
        "there are outputs, damaged, leftovers, logs, data, checkpoints, unfinished and all" in capsys.readouterr().err
    )
    assert main(["gc", "--older-than", "30"]) == 2
    assert "such as 12h or 30d" in capsys.readouterr().err


def test_what_it_cost_is_said_per_folder_and_in_all(store, filed, capsys):
    *_, score = chain(store, "other")
    told = report(capsys, "--price-per-hour", "3600", "--what", "all")
    records = {record.folder: record for record in store.records()}
    assert {row["folder"]: row["wall_s"] for row in told["garbage"]} == {
        folder: record.wall_s for folder, record in records.items() if folder not in {i.path.name for i in filed}
    }
    assert all(row["cost"] == pytest.approx(row["wall_s"]) for row in told["garbage"])
    assert told["cost"] == pytest.approx(sum(row["cost"] for row in told["garbage"]), abs=1e-3)
    assert told["size_bytes"] == sum(row["size_bytes"] for row in told["garbage"])
    assert score.record.size_bytes < told["garbage"][0]["size_bytes"]
    assert main(["gc", "--price-per-hour", "nan"]) == 2


def test_more_than_half_of_the_store_goes_only_when_that_is_said(store, filed, capsys):
    for text in ("a", "b", "c"):
        output(store, "score", text)
    everything = folders(store)
    output(store, "score", "d" * 5000)
    assert main(["gc", "--delete", "--yes"]) == 2
    assert "more than half; look at `pgolf gc` first, and add --yes-most" in capsys.readouterr().err
    assert everything < folders(store)
    assert main(["gc", "--delete", "--yes-most"]) == 0
    assert folders(store) == {item.path.name for item in filed}


def test_the_bin_gives_back_a_folder_a_batch_or_all_and_can_be_emptied(store, filed, capsys):
    first, second = (output(store, "score", text).path.name for text in ("first", "second"))
    assert report(capsys, "--delete")["bin"]["folders"] == 2
    assert main(["gc"]) == 0
    assert "the bin holds 2 folders" in capsys.readouterr().out
    assert main(["gc", "--restore", "nothing"]) == 2
    assert f"{first}" in capsys.readouterr().err
    assert main(["gc", "--restore", first]) == 0
    assert first in whole(store)
    assert second not in folders(store)
    batch = report(capsys, "--delete")["batch"]
    assert main(["gc", "--restore", batch]) == 0
    assert {first, second} & folders(store) == {first}
    output(store, "score", "second")
    assert main(["gc", "--restore"]) == 0
    assert f"stays in the bin  {second}" in capsys.readouterr().out
    assert main(["gc", "--empty-bin", "--older-than", "1d"]) == 0
    assert report(capsys)["bin"]["folders"] == 1
    assert main(["gc", "--empty-bin"]) == 0
    assert report(capsys)["bin"] == {"folders": 0, "size_bytes": 0}
    report(capsys, "--delete", "--now")
    assert folders(store) == {item.path.name for item in filed}
    assert report(capsys)["bin"] == {"folders": 0, "size_bytes": 0}
    assert list(store.root.glob(".gone-*")) == []


class Killed(BaseException):
    """As kill -9: nothing that would clean up runs on."""


@pytest.mark.parametrize("renames", [0, 1, 2, 3, 4])
def test_a_collection_that_is_killed_anywhere_loses_nothing(store, filed, capsys, monkeypatch, renames):
    everything = {output(store, "score", text).path.name for text in "abc"} | {item.path.name for item in filed}
    left, real = [renames], os.replace

    def rename(source, target):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("pgolf.store.durable.os.replace", rename)
        with suppress(Killed):
            main(["gc", "--delete", "--yes-most"])
    assert {item.path.name for item in filed} <= whole(store)
    in_bin = {item for batch in store.bin.batches() for item in batch.items}
    assert whole(store) | in_bin == everything
    if renames % 2:
        assert main(["gc", "--delete", "--yes-most"]) == 0
        assert folders(store) == {item.path.name for item in filed}
    left[0] = 1
    with monkeypatch.context() as patched:
        patched.setattr("pgolf.store.durable.os.replace", rename)
        with suppress(Killed):
            main(["gc", "--restore"])
    assert main(["gc", "--restore"]) == 0
    assert whole(store) == everything
    assert store.bin.batches() == []


KILLED_GC = """
import os, signal, sys
from pgolf.store import bin
real = bin.put
def put(source, target):
    real(source, target)
    if "bin" in target.parts:
        os.kill(os.getpid(), signal.SIGKILL)
bin.put = put
from flows.commands.cli import main
main(["gc", "--delete", "--yes-most"])
"""


def test_kill_9_of_a_collection_frees_the_store_and_a_restore_completes(store, filed, capsys):
    everything = {output(store, "score", text).path.name for text in "abc"} | {item.path.name for item in filed}
    killed = subprocess.run([sys.executable, "-c", KILLED_GC], check=False, env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert len(folders(store)) == len(everything) - 1
    with store.using("a run"):
        pass
    assert main(["gc", "--restore"]) == 0
    assert whole(store) == everything


def test_a_removal_for_good_that_is_killed_leaves_no_half_output(store, filed, monkeypatch, capsys):
    loose = output(store, "score", "loose")

    def dies(path: Path) -> None:
        next(path.glob("*.txt")).unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("pgolf.store.bin._remove", dies)
        with suppress(Killed):
            delete(store, [item for item in garbage(store, []) if item.name == loose.path.name])
    assert whole(store) == folders(store) == {item.path.name for item in filed}
    assert main(["gc", "--delete"]) == 0
    assert list(store.root.glob(".gone-*")) == []


def answer(words: bytes) -> tuple[int, str]:
    """What `pgolf gc --delete` does on a terminal where a person types this."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flows.commands.cli", "gc", "--delete"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    os.write(ours, words)
    told, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return process.returncode, told


def test_a_person_is_asked_first(store, filed):
    loose = output(store, "score", "loose").path.name
    code, told = answer(b"n\n")
    assert (code, loose in folders(store)) == (1, True)
    assert told.index(loose) < told.index("move this to the bin? [y/N]")
    assert "nothing was deleted" in told
    code, told = answer(b"y\n")
    assert (code, loose in folders(store)) == (0, False)


@pytest.mark.parametrize("columns", [60, 80, 110])
def test_the_list_fits_the_terminal(store, filed, capsys, monkeypatch, columns):
    chain(store, "other")
    monkeypatch.setenv("COLUMNS", str(columns))
    long = len(str(Path.cwd()))  # a path is not cut
    assert main(["gc", "--price-per-hour", "24"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if str(Path.cwd()) not in line]
    assert max(map(len, lines)) <= columns, long
    assert any("to make it again" in line for line in lines)


def test_a_store_without_write_permission_can_be_looked_at_and_used(store, filed, tmp_path, capsys):
    loose = output(store, "score", "loose").path.name
    if subprocess.run(
        ["mount", "--bind", "-o", "ro", store.root, store.root], capture_output=True, check=False
    ).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (store.root / "x").touch()
        assert going(capsys) == {loose}
        with store.using("a run"):
            assert output(store, "score", "loose").path.name == loose
            assert "could not be noted" in str(note_results(store, tmp_path / "more"))
        assert main(["gc", "--delete"]) == 2
        assert str(store.root) in capsys.readouterr().err
        assert loose in whole(store)
    finally:
        subprocess.run(["umount", store.root], check=True)


def test_what_results_name_stays_whatever_has_become_of_its_record(store, filed, capsys):
    data, trained, score = filed
    for path in (trained.path, score.path):
        path.chmod(0o755)
        (path / "record.json").chmod(0o644)
    with (trained.path / "record.json").open("a") as file:
        file.write("x")
    (score.path / "record.json").unlink()
    assert going(capsys, "--what", "all") == set()
    assert main(["gc", "--delete", "--yes-most", "--what", "all", "--now"]) == 0
    assert folders(store) == {data.path.name, trained.path.name, score.path.name}


def refuse_to_read(monkeypatch, path: Path, number: int) -> None:
    """Let every attempt to open a file end with an error of the machine."""
    really = os.open

    def opened(name, *arguments, **options):
        if os.fspath(name) == os.fspath(path):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return really(name, *arguments, **options)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("name", ["record.json", "text.txt"])
def test_what_cannot_be_read_now_is_no_damage_and_stops_a_collection(store, filed, capsys, monkeypatch, name, number):
    trained = filed[1]
    (store.root / ".records.sqlite").unlink(missing_ok=True)
    (store.root / ".memo.sqlite").unlink(missing_ok=True)
    refuse_to_read(monkeypatch, trained.path / name, number)
    with pytest.raises(StoreUnreadable, match=f"{trained.path / name} cannot be read .* make it readable, or move"):
        Store(store.root).inspect(trained.path)
    assert main(["verify", "--store", str(store.root)]) == 1
    assert f"{trained.path / name} cannot be read" in capsys.readouterr().out
    if name == "record.json":
        assert main(["gc", "--delete", "--yes-most", "--what", "all"]) == 2
    monkeypatch.undo()
    assert folders(store) == {item.path.name for item in filed}
    assert not (store.root / "quarantine").exists()


@pytest.mark.parametrize("words", [["--empty-bin"], ["--restore"], ["--without-results", "--delete", "--yes-most"]])
def test_a_folder_that_is_no_store_is_left_as_it_is(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    for name in ("bin/tools/t.sh", "failed/notes.txt", ".tmp-x/y"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["gc", "--store", ".", *words]) == 2
    assert f"there is no store at {tmp_path}: it holds no output" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_in_the_bin_of_a_store_only_what_was_put_there_is_touched(store, filed, capsys):
    own = store.root / "bin/tools/t.sh"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert main(["gc", "--empty-bin", "--yes"]) == 0
    assert main(["gc", "--restore"]) == 0
    assert own.read_text() == "mine"


def test_results_that_are_given_and_forgotten_at_once_are_remembered_as_they_are_now(store, filed, tmp_path, capsys):
    shutil.rmtree("results/stages")
    file_results(store, tmp_path / "other", [])
    append(Path("results"), STAGES, "demo-2", [])
    assert main(["gc"]) == 2, "they name less than they did"
    kept = filed[:2]
    about = {"recipe": "demo", "built": True, "stage": "train", "key": "k"}
    append(Path("results"), STAGES, "demo-3", [about | {"node": i.path.name, "folder": i.path.name} for i in kept])
    assert main(["gc", "--results", "results", "--forget", "results", "--delete", "--yes-most"]) == 0
    assert folders(store) == {item.path.name for item in kept}
    assert main(["gc", "--results", "other", "--without-results", "--delete", "--yes-most", "--what", "all"]) == 0
    assert folders(store) == {item.path.name for item in kept}, "they are remembered"


def test_a_note_is_written_anew_before_the_old_one_goes(store, filed, tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere").mkdir()
    for name in ("artifacts", "results"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere/artifacts")
    monkeypatch.setattr(Store, "write_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["gc", "--delete"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(list(moved.notes())) == 1
    assert main(["gc", "--delete", "--yes-most", "--what", "all"]) == 0
    assert folders(moved) == {item.path.name for item in filed}


@pytest.mark.parametrize("harm", ["link", "file", "pipe", "folder"])
def test_notes_that_are_no_notes_stop_a_collection_and_are_not_waited_for(store, filed, capsys, harm):
    notes = store.root / "referring"
    if harm in ("link", "file"):
        shutil.rmtree(notes)
        notes.symlink_to("../nowhere") if harm == "link" else notes.write_text("")
    else:
        (os.mkfifo if harm == "pipe" else Path.mkdir)(notes / "x.json")
    for words in ([], ["--without-results", "--delete", "--yes-most", "--what", "all"]):
        assert main(["gc", *words]) == 2
        assert f"{notes}" in capsys.readouterr().err
    assert folders(store) == {item.path.name for item in filed}


def test_words_of_users_that_are_none_are_not_waited_for(store, filed):
    huge = b'{"what": 1, "since_utc": 2, "process": {"pid": 1e999}}'
    for number, content in enumerate((None, b"[" * 200_000, huge)):
        note = store.root / ".locks" / f"user-{number}.json"
        os.mkfifo(note) if content is None else note.write_bytes(content)
    command = [sys.executable, "-c", "import sys; from flows.commands.cli import main; sys.exit(main(sys.argv[1:]))"]
    with store.using("pgolf run demo"):
        deleting = subprocess.run([*command, "gc", "--delete"], capture_output=True, text=True, env=environment())
    assert deleting.returncode == 2
    assert "is in use" in deleting.stderr
    assert "pgolf run demo" in deleting.stderr


def test_a_collection_makes_room_on_a_full_disk(store, filed, tmp_path, monkeypatch, capsys):
    output(store, "score", "unused")
    file_results(store, tmp_path / "new", filed)
    (store.root / "referring").rename(tmp_path / "kept")
    (store.root / "referring").mkdir()
    written, write = [], Store.write_note

    def full(self, name, content):
        written.append(name)
        if len(folders(store)) > len(filed):
            raise StoreFull("no space left")
        write(self, name, content)

    monkeypatch.setattr(Store, "write_note", full)
    assert main(["gc", "--results", "results", "--delete", "--now", "--yes-most"]) == 0
    assert folders(store) == {item.path.name for item in filed}
    assert len(written) == 2
    assert len(list(store.notes())) == 1


def test_a_note_that_goes_while_they_are_read_hides_none_behind_it(store, filed, tmp_path):
    for name in ("a", "b"):
        file_results(store, tmp_path / name, [])
    notes, found = store.notes(), []
    found.append(next(notes)[0])
    first, second, third = sorted(path.stem for path in (store.root / "referring").iterdir())
    store.drop_note(second)
    assert [*found, *(name for name, _content in notes)] == [first, third]
