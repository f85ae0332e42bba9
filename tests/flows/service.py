"""A Prefect server and workers of a test's own: real processes on loopback, everything they write in one folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from flows.settings import SETTINGS
from pgolf.machine.lease import lease
from pgolf.store.artifact import Artifact, Store
from tests.eventually import WITHIN_S, eventually
from tests.flows.prefect_home import prefect_home
from tests.ports import free_port
from tests.processes import command_of, descendants, is_running
from tests.tiny import outputs, tiny_arguments, tiny_recipe, write_documents

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOLDING = Path(__file__).parent / "holding"
START_S = WITHIN_S
FINAL_WITHIN_S = 120.0
ASK_EVERY_S = 0.5  # a question takes the server and us 20 ms
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Service:
    """Processes that share one PREFECT_HOME, one temporary folder, one folder of leases and one server."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    auth: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = free_port()
        (self.folder / "tmp").mkdir(parents=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def env(self, **more: str) -> dict[str, str]:
        """The environment of every process: Prefect's and pgolf's, at the pace of a test."""
        return {
            **os.environ,
            **SETTINGS,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{HOLDING}{os.pathsep}{ROOT}",
            "TMPDIR": str(self.folder / "tmp"),
            "PGOLF_LEASES": str(self.folder / "leases"),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **(
                {"PREFECT_API_AUTH_STRING": self.auth, "PREFECT_SERVER_API_AUTH_STRING": self.auth} if self.auth else {}
            ),
            **self.environment,
            **more,
        }

    def start(self, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """A process in a session of its own; what it prints goes to `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=self.env(**more), start_new_session=True
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def start_server(self) -> subprocess.Popen[bytes]:
        """The server, answering."""
        server = self.start(
            "server", str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(self.port)
        )

        def answers() -> bool:
            assert server.poll() is None, self.log("server")[-3000:]
            try:
                return self.api.get("/health").status_code == 200
            except httpx.HTTPError:
                return False

        eventually(answers, "the server answers", every_s=ASK_EVERY_S)
        return server

    def start_worker(self, name: str = "worker", *options: str, **more: str) -> subprocess.Popen[bytes]:
        """A worker that has begun to work."""
        worker = self.start(name, str(BIN / "pgolf"), "worker", *options, **more)

        def works() -> bool:
            assert worker.poll() is None, self.log(name)[-3000:]
            return "started!" in self.log(name)

        eventually(works, "the worker has started")
        return worker

    def deploy(self) -> str:
        """What `prefect deploy --all` printed."""
        done = subprocess.run(
            [str(BIN / "prefect"), "--no-prompt", "deploy", "--all"],
            cwd=ROOT, env=self.env(), capture_output=True, text=True, check=False, timeout=START_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @cached_property
    def api(self) -> httpx.Client:
        """Plain HTTP to the server: what any other program would see of it.

        A connection each: the server closes a kept one after five idle seconds, maybe just as the next question is on
        its way, and that has no answer.
        """
        user, _, password = self.auth.partition(":")
        auth = (user, password) if self.auth else None
        return httpx.Client(base_url=self.url, timeout=30, auth=auth, limits=httpx.Limits(max_keepalive_connections=0))

    def ask(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> Any:
        # 503: SQLite was locked; Prefect's own clients try again, too.
        for _ in range(20):
            answer = self.api.request(method, path, json=body)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def run_flow(self, flow: str, parameters: Mapping[str, Any]) -> UUID:
        """Ask for a run of a deployment through the API."""
        deployment = self.api.get(f"/deployments/name/{flow}/{flow}").json()
        return UUID(self.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"])

    @contextmanager
    def starts_held(self) -> Iterator[None]:
        """Processes of flow runs that start meanwhile begin after it."""
        held = self.folder / "tmp" / "hold-starts"
        held.touch()
        try:
            yield
        finally:
            held.unlink()

    def flow_run(self, flow_run_id: UUID) -> dict[str, Any]:
        return self.api.get(f"/flow_runs/{flow_run_id}").json()

    def states(self, flow_run_id: UUID) -> dict[str, str]:
        """State names of the tasks."""
        asked = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
        return {task["name"]: task["state_name"] for task in self.ask("/task_runs/filter", asked)}

    def final(self, flow_run_id: UUID, *, within_s: float = FINAL_WITHIN_S) -> dict[str, Any]:
        """The flow run once it and all its tasks are final."""

        def settled() -> dict[str, Any] | None:
            found = self.flow_run(flow_run_id)
            if found["state_type"] not in FINAL:
                return None
            asked = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
            tasks = self.ask("/task_runs/filter", asked)
            return found if all(task["state_type"] in FINAL for task in tasks) else None

        try:
            return eventually(settled, f"run {flow_run_id} is final", within_s=within_s, every_s=ASK_EVERY_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.flow_run(flow_run_id)['state']} {self.states(flow_run_id)}") from None

    def flow_pid(self, flow_run_id: UUID) -> int:
        """The pid of the process that runs the flow, from the labels it has put on its run."""
        label = "pgolf.pid"
        found = eventually(
            lambda: self.flow_run(flow_run_id)["labels"].get(label),
            f"run {flow_run_id} has {label}",
            every_s=ASK_EVERY_S,
        )
        return int(found)

    def devices_are_free(self) -> bool:
        """Whether a lease of all of this machine's cores, as the processes here lease them, comes at once."""

        class Busy(Exception):
            pass

        def give_up(_line: str) -> None:
            raise Busy

        cores = [f"cpu-{i}" for i in sorted(os.sched_getaffinity(0))]
        try:
            with lease(self.folder / "leases", cores, len(cores), log_line=give_up):
                return True
        except Busy:
            return False

    def end(self) -> None:
        """End every process that was started here, and all below it."""
        left = set()
        for process in reversed(self.processes):
            left |= {process.pid, *descendants(process.pid)}
        for pid in left:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.api.close()


@contextmanager
def served(folder: Path, *, database: Path | None = None, auth: str = "", **environment: str) -> Any:
    """A service that is ended with the block, on a copy of the database or on one that it makes itself."""
    if database is not None:
        prefect_home(folder, database)
    service = Service(folder, environment, auth)
    with ExitStack() as stack:
        stack.callback(service.end)
        yield service


@dataclass(frozen=True)
class Work:
    """The tiny recipe with one seed, its documents, store and tables in a folder, and a switch that holds its ranks."""

    folder: Path
    overrides: tuple[str, ...] = ("seeds=1",)
    processes: int = 1

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_documents(self.folder)

    def parameters(self, *overrides: str) -> dict[str, Any]:
        """Of the deployment `record`: each section of the recipe, and the place."""
        about = {"name", "description", "base"}
        sections = tiny_recipe(*self.overrides, *overrides).model_dump(mode="json", exclude=about)
        place = {"store": "store", "results": "results", "documents": "docs.jsonl"}
        paths = {name: str(self.folder / path) for name, path in place.items()}
        return {"recipe": "demo", **sections, "place": {**paths, "device": "cpu", "processes": self.processes}}

    def sweep_parameters(self, **sections: Any) -> dict[str, Any]:
        """Of the deployment `sweep`, which has none for data and weights: the recipe is a file."""
        file = self.folder / "tiny.py"
        file.write_text(
            "from tests.tiny import tiny_recipe\n"
            f"recipe = lambda: tiny_recipe(*{self.overrides!r}).model_copy(update={{'name': 'tiny'}})\n"
        )
        return {"recipe_file": str(file), **sections, "place": self.parameters()["place"]}

    def arguments(self, *overrides: str) -> list[str]:
        """Of `pgolf run`."""
        arguments = tiny_arguments(self.folder, *overrides)
        place = arguments.index("--seeds")
        return [*arguments[: place + 2], *arguments[place + 3 :], "--processes", str(self.processes)]

    def hold(self) -> None:
        """Have ranks pause in training."""
        for held in self.folder.glob("held-*"):
            held.unlink()
        (self.folder / "hold").touch()

    def release(self) -> None:
        """Have them go on."""
        (self.folder / "hold").unlink()

    def held_ranks(self) -> list[int]:
        """Pids of the ranks that have reported a step and pause."""
        pids = [int(path.name.removeprefix("held-")) for path in self.folder.glob("held-*")]
        return [pid for pid in pids if is_running(pid)]

    def wait_until_held(self) -> set[int]:
        """Pids of the held ranks and of the torchrun above them."""
        ranks = eventually(self.held_ranks, f"a rank is held in {self.folder}")
        return {*ranks, *map(parent_of, ranks)}

    def outputs(self) -> dict[str, dict[str, str]]:
        """Named outputs by node: what a rerun has to reproduce."""
        return outputs(self.folder)

    def is_sound(self) -> bool:
        """Whether every output that is there is whole."""
        store = Store(self.folder / "store")
        return all(isinstance(store.inspect(path, trust=False), Artifact) for path in store.artifacts())

    def made_once(self) -> bool:
        """Whether no node has two outputs, and nothing unfinished is left."""
        store = Store(self.folder / "store")
        nodes = [record.node for record in store.records()]
        return len(nodes) == len(set(nodes)) and not list(store.root.glob(".tmp-*"))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def assert_gone(pids: set[int], *, within_s: float = 60.0) -> None:
    """No process of these lives any more."""
    eventually(
        lambda: not any(map(is_running, pids)),
        f"gone: {[(pid, command_of(pid)) for pid in pids if is_running(pid)]}",
        within_s=within_s,
    )
