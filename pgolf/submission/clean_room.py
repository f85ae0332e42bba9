"""Runs a submission's program where it reaches nothing but its own files, the tokenizer and the validation shards.

On Linux in namespaces: another root with the interpreter and the system's libraries, all read-only, no network but
loopback, no process but its own, an empty HOME, inputs read-only. Where the system allows none, in a folder of its own
with copies of its inputs; `Evaluated.isolation` says which it was. Either way it is told which files were opened.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgolf.corpus.data_files import DataFiles, find_data
from pgolf.corpus.dataset import MANIFEST_NAME
from pgolf.corpus.view import write_view
from pgolf.errors import ConfigError, MachineError
from pgolf.identity.environment import seen_by_ranks
from pgolf.identity.snapshot import CODE
from pgolf.submission import room_process
from pgolf.submission.file_events import FileEvents
from pgolf.submission.folder_files import is_result, plain_files
from pgolf.submission.printed_scores import PrintedScore, printed_scores
from pgolf.submission.room_process import PLACES, Ended, Room
from pgolf.submission.seen import Seen
from pgolf.submission.system_files import room_environment, system_files

# As the program sees them, from the folder that it runs in: the submission's.
DATA = "../data"
TOKENIZER = f"{DATA}/tokenizers/shards.model"
SHARDS = f"{DATA}/datasets/shards"

# The rule's clock of an evaluation (rules: 600 s), and what starting takes besides: importing, compiling, loading.
EVALUATION_S, START_S = 600.0, 300.0
MOST_OUTPUT_BYTES = 1 << 26

_LATELY_BYTES = 1 << 14
_GENERATED = ("/torchinductor_", "/.triton/")
NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What a program did in a clean room.

    exit_code: negative for a signal. ended_by: the limit that ended it, or None. output, errors: what it wrote to its
    two streams. opened: files of the submission, relative to it. data_opened: files of the data, as their names.
    imports: modules that its own code imports, top-level names. isolation: "namespaces", or why it had none.
    findings: what it may not do, a sentence each.
    """

    exit_code: int
    ended_by: str | None
    wall_s: float
    memory_bytes: int
    output: str
    errors: str
    opened: tuple[str, ...]
    data_opened: tuple[str, ...]
    imports: tuple[str, ...]
    programs: tuple[str, ...]
    isolation: str
    findings: tuple[str, ...]

    @property
    def scores(self) -> tuple[PrintedScore, ...]:
        """The scores that it printed, in order."""
        return printed_scores(self.output) or printed_scores(self.errors)


