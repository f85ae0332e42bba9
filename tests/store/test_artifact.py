"""The store: complete or absent, verified whenever opened, built once, and never harmed by a killed writer."""

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pgolf.errors import StoreError, StoreFull
from pgolf.machine.beside import at_work
from pgolf.machine.lease import lease
from pgolf.pipeline.upkeep import garbage, refuse_while_building
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Damaged, Store, build_once, import_entry
from pgolf.store.output_record import RECORD_FILE, read_record
from pgolf.store.scratch import load
from tests import toy_stage
from tests.eventually import eventually
from tests.toy_stage import TOY, ToyConfig, toy_key


def build(root: Path, key=None, *, run: RunOptions = RunOptions(), **hooks) -> tuple[Artifact, bool]:  # noqa: B008
    return build_once(Store(root), TOY, key or toy_key(), node="toy", inputs={}, parents={}, run=run, **hooks)


def payload(artifact: Artifact) -> dict[str, bytes]:
    return {name: (artifact.path / name).read_bytes() for name in artifact.record.files}


def test_an_output_is_built_once_and_then_reused(tmp_path):
    first, built = build(tmp_path)
    again, rebuilt = build(tmp_path)
    assert (built, rebuilt) == (True, False)
    assert again.record == first.record
    assert first.path.name == f"toy-{toy_key().digest[:12]}"
    assert set(first.record.files) == {"text.txt", "sub/log.txt"}


def test_named_outputs_are_the_files_bytes_or_what_the_stage_says(tmp_path):
    one, _ = build(tmp_path, toy_key(seed=1))
    two, _ = build(tmp_path, toy_key(seed=2))
    assert one.outputs["text"] == two.outputs["text"], "only the log differs, which is no named output"
    assert one.outputs["shout"] == "HELLO"


def flip_a_byte(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def to_link(path: Path) -> None:
    target = path.with_suffix(".elsewhere")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("harm", "file", "says"),
    [
        (flip_a_byte, "text.txt", "file text.txt altered"),
        (truncate, "sub/log.txt", "file sub/log.txt has 6 bytes, expected 7"),
        (Path.unlink, "text.txt", "file text.txt missing"),
        (to_link, "text.txt", "is not a regular file"),
        (Path.unlink, RECORD_FILE, "record.json missing"),
        (truncate, RECORD_FILE, "record.json is not a record"),
    ],
)
def test_a_damaged_output_is_a_miss_goes_to_quarantine_and_is_built_again(tmp_path, harm, file, says):
    artifact, _ = build(tmp_path)
    before = payload(artifact)
    harm(artifact.path / file)
    found = Store(tmp_path).look(toy_key())
    assert isinstance(found, Damaged)
    assert says in found.why
    rebuilt, built = build(tmp_path)
    assert built
    assert payload(rebuilt) == before
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "sub/../../outside.txt", ""])
def test_a_record_that_names_a_path_outside_its_folder_is_not_followed(tmp_path, name):
    artifact, _ = build(tmp_path)
    (tmp_path / "outside.txt").write_text("secret")
    record = json.loads((artifact.path / RECORD_FILE).read_text())
    record["files"][name] = {"size_bytes": 6, "sha256": "0" * 64}
    (artifact.path / RECORD_FILE).write_text(json.dumps(record))
    found = Store(tmp_path).look(toy_key())
    assert isinstance(found, Damaged)
    assert "outside its folder" in found.why


def test_a_full_disk_publishes_nothing_and_says_so(tmp_path):
    with pytest.raises(StoreFull, match=r"no space left for .* bytes free"):
        build(tmp_path, toy_key(fail="full"))
    assert {path.name for path in tmp_path.iterdir()} == {".locks", "partial"}  # what it has kept for another try


def test_a_failing_stage_leaves_nothing_behind_and_its_own_error(tmp_path):
    with pytest.raises(ValueError, match="told to fail"):
        build(tmp_path, toy_key(fail="value"))
    assert list(tmp_path.glob("*toy*")) == []


def test_a_store_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        build(tmp_path / "store")


