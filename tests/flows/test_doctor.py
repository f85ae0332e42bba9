"""`pgolf doctor`: each check sees what it is for, and names a remedy."""

import fcntl
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.commands.cli import main
from flows.commands.doctor_command import check_server
from flows.settings import Setting
from pgolf.machine.lease import lease
from pgolf.machine.torch_build import TorchBuild
from pgolf.pipeline import node_checks, plan_notes
from pgolf.pipeline.estimate import Estimate
from pgolf.pipeline.graph import Node, Sources, pipeline
from pgolf.pipeline.node_checks import (
    Check,
    Need,
    check_clock,
    check_data,
    check_gpus,
    check_python,
    check_space,
    check_store,
    check_versions,
    needs,
)
from pgolf.pipeline.plan import Step, make_plan
from pgolf.pipeline.plan_notes import clock_notes, lease_notes
from pgolf.recipes.catalog import recipe_named
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store, build_once
from pgolf.store.content import Memo
from tests.fake_driver import gpu
from tests.ports import free_port
from tests.tiny import tiny_recipe
from tests.toy_stage import TOY, ToyConfig, toy_key


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_a_sound_node_has_no_finding_and_says_what_was_not_checked(tmp_path, capsys):
    exit_code = main(["doctor", "demo", "--store", str(tmp_path / "store"), "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["python"]["ok"]
    assert checks["store"]["ok"]
    assert checks["data"]["ok"]
    assert checks["server"]["ok"] is None
    assert "`pgolf selftest`" in checks["selftest"]["remedy"]
    assert "19 outputs (19 by an estimate" in checks["disk"]["said"]
    assert not list(tmp_path.iterdir())
    assert exit_code == any(check["ok"] is False for check in checks.values())
    assert all(check["remedy"] for check in checks.values() if check["ok"] is False)


def test_leases_are_named_with_their_holders_and_what_lies_in_place_of_one_is_a_finding(tmp_path, monkeypatch):
    def found() -> Check:
        (check,) = (check for check in check_gpus(tmp_path) if check.name == "leases")
        return check

    assert found().ok
    with lease(tmp_path, ["gpu-a"], 1, log_line=pytest.fail):
        assert found().ok is False
        assert f"gpu-a is leased by pid {os.getpid()} of " in found().said
    assert found().ok
    monkeypatch.setattr(node_checks, "apart", lambda _folder: "this is a container")
    assert (found().ok, found().said.endswith("this is a container")) == (None, True)
    (tmp_path / "pgolf-gpu-b.lock").mkdir()
    assert found().ok is False
    assert "pgolf-gpu-b.lock is no lock file of pgolf: a folder" in found().said


def test_a_setting_of_no_use_is_a_finding(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PGOLF_LEASES", "/dev/null/x")
    assert main(["doctor", "--store", str(tmp_path)]) == 1
    assert "✗ leases" in capsys.readouterr().out


def test_who_else_may_use_the_devices_is_said_before_a_training_by_the_clock_and_once(tmp_path, monkeypatch):
    def notes(*overrides: str) -> list[str]:
        nodes = pipeline(tiny_recipe(*overrides), Sources(documents=tmp_path / "documents.jsonl"))
        return list(lease_notes(make_plan(nodes, Store(tmp_path / "store"), Memo(tmp_path / "memo"))))

    (tmp_path / "documents.jsonl").write_text('{"text": "a"}\n')
    assert [note.startswith("PGOLF_LEASES is set") for note in notes()] == [True]
    monkeypatch.delenv("PGOLF_LEASES")
    monkeypatch.setattr(plan_notes, "apart", lambda _folder: "this is a container")
    assert notes() == []
    assert notes("train.clock_limit_s=5") == ["this is a container"]


def test_a_training_that_cannot_be_within_the_clock_is_said_once_and_only_if_it_is_to_run(tmp_path):
    (tmp_path / "documents.jsonl").write_text('{"text": "a"}\n')
    nodes = pipeline(
        tiny_recipe("train.clock_limit_s=600", "seeds=1,2"), Sources(documents=tmp_path / "documents.jsonl")
    )
    steps = make_plan(nodes, Store(tmp_path / "store"), Memo(tmp_path / "memo"))
    (why,) = clock_notes(steps)
    assert why.startswith("training cannot be within 600 s")
    assert clock_notes([replace(step, action="reuse") for step in steps]) == []


def test_torch_is_not_imported_where_the_driver_lists_no_gpu(tmp_path):
    watch = (
        "import sys\nfrom flows.commands.cli import main\n"
        f"main(['doctor', 'demo', '--store', {str(tmp_path)!r}])\n"
        "assert 'prefect' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_packages_that_are_not_as_pinned_are_named(tmp_path):
    pins = tmp_path / "constraints.txt"
    pins.write_text("# exact versions\npytest==0.0.1\nnot-a-package==1.0\n")
    found = check_versions(pins)
    assert found.ok is False
    assert "0 of 2 packages as pinned" in found.said
    assert "instead of 0.0.1" in found.said
    assert "not-a-package is missing" in found.said
    assert check_versions(tmp_path / "none").ok is None
    assert check_python().ok


def test_a_gpu_that_torch_does_not_see_and_one_in_use_are_findings(tmp_path, machine):
    """No GPU here: a library that answers as the driver's would stands in for it, torch is the real one."""
    machine([gpu(number, users="1234:524288000" if number == 63 else "") for number in range(64)])
    seen, idle, *_ = check_gpus(tmp_path)
    assert seen.ok is False
    assert "driver: 64 × NVIDIA H100" in seen.said
    assert (idle.ok, "1234, 500 MiB" in idle.said) == (False, True)


def test_gpus_that_cannot_be_used_as_they_are_and_a_driver_that_does_not_answer_are_findings(tmp_path, machine):
    machine(2, visible="0,5")
    found, _leases = check_gpus(tmp_path)
    assert (found.ok, "CUDA_VISIBLE_DEVICES=0,5: '5' names no GPU" in found.said) == (False, True)
    machine("!9")
    assert "does not answer: nvmlInit_v2 says 'Driver Not Loaded' (9)" in next(check_gpus(tmp_path)).said


def test_nccl_and_flash_attention_that_torch_lacks_are_findings_of_their_own(tmp_path, monkeypatch, machine):
    def found(**changes) -> dict[str, Check]:
        build = TorchBuild(**{"version": "2.13.0", "cuda": "13.0", "gpus": 8, "nccl": True, "flash": True, **changes})
        monkeypatch.setattr(node_checks, "torch_build", lambda tries: tried.append(tries) or build)
        return {check.name: check for check in check_gpus(tmp_path)}

    tried = []
    machine(8)
    fine = found()
    assert "compiler" not in fine
    assert [fine[name].ok for name in ("gpus", "nccl", "flash attention", "gpus idle")] == [True] * 4
    lacking = found(nccl=False, flash=False)
    assert [lacking[name].ok for name in ("gpus", "nccl", "flash attention")] == [True, False, False]
    assert "no NCCL" in lacking["nccl"].said
    hidden = found(gpus=1)
    assert hidden["gpus"].ok is False
    assert "8 GPUs, torch 2.13.0 finds 1" in hidden["gpus"].said
    failing = found(fails="GPU 3: RuntimeError: system not yet initialized", compiler_fails="torch.compile: no gcc")
    assert (failing["gpus"].ok, failing["compiler"].ok) == (False, False)
    assert "fabric manager" in failing["gpus"].remedy
    assert tried == 4 * ["compiler"]
    machine([gpu(number, users="1234:524288000" if number == 7 else "") for number in range(8)])
    found()
    assert tried[4:] == ["nothing"]  # what runs there may be timed


def test_little_shared_memory_is_said_where_ranks_on_gpus_would_share_it(tmp_path, monkeypatch, machine):
    class Container:
        total = 67_108_864

    monkeypatch.setattr(node_checks, "torch_build", lambda tries: None)
    machine(1)
    assert "shared memory" not in [check.name for check in check_gpus(tmp_path)]
    machine(2)
    monkeypatch.setattr(node_checks.shutil, "disk_usage", lambda _path: Container)
    (found,) = (check for check in check_gpus(tmp_path) if check.name == "shared memory")
    assert (found.ok, found.said) == (None, "0.1 GB in /dev/shm, which may be too little for NCCL")
    assert "--shm-size" in found.remedy
    monkeypatch.setattr(Container, "total", 2_000_000_000)
    assert node_checks.check_shared_memory().ok
    monkeypatch.undo()
    assert node_checks.check_shared_memory(tmp_path / "none").ok is None


def test_a_store_is_tried_by_writing_and_locking_and_nothing_is_left(tmp_path, monkeypatch):
    assert check_store(tmp_path / "not" / "yet").ok
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # a file system whose locks lock nothing
    found = check_store(tmp_path)
    assert found.ok is False
    assert "two locks of one file at once" in found.said
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_store_is_a_finding(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        found = check_store(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert found.ok is False
    assert "Read-only file system" in found.said


class Full:
    free = 1_000_000


def test_disk_space_is_compared_with_what_the_recipe_still_needs(tmp_path, monkeypatch):
    recipe, store = recipe_named("demo"), Store(tmp_path)
    needed = needs(make_plan(pipeline(recipe, Sources()), store, Memo(tmp_path / "memo")), recipe, store)
    disk, _ = check_space(tmp_path, needed)
    assert disk.ok
    monkeypatch.setattr(node_checks.shutil, "disk_usage", lambda _path: Full)
    disk, tmp = check_space(tmp_path, needed)
    assert (disk.ok, tmp.ok) == (False, False)
    assert disk.said.startswith("0.0 GB free")
    assert disk.remedy == "free space, `pgolf gc`, or another --store"


def test_of_a_cache_the_remedy_is_another_cache_and_not_to_collect_what_others_share(tmp_path, monkeypatch):
    monkeypatch.setattr(node_checks.shutil, "disk_usage", lambda _path: Full)
    disk, _ = check_space(tmp_path, [Need(2_000_000, is_estimate=True)], option="--cache")
    assert disk.remedy == "free space, or another --cache"
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert check_store(tmp_path, "--cache").remedy.endswith("or choose another --cache")


def test_earlier_outputs_say_what_is_needed_and_so_do_shared_ones_that_are_not_here(tmp_path):
    recipe, store = recipe_named("demo"), Store(tmp_path / "store")
    toy, _ = build_once(store, TOY, toy_key(), node="toy", inputs={}, parents={}, run=RunOptions())
    size_bytes = sum((toy.path / name).stat().st_size for name in ("text.txt", "sub/log.txt"))
    node = Node(name="toy", stage=TOY, config=ToyConfig())
    here = Step(node=node, action="reuse", reasons=(), estimate=Estimate(None), artifact=toy)
    assert needs([here], recipe, store) == []
    elsewhere = replace(here, artifact=Artifact(tmp_path / "cache" / toy.path.name, toy.record))
    assert needs([elsewhere], recipe, store) == [Need(size_bytes, is_estimate=False)]
    again = replace(here, action="run", artifact=None)
    assert needs([again], recipe, store) == [Need(size_bytes, is_estimate=False)]
    (never,) = needs([replace(again, node=replace(node, name="other"))], recipe, store)
    assert never.is_estimate


def test_missing_documents_are_a_finding_with_the_error_of_a_run(tmp_path, capsys):
    arguments = ["--set", "tokenize.source=documents", "--store", str(tmp_path)]
    assert main(["doctor", "demo", *arguments, "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["data"]["ok"] is False
    assert "documents" in checks["data"]["said"]
    assert checks["disk"]["ok"] is None
    assert "needed" not in checks["disk"]["said"]


def test_documents_that_nobody_has_read_are_said_to_be_unread(tmp_path):
    (tmp_path / "documents.jsonl").touch()
    os.truncate(tmp_path / "documents.jsonl", 50 * 10**9)
    nodes = pipeline(tiny_recipe(), Sources(documents=tmp_path / "documents.jsonl"))
    steps = make_plan(nodes, Store(tmp_path / "store"), Memo(tmp_path / "memo"), most_read_bytes=10**6)
    found = check_data(lambda: steps)
    assert found.ok
    assert "50.0 GB not read yet" in found.said


def test_published_data_that_is_not_there_is_a_finding(tmp_path):
    recipe = recipe_named("pr715")
    steps = make_plan(pipeline(recipe, Sources()), Store(tmp_path), Memo(tmp_path / "memo"))
    found = check_data(lambda: steps)
    assert found.ok is False
    assert "pgolf fetch" in found.remedy


def test_without_its_published_data_a_recipe_still_says_what_it_needs(tmp_path, capsys):
    main(["doctor", "pr715", "--store", str(tmp_path), "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["data"]["ok"] is False
    assert "outputs (16 by an estimate" in checks["disk"]["said"]


def test_a_file_from_the_future_and_a_server_of_another_time_are_findings(tmp_path):
    assert check_clock([tmp_path], 1.0).ok
    assert check_clock([tmp_path], -60.0).ok is False
    (tmp_path / "later").touch()
    os.utime(tmp_path / "later", (time.time() + 500,) * 2)
    found = check_clock([tmp_path])
    assert found.ok is False
    assert "500 s in its future" in found.said or "499 s in its future" in found.said


def test_files_that_cannot_be_looked_at_say_nothing_about_the_clock(tmp_path, monkeypatch):
    (tmp_path / "to-itself").symlink_to(tmp_path / "to-itself")
    (tmp_path / "seen").touch()
    assert check_clock([tmp_path, tmp_path / "none", tmp_path / "seen"]).ok
    # As for a folder whose permissions forbid it, or that goes meanwhile; the tests may run as root.
    monkeypatch.setattr(Path, "iterdir", lambda path: os.listdir(path / "gone"))
    assert check_clock([tmp_path]).ok


class Answer(http.server.BaseHTTPRequestHandler):
    """A server of another version."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'"3.0.0"')

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_of_another_version_and_none_at_all_are_findings():
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found, ahead_s = check_server(Setting(f"http://127.0.0.1:{server.server_port}/api", "a profile"), None)
        finally:
            server.shutdown()
            thread.join()
        port = server.server_port
    assert found.ok is False
    assert "Prefect 3.0.0; here 3." in found.said
    assert ahead_s is not None
    assert abs(ahead_s) < 60
    gone, _ = check_server(Setting(f"http://127.0.0.1:{port}/api", "a profile"), None)
    assert gone.ok is False
    assert "refused" in gone.said


@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_server_that_does_not_answer_is_an_error_with_its_address_and_no_trace(tmp_path, command):
    port = free_port()
    environment = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(tmp_path / "prefect")}
    words = ["run", "demo", "--store", str(tmp_path)] if command == "run" else ["worker"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.commands.cli", *words],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"no Prefect server answers at http://127.0.0.1:{port}/api" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_without_a_server_or_with_no_room_for_a_run_is_refused(capsys, monkeypatch):
    assert main(["worker"]) == 2
    assert "PREFECT_API_URL is not set" in capsys.readouterr().err
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert main(["worker", "--limit", "0"]) == 2
    assert "at least 1 run" in capsys.readouterr().err


def test_an_object_store_is_asked_and_what_it_lacks_is_said(tmp_path, capsys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "HOME": tmp_path, "XDG_CACHE_HOME": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    assert main(["doctor", "--store", "s3://bucket/x", "--json"]) == 1
    (found,) = (check for check in json.loads(capsys.readouterr().out) if check["name"] == "object store")
    assert found["ok"] is False
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in found["said"]
    assert main(["doctor", "--store", "gs://bucket/x"]) == 2
    assert "a store is a folder or s3://bucket/prefix" in capsys.readouterr().err
