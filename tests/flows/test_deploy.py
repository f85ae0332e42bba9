"""Deployments end to end, with the commands of docs/deploy.md: server, worker, a run, and an evaluation-only rerun."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from pgolf.recipes.catalog import RECIPES
from tests.eventually import eventually
from tests.flows.service import BIN, ROOT, START_S, Service, Work, assert_gone, served
from tests.ports import free_port
from tests.processes import descendants

pytestmark = pytest.mark.timeout(400)
DOC = ROOT / "docs" / "deploy.md"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
EVALUATED = {"mix[1]"}
REUSED = {"data", "count[hashed]", "count[exact]", "train[1]", "calibrate[1]", "compress[1]", "score[1]"}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    return Work(tmp_path_factory.mktemp("work") / "w")


@pytest.fixture(scope="module")
def documented(tmp_path_factory, work) -> Iterator[tuple[Service, dict[str, str]]]:
    """The commands of docs/deploy.md, one after the other, on a port of our own and the tiny recipe; what each said."""
    blocks = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"}
    with served(tmp_path_factory.mktemp("documented") / "service", **blocks) as service:
        said = {}
        for command in COMMANDS:
            if command.startswith("prefect server start --host 127.0.0.1"):
                assert command == "prefect server start --host 127.0.0.1"
                service.start_server()
            elif command == "pgolf worker":
                service.worker = service.start_worker()
            elif command.startswith("export "):
                assert command == f"export PREFECT_API_URL={service.url.replace(str(service.port), '4200')}"
            else:
                said[command] = run(service, with_tiny_recipe(command, work))
        yield service, said


def with_tiny_recipe(command: str, work: Work) -> list[str]:
    """The command's words; `--param` names the tiny recipe's sections besides those it gives itself."""
    words = shlex.split(command)
    if "--param" not in words:
        return words
    given = dict(word.split("=", 1) for before, word in pairwise(words) if before == "--param")
    known = work.sweep_parameters() if "sweep/sweep" in words else work.parameters()
    rest = {name: value for name, value in known.items() if name not in given}
    return [*words, *(part for name, value in rest.items() for part in ("--param", f"{name}={json.dumps(value)}"))]


def run(service: Service, words: list[str]) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=ROOT, env=service.env(), capture_output=True, text=True, check=False, timeout=START_S,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def runs_of(service: Service) -> list[dict]:
    return service.ask("/flow_runs/filter", {"sort": "START_TIME_ASC"})


def test_every_documented_command_works_and_the_documented_sweep_runs_mix_alone(documented, work):
    service, said = documented
    assert len(COMMANDS) == len(said) + 3
    assert re.search(r"^✓ server .*answers, Prefect 3\.", said["pgolf doctor demo"], re.MULTILINE)
    record, sweep = runs_of(service)
    assert [record["state_name"], sweep["state_name"]] == ["Completed", "Completed"]
    first, second = service.states(record["id"]), service.states(sweep["id"])
    assert {first[name] for name in REUSED | EVALUATED} == {"Completed"}
    assert {second[name] for name in REUSED} == {"Cached"}
    assert {second[name] for name in EVALUATED} == {"Completed"}


def test_an_evaluation_only_rerun_through_the_api_runs_mix_alone_by_its_states_and_by_the_store(documented, work):
    service, _ = documented
    before = {path.name: path.stat().st_ino for path in (work.folder / "store").glob("*-*")}
    run_id = service.run_flow("sweep", work.sweep_parameters(mix={"mixers": ["backoff"], "alphas": [0.25, 0.35]}))
    assert service.final(run_id)["state_name"] == "Completed"
    states = service.states(run_id)
    assert {name for name in REUSED | EVALUATED if states[name] == "Completed"} == EVALUATED
    assert {states[name] for name in REUSED} == {"Cached"}
    after = {path.name: path.stat().st_ino for path in (work.folder / "store").glob("*-*")}
    assert {name.partition("-")[0] for name in after.keys() - before.keys()} == {"mix"}
    assert {name: after[name] for name in before} == before


def test_the_form_has_names_descriptions_choices_and_minima_and_the_server_refuses_a_typo(documented, work):
    service, _ = documented
    for flow in ("record", "sweep"):
        schema = service.api.get(f"/deployments/name/{flow}/{flow}").json()["parameter_openapi_schema"]
        silent = [name for name, found in schema["properties"].items() if not found.get("description")]
        assert not silent
        sections = {name: found for name, found in schema["definitions"].items() if "properties" in found}
        assert {"ScoreConfig", "MixConfig", "CountConfig", "Place"} <= sections.keys()
        assert ({"TrainConfig", "CompressConfig"} <= sections.keys()) == (flow == "record")
        assert schema["properties"]["recipe"]["enum"] == sorted(RECIPES)
        without = [
            f"{section}.{name}"
            for section, found in sections.items()
            for name, field in found["properties"].items()
            if not field.get("description") and "$ref" not in field
        ]
        assert not without
        assert sections["Place"]["properties"]["device"]["enum"] == ["auto", "cpu", "cuda"]
        assert sections["Place"]["properties"]["processes"]["minimum"] == 0
        assert sections["MixConfig"]["additionalProperties"] is False
    trial = service.api.get("/deployments/name/verdict/verdict").json()["parameter_openapi_schema"]
    assert {"run", "program"} <= trial["properties"].keys()  # one of them
    assert "required" not in trial
    deployment = service.api.get("/deployments/name/record/record").json()["id"]
    for wrong, why in (
        ({"mix": {"alphaz": [0.1]}}, "'alphaz' was unexpected"),
        ({"place": {"processes": -1}}, "-1"),
        ({"recipe": "demoo"}, "'demoo' is not one of ['demo', "),
    ):
        answer = service.api.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": wrong})
        assert answer.status_code == 409
        assert why in answer.text
    typo = ["prefect", "deployment", "run", "record/record", "--param", "recipe=demo", "--param", "sedes=[1]"]
    refused = subprocess.run(
        [str(BIN / typo[0]), *typo[1:]], cwd=ROOT, env=service.env(), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "sedes" in refused.stdout
    assert len(runs_of(service)) == 3


def test_the_server_listens_on_loopback_alone(documented):
    service, _ = documented
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
    mine = [address for address in listening if int(address.partition(":")[2], 16) == service.port]
    assert mine == [f"0100007F:{service.port:04X}"]


def test_an_idle_worker_ends_at_ctrl_c_and_leaves_no_process(documented):
    service, _ = documented
    below = {service.worker.pid, *descendants(service.worker.pid)}
    service.worker.send_signal(signal.SIGINT)
    assert service.worker.wait(timeout=60) == 0
    assert_gone(below)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[str]:
    """URL of a PostgreSQL server of our own; skips with the reason where there is none to start."""
    found = [*map(Path, Path("/usr/lib/postgresql").glob("*/bin/postgres")), *filter(None, [which("postgres")])]
    if not found:
        pytest.skip("no PostgreSQL server is installed here")
    folder = tmp_path_factory.mktemp("postgres")
    as_user: dict = {}
    if os.getuid() == 0:  # which postgres refuses
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            pytest.skip("root cannot run PostgreSQL, and there is no user `nobody` to run it as")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        for above in folder.parents:
            if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
    data, binaries = folder / "data", found[0].resolve().parent
    made = subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), "-U", "pgolf", "-A", "trust", "--no-sync"],
        capture_output=True, text=True, check=False, cwd=folder, **as_user,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"initdb does not work here: {made.stderr.strip()[-300:]}")
    port = free_port()
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            stdout=log, stderr=log, cwd=folder, **as_user,
        )  # fmt: skip
    try:
        ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        eventually(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL answers", within_s=60)
        yield f"postgresql+asyncpg://pgolf@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


def which(program: str) -> Path | None:
    found = shutil.which(program)
    return Path(found) if found else None


def test_with_postgresql_and_a_password_strangers_are_refused_and_a_sweep_runs_mix_alone(
    postgres, tmp_path_factory, documented, work
):
    """What the first server's runs have made is reused under this one: the store decides."""
    folder = tmp_path_factory.mktemp("guarded") / "service"
    with served(folder, auth="admin:a b", PREFECT_API_DATABASE_CONNECTION_URL=postgres) as service:
        service.start_server()
        assert httpx.post(f"{service.url}/flow_runs/filter", json={}).status_code == 401
        stranger = service.env(PREFECT_API_AUTH_STRING="")
        doctor = subprocess.run(
            [str(BIN / "pgolf"), "doctor"], cwd=ROOT, env=stranger, capture_output=True, text=True, check=False
        )
        assert doctor.returncode == 1
        assert re.search(r"✗ server .*answers 401\n.*→ set PREFECT_API_AUTH_STRING", doctor.stdout)
        worker = subprocess.run(
            [str(BIN / "pgolf"), "worker"], cwd=ROOT, env=stranger, capture_output=True, text=True, check=False
        )
        assert worker.returncode == 2
        assert "set PREFECT_API_AUTH_STRING" in worker.stderr
        assert "Traceback" not in worker.stderr
        service.start_worker()
        service.deploy()
        run_id = service.run_flow("sweep", work.sweep_parameters(mix={"mixers": ["backoff"], "alphas": [0.45, 0.55]}))
        assert service.final(run_id)["state_name"] == "Completed"
        states = service.states(run_id)
        assert {states[name] for name in EVALUATED} == {"Completed"}