def test_two_threads_build_one_key_once_and_the_second_says_that_it_waits(tmp_path):
    key = toy_key(ToyConfig(repeat=5), dawdle_s=0.05)
    results, waited = [], []

    def work():
        results.append(build(tmp_path, key, on_wait=lambda: waited.append(1)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(built for _, built in results) == [False, True]
    assert waited == [1]


def test_who_queues_for_a_device_keeps_nobody_from_building_and_leaves_the_queue_for_what_another_begins(tmp_path):
    """Two nodes on one store: the devices of the first are taken, the second has its own."""
    key = toy_key(ToyConfig(repeat=40), dawdle_s=0.05)
    here, there = (RunOptions(device="cuda", lease_dir=tmp_path / name) for name in ("here", "there"))
    results, heard, waits = [], [], []

    def queue():
        hooks = {"on_queue": heard.append, "on_wait": lambda: waits.append(toy_is_free(there))}
        results.append(build(tmp_path / "store", key, run=here, **hooks))

    with lease(here.lease_dir, ["toy-0"], 1, log_line=pytest.fail):
        queued = threading.Thread(target=queue)
        queued.start()
        while not heard:
            time.sleep(0.01)
        artifact, built = build(tmp_path / "store", key, run=there)
        assert built
        queued.join(timeout=30)
    assert [(found.record, again) for found, again in results] == [(artifact.record, False)]
    (line,) = heard
    assert line.startswith(
        f"waiting for 1 of toy-0 (locks in {here.lease_dir}); toy-0 is held by pid {os.getpid()} of "
    )
    assert waits == [False], "the other was building, on its device"


def test_a_stage_with_cores_of_its_own_has_them_and_its_record_says_what_ran_beside(tmp_path, monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    run = RunOptions(device="cuda", lease_dir=tmp_path / "leases")
    ran_on, make = [], toy_stage.make

    def seen(config, inputs, out, given, **values):
        ran_on.append((os.sched_getaffinity(0), given.lease.cores))
        return make(config, inputs, out, given, **values)

    monkeypatch.setattr(toy_stage, "make", seen)
    with at_work(run.lease_dir, "train[1]", cores):
        plain, _ = build(tmp_path, toy_key(seed=1), run=run)
    assert "ran_beside" not in plain.record.facts
    monkeypatch.setattr(toy_stage, "own_cores", lambda _config, placed: cores[: len(placed.lease.devices)], False)
    with at_work(run.lease_dir, "compress[7]", ()):
        timed, _ = build(tmp_path, toy_key(seed=2), run=run)
    assert timed.record.facts["ran_beside"] == "compress[7] from 0 to 0 s"
    # Kept to what is left; then on all cores, on which its own subprocesses may run whatever this process keeps to.
    assert ran_on == [({cores[-1]}, None), (set(cores), set(cores))]


def test_who_finds_the_lock_taken_gives_the_device_back_before_waiting(tmp_path, monkeypatch):
    key, here = toy_key(), RunOptions(device="cuda", lease_dir=tmp_path / "leases")
    is_held = Store.is_held
    answers = [False]  # the other takes the lock between this look and our try
    monkeypatch.setattr(Store, "is_held", lambda self, folder: answers.pop() if answers else is_held(self, folder))
    free, results = [], []

    def wait():
        results.append(build(tmp_path, key, run=here, on_wait=lambda: free.append(toy_is_free(here))))

    with Store(tmp_path).lock(key):
        waiter = threading.Thread(target=wait)
        waiter.start()
        while not free:
            time.sleep(0.01)
    waiter.join(timeout=30)
    assert free == [True]
    assert [built for _, built in results] == [True], "the other gave it up"


def toy_is_free(run: RunOptions) -> bool:
    def busy(_line: str) -> None:
        raise BlockingIOError

    try:
        with lease(run.lease_dir, ["toy-0"], 1, log_line=busy):
            return True
    except BlockingIOError:
        return False


CHILD = """
import sys
from pathlib import Path
from pgolf.store.artifact import Store, build_once
from pgolf.run_options import RunOptions
from pgolf.store.scratch import load
from tests.toy_stage import TOY, ToyConfig, toy_key
build_once(Store(Path(sys.argv[1])), TOY, toy_key(ToyConfig(repeat=3), dawdle_s=float(sys.argv[2])),
           node="toy", inputs={}, parents={}, run=RunOptions())
"""


def test_after_kill_9_in_mid_stage_a_rerun_completes_and_removes_the_leftovers(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), "30"])
    try:
        eventually((tmp_path / "started").exists, "the child has started", within_s=60)
        assert child.poll() is None, "the child ended by itself"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert len(list(tmp_path.glob(".tmp-toy-*"))) == 1
    # The same key: how long it dawdles is part of it, so the value is passed on as it was.
    key = toy_key(ToyConfig(repeat=3), dawdle_s=30.0)
    assert Store(tmp_path).look(key) is None
    quick = toy_key(ToyConfig(repeat=3), dawdle_s=0.0)
    reference, _ = build(tmp_path / "other", quick)
    with Store(tmp_path).lock(key):  # the dead holder's lock is free
        pass
    artifact = Store(tmp_path).publish(
        key, stage=TOY, node="toy", parents={}, write=lambda out: _copy_toy(out, reference)
    )
    assert payload(artifact) == payload(reference)
    assert list(tmp_path.glob(".tmp-toy-*")) == []


def _copy_toy(out: Path, reference: Artifact):
    from tests.toy_stage import make

    return make(ToyConfig(repeat=3), {}, out, RunOptions())


def test_a_look_that_may_read_little_knows_a_large_output_by_its_files_sizes_and_says_so(tmp_path):
    artifact, _ = build(tmp_path / "store")
    copy = tmp_path / "copy"
    shutil.copytree(artifact.path, copy / artifact.path.name)
    file = next(path for path in sorted((copy / artifact.path.name).iterdir()) if path.name in artifact.record.files)
    file.chmod(0o644)
    file.write_bytes(bytes(file.stat().st_size))
    store, size_bytes = Store(copy), artifact.record.size_bytes
    glance = store.look(toy_key(), most_read_bytes=size_bytes - 1)
    assert isinstance(glance, Artifact)
    assert glance.unverified_bytes == size_bytes
    for most_read_bytes in (size_bytes, math.inf):
        assert "altered" in store.look(toy_key(), most_read_bytes=most_read_bytes).why
    file.write_bytes(b"")
    assert "has 0 bytes" in store.look(toy_key(), most_read_bytes=0).why
    store = Store(tmp_path / "store")
    assert store.look(toy_key()) == artifact
    assert store.look(toy_key(), most_read_bytes=0) == artifact


@pytest.mark.parametrize("change", [{"wall_s": 1e9}, {"gpu": "H100"}, {"outputs": {"text": "f" * 64, "shout": "X"}}])
def test_a_record_with_another_number_in_it_is_damaged(tmp_path, change):
    artifact, _ = build(tmp_path)
    record = json.loads((artifact.path / RECORD_FILE).read_text()) | change
    (artifact.path / RECORD_FILE).write_text(json.dumps(record))
    found = Store(tmp_path).look(toy_key())
    assert isinstance(found, Damaged)
    assert found.why == "record.json altered"


def test_a_record_without_its_key_is_damaged_and_no_crash(tmp_path):
    artifact, _ = build(tmp_path)
    record = json.loads((artifact.path / RECORD_FILE).read_text()) | {"key": {}}
    (artifact.path / RECORD_FILE).write_text(json.dumps(record))
    assert isinstance(Store(tmp_path).look(toy_key()), Damaged)


def test_an_output_whose_code_or_input_changed_during_the_build_is_not_kept(tmp_path):
    with pytest.raises(StoreError, match=r"toy was not kept: while it was being built, code: a\.py changed"):
        build(tmp_path, changed_meanwhile=lambda: ["code: a.py changed"])
    assert Store(tmp_path).look(toy_key()) is None


def scratch_of(root: Path) -> Path:
    return root / "partial" / toy_key().folder


def fails() -> list[str]:
    raise ValueError("not this time")


def test_what_a_stage_that_failed_has_kept_is_there_for_the_next_and_gone_once_the_output_is_published(tmp_path):
    with pytest.raises(ValueError, match="not this time"):
        build(tmp_path, changed_meanwhile=fails)
    assert load(scratch_of(tmp_path) / "begun") == b"1"
    artifact, _ = build(tmp_path)
    assert artifact.record.facts["begun"] == 2
    assert not scratch_of(tmp_path).exists()
    assert set(artifact.record.files) == {"text.txt", "sub/log.txt"}
    assert list(Store(tmp_path).artifacts()) == [artifact.path]


def test_a_writer_is_alive_while_it_holds_the_lock_whatever_its_process_is_called(tmp_path):
    store, key = Store(tmp_path), toy_key()
    no_process = tmp_path / f".tmp-{key.folder}-999999999"
    no_process.mkdir()
    with store.lock(key):
        assert garbage(Store(tmp_path), []) == []
        with pytest.raises(StoreError, match="is being written by a run"):
            refuse_while_building(Store(tmp_path))
    ours = no_process.rename(tmp_path / f".tmp-{key.folder}-{os.getpid()}")  # as a host would name it that has our pid
    assert [item.path for item in garbage(store, [])] == [ours]
    refuse_while_building(store)


def test_records_are_parsed_once_and_again_when_their_file_changed(tmp_path, monkeypatch):
    for seed in range(3):
        build(tmp_path, toy_key(seed=seed))
    first = list(Store(tmp_path).records())
    parsed = []
    monkeypatch.setattr("pgolf.store.artifact.read_record", lambda path: parsed.append(path.name) or read_record(path))
    assert list(Store(tmp_path).records("toy")) == first
    assert list(Store(tmp_path).records("train")) == []
    assert parsed == []
    path = tmp_path / first[1].folder / RECORD_FILE
    path.write_bytes(path.read_bytes().replace(b'"wall_s"', b'"wall_t"'))
    assert list(Store(tmp_path).records()) == [first[0], first[2]]
    assert parsed == [first[1].folder]
    (tmp_path / ".records.sqlite").write_bytes(b"no database" * 100)
    assert list(Store(tmp_path).records()) == [first[0], first[2]]


@pytest.mark.parametrize("damage", ["", "{", "5", '{"toy": "1"}', "[" * 100_000, b"\xff", None])
@pytest.mark.parametrize("table", ["codes", "records"])
def test_a_damaged_index_of_records_is_read_past_and_mended(tmp_path, monkeypatch, table, damage):
    build(tmp_path)
    first = list(Store(tmp_path).records())
    with closing(sqlite3.connect(tmp_path / ".records.sqlite")) as index, index:
        index.execute(f"UPDATE {table} SET body = ?", (damage,))
    assert list(Store(tmp_path).records()) == first
    monkeypatch.setattr("pgolf.store.artifact.read_record", lambda path: pytest.fail(f"{path} was read again"))
    assert list(Store(tmp_path).records()) == first


def test_work_under_a_key_that_changed_meanwhile_is_not_gone_on_from(tmp_path):
    with pytest.raises(StoreError, match="was not kept"):
        build(tmp_path, changed_meanwhile=lambda: ["code: toy.py changed"])
    assert not scratch_of(tmp_path).exists()


def test_unfinished_work_is_garbage_unless_it_is_being_done(tmp_path):
    with pytest.raises(ValueError, match="not this time"):
        build(tmp_path, changed_meanwhile=fails)
    store = Store(tmp_path)
    [found] = garbage(store, [])
    assert found.path == scratch_of(tmp_path)
    assert "unfinished work" in found.why
    during = []

    def look() -> list[str]:
        during.extend(garbage(store, []))
        return []

    build(tmp_path, changed_meanwhile=look)
    assert during == []


def test_stages_that_begin_together_import_a_package_one_after_the_other(tmp_path, monkeypatch):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/__init__.py").write_text("import time\ntime.sleep(0.5)\nVALUE = 11\nfrom slow.part import PART\n")
    (tmp_path / "slow/part.py").write_text("import slow\nPART = slow.VALUE\n")
    (tmp_path / "first_entry.py").write_text("import slow\nVALUE = slow.VALUE\n")
    (tmp_path / "second_entry.py").write_text("import slow.part as part\nVALUE = part.PART\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(import_entry, "first_entry")
        eventually(lambda: "slow" in sys.modules, "the first has begun")
        second = pool.submit(import_entry, "second_entry")
        assert [first.result().VALUE, second.result().VALUE] == [11, 11]