def evaluate(
    folder: Path,
    data: Path | DataFiles,
    *,
    script: str = "train_gpt.py",
    arguments: Sequence[str] = (),
    limit_s: float = EVALUATION_S + START_S,
    processes: int = 1,
    beside: Mapping[str, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    memory_bytes: int | None = None,
    disk_bytes: int | None = None,
    isolate: bool = True,
    with_training: bool = False,
    until: Callable[[str], bool] | None = None,
) -> Evaluated:
    """Run a submission's script as `python script *arguments` in its folder, or under torchrun as several processes.

    Its folder has no logs, JSON and README there: of those no evaluation takes anything but results that it should
    compute. It finds the data at `DATA`, without training shards, and under ./data as in the challenge's repository;
    DATA_PATH and TOKENIZER_PATH say where too. beside: further files that it finds in its folder, by name (a packed
    model). memory_bytes, disk_bytes: what it may use (default: three quarters, and a quarter, of the memory that is
    free). isolate: false for the folder without namespaces. with_training: it finds the training shards too. until:
    ends it as soon as this holds of what it has printed last. Raises ConfigError for a folder that is not to be run
    (`plain_files`) or lacks the script, DataError for data without validation shards or tokenizer, MachineError where
    this system starts no such process.
    """
    names = plain_files(folder)
    withheld = [name for name in names if is_result(name)]
    files = {name: str(folder / name) for name in names if name not in withheld}
    files |= {name: str(path.absolute()) for name, path in (beside or {}).items()}
    if script not in files:
        raise ConfigError(f"{folder}: no {script} in it; name the folder of a submission")
    found = data if isinstance(data, DataFiles) else find_data(data)
    if not with_training:
        found = replace(found, train=())
    free_bytes = free_memory_bytes()
    limits = (limit_s, memory_bytes or free_bytes * 3 // 4, disk_bytes or free_bytes // 4)
    why = "not asked for"
    for isolated in (True, False) if isolate else (False,):
        run = _Run(isolated, files, withheld, found, script, arguments, processes, environment or {}, limits, until)
        ended = run.ended()
        if ended is not None:
            return run.evaluated(ended, NAMESPACES if isolated else f"a folder of its own, no namespaces ({why})")
        why = run.refused
    raise MachineError(f"{folder / script} could not be started in a room of its own: {why}")


def place_witness(folder: str) -> Path:
    """Put what tells of a program's files into its room's folder, and the pipe `seen` in which it tells."""
    witness = Path(folder, "witness")
    (witness / "sitecustomize.py").write_bytes(CODE.files["pgolf.submission.witness"].text)
    os.mkfifo(witness / "seen", 0o600)
    return witness


def open_witness(folder: str) -> int:
    """A descriptor of the pipe, from which nobody in the room can take out what was told."""
    pipe = os.open(f"{folder}/witness/seen", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    os.chmod(f"{folder}/witness/seen", 0o200)
    return pipe


def start_room(room: Room, stdin: int) -> "subprocess.Popen[bytes]":
    """Start the process that makes a room and runs its program; its outputs are pipes."""
    about = Path(room.folder, "room.json")
    about.write_text(room.to_json())
    search = [os.path.abspath(entry) for entry in (CODE.root, *sys.path) if os.pathsep not in entry]
    return subprocess.Popen(
        # -S: it needs no distributions, and is there sooner.
        [sys.executable, "-S", "-m", room_process.__name__, str(os.getpid()), str(about)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**seen_by_ranks(), "PYTHONPATH": os.pathsep.join(search), "PYTHONSAFEPATH": "1"},
        pass_fds=(room.status,),
        start_new_session=True,  # Ctrl-C is this process's, which ends that one
    )


class _Run:
    """One try of a program in one kind of room."""

    def __init__(
        self,
        isolated: bool,
        files: Mapping[str, str],
        withheld: Sequence[str],
        data: DataFiles,
        script: str,
        arguments: Sequence[str],
        processes: int,
        environment: Mapping[str, str],
        limits: tuple[float, int, int],
        until: Callable[[str], bool] | None,
    ) -> None:
        self.isolated, self.files, self.data, self.script, self.limits = isolated, files, data, script, limits
        self.withheld = withheld
        self.folder = tempfile.mkdtemp(prefix="pgolf-room-")
        self.work = "/room" if isolated else self.folder
        self.refused = "it did not say why"
        self.shown: list[tuple[str, str]] = []
        self.links: list[tuple[str, str]] = []
        self.watched: dict[str, str] = {}
        self.seen = Seen()
        self.output, self.errors = bytearray(), bytearray()
        self.until = until
        self.ended_here: str | None = None
        visible = seen_by_ranks()
        self.system = system_files(visible)
        interpreter = [sys.executable]
        if processes > 1:
            interpreter += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        self.words = [*interpreter, f"{self.work}/submission/{script}", *arguments]
        self.environment = {
            **room_environment(self.work, self.system, visible),
            "DATA_PATH": SHARDS,
            "TOKENIZER_PATH": TOKENIZER,
            **environment,
        }

    def ended(self) -> Ended | None:
        """Run it; None if the system allows no such room, and `refused` says why."""
        try:
            self._furnish()
            with FileEvents(self.watched) as events:
                self.events = events
                return self._run()
        except OSError as error:
            if self.isolated or isinstance(error, FileNotFoundError | PermissionError):
                raise MachineError(f"a room for {self.script} could not be made: {error}") from error
            raise
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _furnish(self) -> None:
        """Put the inputs where the program finds them."""
        places = ("submission", "data", "witness") if self.isolated else PLACES
        for name in places:
            os.mkdir(f"{self.folder}/{name}")
        for name, source in self.files.items():
            self._put(Path(source), Path(self.folder, "submission", name), f"submission/{name}")
        data = Path(self.folder, "data")
        write_view(data, self.data, lambda source, to: self._put(source, to, f"data/{to.relative_to(data)}"))
        self._put_where_others_look(data)
        witness = place_witness(self.folder)
        if self.isolated:
            self.shown = [
                *((path, path) for path in self.system.shown),
                (str(data), f"{self.work}/data"),
                *self.shown,
                *((str(witness / name), f"{self.work}/witness/{name}") for name in ("sitecustomize.py", "seen")),
            ]

    def _put_where_others_look(self, data: Path) -> None:
        """The data by the names of the challenge's own repository, ./data/datasets/fineweb10B_sp1024 and so on."""
        vocabulary = json.loads((data / MANIFEST_NAME).read_text())["datasets"][0]["vocab_size"]
        (data / f"datasets/fineweb10B_sp{vocabulary}").symlink_to("shards")
        (data / f"tokenizers/fineweb_{vocabulary}_bpe.model").symlink_to("shards.model")
        if any(Path(name).parts[0] == "data" for name in self.files):
            return
        if self.isolated:
            self.links.append((f"{self.work}/submission/data", "../data"))
        else:
            Path(self.folder, "submission/data").symlink_to("../data")

    def _put(self, source: Path, to: Path, name: str) -> None:
        """In namespaces the file itself is shown, read-only; else the program gets a copy."""
        to.parent.mkdir(parents=True, exist_ok=True)
        path = os.path.realpath(source)
        if self.isolated:
            to.touch()
            self.shown.append((path, f"{self.work}/{name}"))
            self.watched[path] = name
        else:
            shutil.copyfile(path, to)
            to.chmod(0o444)
            self.watched[str(to)] = name

    def _run(self) -> Ended | None:
        limit_s, memory_bytes, disk_bytes = self.limits
        pipe = open_witness(self.folder)
        read_status, write_status = os.pipe()
        room = Room(
            folder=self.folder,
            isolated=self.isolated,
            words=self.words,
            environment=self.environment,
            shown=self.shown,
            links=[*self.system.links, *self.links],
            hidden=self.system.hidden,
            limit_s=limit_s,
            memory_bytes=memory_bytes,
            disk_bytes=disk_bytes,
            status=write_status,
        )
        process = start_room(room, subprocess.DEVNULL)
        os.close(write_status)
        began_s = time.monotonic()
        try:
            told = self._listen(process, read_status, pipe)
        finally:
            end_room(process)
            os.close(read_status)
            os.close(pipe)
        for line in told.splitlines():
            read = json.loads(line)
            if "ended" in read:
                return Ended(**read["ended"])
            self.refused = read["refused"]
        if self.ended_here is None:
            return None
        wall_s = time.monotonic() - began_s
        return Ended(exit_code=-signal.SIGKILL, wall_s=wall_s, ended_by=None, memory_bytes=0, disk_bytes=0)

    def _listen(self, process: "subprocess.Popen[bytes]", status: int, pipe: int) -> bytes:
        """Take in all that is said until the process has ended; returns what it said of the room."""
        assert process.stdout is not None
        assert process.stderr is not None
        told = bytearray()
        # A process that hangs itself does not end its room: then this one does.
        deadline_s = time.monotonic() + self.limits[0] + START_S
        streams = {process.stdout.fileno(): self.output, process.stderr.fileno(): self.errors, status: told}
        with selectors.DefaultSelector() as selector:
            for descriptor in (*streams, pipe, self.events.descriptor):
                selector.register(descriptor, selectors.EVENT_READ)
            while status in streams and self.ended_here is None:
                for key, _ready in selector.select(0.5):
                    if key.fd == self.events.descriptor:
                        self.events.take()
                        continue
                    chunk = b""
                    with contextlib.suppress(BlockingIOError):
                        chunk = os.read(key.fd, 1 << 16)
                    if key.fd == pipe:
                        self.seen.take(chunk)
                    elif chunk:
                        streams[key.fd] += chunk
                    else:
                        selector.unregister(key.fd)
                        del streams[key.fd]
                if len(self.output) + len(self.errors) > MOST_OUTPUT_BYTES:
                    self.ended_here = "output"
                elif time.monotonic() > deadline_s:
                    self.ended_here = "time"
                elif self.until is not None and self.until(_lately(self.output) + _lately(self.errors)):
                    self.ended_here = "asked"
            # It has ended, and with it all in the room: what they wrote last is in the pipes.
            for descriptor, text in streams.items():
                os.set_blocking(descriptor, False)
                with contextlib.suppress(BlockingIOError):
                    while len(text) <= MOST_OUTPUT_BYTES and (chunk := os.read(descriptor, 1 << 16)):
                        text += chunk
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(pipe, 1 << 16):
                    self.seen.take(chunk)
            self.events.take()
        return bytes(told)

    def evaluated(self, ended: Ended, isolation: str) -> Evaluated:
        """What is known of it, with what it may not do."""
        names = {self._name(path) for path in self.seen.read} | self.events.opened
        names |= {"submission/" + self.script}
        inputs = set(self.watched.values())
        opened = sorted(name.removeprefix("submission/") for name in names & inputs if name.startswith("submission/"))
        data_opened = sorted(name.removeprefix("data/") for name in names & inputs if name.startswith("data/"))
        outside = self.seen.outside(self.work, self.system.shown)
        # Wherever the code lies that asks; but what torch and triton have written for themselves is theirs.
        imports = {name for name, by in self.seen.imported if not any(made in by for made in _GENERATED)}
        local = {Path(name).parts[0].removesuffix(".py") for name in self.files}
        changed = sorted(({self._name(path) for path in self.seen.written} | self.events.changed) & inputs)
        return Evaluated(
            exit_code=ended.exit_code,
            ended_by=self.ended_here or ended.ended_by,
            wall_s=ended.wall_s,
            memory_bytes=ended.memory_bytes,
            output=self.output.decode(errors="replace"),
            errors=self.errors.decode(errors="replace"),
            opened=tuple(opened),
            data_opened=tuple(data_opened),
            imports=tuple(sorted(imports - local - sys.stdlib_module_names - {"pgolf"})),
            programs=tuple(sorted(self.seen.programs)),
            isolation=isolation,
            findings=tuple(self._findings(ended, outside, changed, data_opened)),
        )

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.work}/")

    def _findings(self, ended: Ended, outside: list[str], changed: list[str], data_opened: list[str]) -> list[str]:
        limit_s, memory_bytes, disk_bytes = self.limits
        found = []
        if self.ended_here == "output":
            found.append(f"printed more than {MOST_OUTPUT_BYTES:,} bytes, and was ended")
        elif "time" in (ended.ended_by, self.ended_here):
            found.append(f"did not end within {limit_s:,.0f} s, and was ended")
        elif ended.ended_by == "memory":
            found.append(f"took {ended.memory_bytes:,} bytes of memory, over the limit of {memory_bytes:,}")
        elif ended.ended_by == "disk":
            found.append(f"wrote {ended.disk_bytes:,} bytes, to the limit of {disk_bytes:,}")
        elif ended.ended_by == "processes":
            found.append(f"started more than {room_process.MOST_PROCESSES:,} processes")
        elif ended.exit_code != 0 and self.ended_here is None:
            found.append(f"ended with {exit_in_words(ended.exit_code)}; its last line: {last_line(self.errors)}")
        found += [f"wants to open {_listed(outside)}, which is neither its own nor of the data"] if outside else []
        asked = [name for name in self.withheld if f"{self.work}/submission/{name}" in self.seen.read]
        found += [f"wants to read {_listed(asked)}, which holds results and no input"] if asked else []
        found += [f"writes into its inputs: {_listed(changed)}"] if changed else []
        if self.seen.connected:
            found.append(f"wants to connect to {_listed(sorted(self.seen.connected))}; it may use its own files alone")
        if ended.exit_code == 0 and not any("_val_" in name for name in data_opened):
            shards = len(self.data.val)
            found.append(
                f"opened none of the {shards} validation shards" if shards > 1 else "did not open the validation shard"
            )
        return found


def _lately(printed: bytearray) -> str:
    return bytes(printed[-_LATELY_BYTES:]).decode(errors="replace")


def end_room(process: "subprocess.Popen[bytes]") -> None:
    """See that the process, and so its room, is gone."""
    try:
        if process.poll() is None:
            process.terminate()
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def exit_in_words(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    named = {each.value: each.name for each in signal.Signals}
    return named.get(-exit_code, f"signal {-exit_code}")


def last_line(text: bytearray) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(none)"


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def free_memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise MachineError("/proc/meminfo does not say how much memory is free")
