"""A program in a room of its own that is asked line by line, within limits, and of which nothing is left behind.

On Linux in namespaces: it sees its folder read-only, the interpreter and the system's libraries, an empty HOME, and no
network. Where the system allows none, it runs in a copy of its folder and nothing else is hidden from it.
"""

import contextlib
import json
import os
import selectors
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pgolf.audit.scorer import ScorerFault
from pgolf.errors import MachineError
from pgolf.identity.environment import seen_by_ranks
from pgolf.submission.clean_room import (
    end_room,
    exit_in_words,
    free_memory_bytes,
    last_line,
    open_witness,
    place_witness,
    start_room,
)
from pgolf.submission.file_events import FileEvents
from pgolf.submission.room_process import MOST_NAMED, PLACES, Ended, Room
from pgolf.submission.seen import Seen
from pgolf.submission.system_files import SystemFiles, room_environment, system_files

# After its input has ended, until it is killed; no fault of its own.
_END_WITHIN_S = 2.0
_READ_BYTES = 1 << 16
_KEPT_ERROR_BYTES = 1 << 16
# What a room without namespaces copies each time the program is started.
MOST_COPIED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may take. start_s: until its first answer, answer_s: until each later one, evaluation_s: in all.

    memory_bytes, disk_bytes: None for three quarters, and a quarter, of the memory that is free. errors_bytes: what it
    may write to standard error in one evaluation.
    """

    start_s: float = 300.0
    answer_s: float = 300.0
    evaluation_s: float = 3600.0
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    processes: int = 512
    errors_bytes: int = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run. words: as typed in its folder. environment: variables besides the room's own.

    hidden: files that it must not find, wherever they are. shown: folders outside its own that it finds, read-only.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()


@cache
def room_allowed() -> str | None:
    """None if this system lets a process have namespaces of its own, else why not."""
    folder = Path(tempfile.mkdtemp(prefix="pgolf-room-"))
    try:
        nothing = Program(words=(sys.executable, "-S", "-c", "pass"), folder=folder)
        process = ProgramProcess(nothing, Limits(evaluation_s=60), isolated=True)
        process.end()
        return None if process.ended is not None else process.refused or process.last_words()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ProgramProcess:
    """One run of a program. After a ScorerFault it is over; `end` must be called in any case."""

    def __init__(self, program: Program, limits: Limits, *, isolated: bool) -> None:
        """Raises ScorerFault for a program that is not there, MachineError for a folder too large to be copied."""
        self.program, self.limits, self.isolated = program, limits, isolated
        self.ended: Ended | None = None
        self.refused = ""
        self.seen = Seen()
        self._input, self._output, self._errors, self._told = bytearray(), bytearray(), bytearray(), bytearray()
        self._error_bytes, self._over = 0, False
        self._closing = contextlib.ExitStack()
        folder = tempfile.mkdtemp(prefix="pgolf-room-")
        self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            self._work = "/room" if isolated else folder
            self._start(folder)
        except BaseException:
            self._closing.close()
            raise

    def _start(self, folder: str) -> None:
        system = _system()
        environment = {
            **room_environment(self._work, system, seen_by_ranks()),
            "PYTHONHASHSEED": "0",
            **self.program.environment,
        }
        words = [_program_path(self.program, self._work, environment["PATH"], system, isolated=self.isolated)]
        shown = self._furnished(folder, system)
        read_status, write_status = os.pipe()
        self._closing.callback(os.close, read_status)
        free_bytes = free_memory_bytes()
        room = Room(
            folder=folder,
            isolated=self.isolated,
            words=[*words, *self.program.words[1:]],
            environment=environment,
            shown=shown,
            links=system.links,
            hidden=system.hidden,
            limit_s=self.limits.evaluation_s,
            memory_bytes=self.limits.memory_bytes or free_bytes * 3 // 4,
            disk_bytes=self.limits.disk_bytes or free_bytes // 4,
            status=write_status,
            most_processes=self.limits.processes,
        )
        pipe = open_witness(folder)
        self._closing.callback(os.close, pipe)
        watched = {} if self.isolated else {os.fspath(path): str(path) for path in self.program.hidden}
        self._events = FileEvents(watched)
        self._closing.callback(os.close, self._events.descriptor)
        try:
            self._process = start_room(room, subprocess.PIPE)
        finally:
            os.close(write_status)
        self._closing.callback(end_room, self._process)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin.fileno()
        self._closing.callback(self._process.stdin.close)
        self._stdout, self._stderr = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._status, self._pipe = read_status, pipe
        self._selector = self._closing.enter_context(selectors.DefaultSelector())
        for descriptor in (self._stdout, self._stderr, self._status, self._pipe, self._events.descriptor):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(self._stdin, False)

    def _furnished(self, folder: str, system: SystemFiles) -> list[tuple[str, str]]:
        """Put the program's folder where it finds it; what a room with namespaces shows: source, path inside."""
        own = os.path.realpath(self.program.folder)
        hidden = {os.path.realpath(path) for path in self.program.hidden}
        for name in ("witness",) if self.isolated else tuple(name for name in PLACES if name != "submission"):
            os.mkdir(f"{folder}/{name}")
        witness = place_witness(folder)
        if not self.isolated:
            _refuse_large(own)
            shutil.copytree(own, f"{folder}/submission", symlinks=True, ignore=_left_out(hidden))
            return []
        empty = Path(folder, "empty")
        empty.touch()
        shown = [
            *((path, path) for path in system.shown),
            *((os.path.realpath(path), os.path.abspath(path)) for path in self.program.shown),
            (own, f"{self._work}/submission"),
            *((str(witness / name), f"{self._work}/witness/{name}") for name in ("sitecustomize.py", "seen")),
        ]
        covers = [
            (str(empty), target + path.removeprefix(source))
            for path in sorted(hidden)
            for source, target in shown
            if path.startswith(os.path.join(source, "")) and os.path.isfile(path)
        ]
        return shown + covers

    def send(self, lines: bytes) -> None:
        """Lines that have no answer; they leave with the next question."""
        self._input += lines

    def ask(self, question: bytes, about: str, *, within_s: float, most_bytes: int) -> bytes:
        """The line that it answers. about: what, for messages. most_bytes: the longest line that could be an answer.

        Raises ScorerFault for none, in time, that is one line and not said before; the process is ended then.
        """
        try:
            return self._answer(question, about, within_s, most_bytes)
        except BaseException:
            self._over = True
            raise

    def _answer(self, question: bytes, about: str, within_s: float, most_bytes: int) -> bytes:
        assert not self._over
        self._step(0)
        if self._output:
            raise ScorerFault("unasked", f"said {_shown(self._output)} before it was asked about {about}")
        self._input += question
        deadline_s = time.monotonic() + within_s
        while b"\n" not in self._output:
            if len(self._output) > most_bytes:
                raise ScorerFault(
                    "garbage",
                    f"asked about {about}, wrote more than {most_bytes:,} bytes without ending the line: "
                    f"{_shown(self._output)}",
                )
            if self._stdout not in self._selector.get_map():
                raise self._gone(about)
            if self._error_bytes > self.limits.errors_bytes:
                raise ScorerFault("output", f"wrote more than {self.limits.errors_bytes:,} bytes to standard error")
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                unread = f", and had not read {len(self._input):,} bytes of the question" if self._input else ""
                raise ScorerFault("late", f"gave no answer about {about} within {within_s:,.4g} s{unread}")
            self._step(min(left_s, 0.5))
        line, _, rest = bytes(self._output).partition(b"\n")
        self._output.clear()
        if rest:
            raise ScorerFault("unasked", f"answered about {about}, and then said {_shown(rest)} without being asked")
        if len(line) > most_bytes:
            raise ScorerFault("garbage", f"answered about {about} with a line of {len(line):,} bytes: {_shown(line)}")
        return line

    def _step(self, wait_s: float) -> None:
        """Take in what is there, and give what is taken; waits for something to happen."""
        wanted = bool(self._input)
        if wanted != (self._stdin in self._selector.get_map()):
            if wanted:
                self._selector.register(self._stdin, selectors.EVENT_WRITE)
            else:
                self._selector.unregister(self._stdin)
        for key, _ready in self._selector.select(wait_s):
            if key.fd == self._stdin:
                try:
                    del self._input[: os.write(self._stdin, self._input[:_READ_BYTES])]
                except BlockingIOError:
                    pass
                except BrokenPipeError:  # it reads no more, and so does not answer
                    self._input.clear()
            elif key.fd == self._events.descriptor:
                self._events.take()
            else:
                self._take(key.fd)

    def _take(self, descriptor: int) -> None:
        try:
            chunk = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self._selector.unregister(descriptor)
        elif descriptor == self._stdout:
            self._output += chunk
        elif descriptor == self._stderr:
            self._error_bytes += len(chunk)
            self._errors = (self._errors + chunk)[-_KEPT_ERROR_BYTES:]
        elif descriptor == self._pipe:
            self.seen.take(chunk)
        else:
            self._told += chunk
        if descriptor == self._status:
            self._listen()

    def _listen(self) -> None:
        """What the room says of itself."""
        *lines, _ = self._told.split(b"\n")
        for line in lines:
            read = json.loads(line)
            if "ended" in read:
                self.ended = Ended(**read["ended"])
            else:
                self.refused = read["refused"]

    def _gone(self, about: str) -> ScorerFault:
        """Why it says no more."""
        self._await_end(_END_WITHIN_S)
        ended, limits = self.ended, self.limits
        if ended is None and self._status in self._selector.get_map():
            return ScorerFault("closed", f"closed its output instead of answering about {about}")
        if ended is None and self.refused:
            raise MachineError(f"no room could be made for {self.program.words[0]}: {self.refused}")
        if ended is None:
            return ScorerFault("died", f"ended its own room instead of answering about {about}; {self.last_words()}")
        if ended.ended_by == "time":
            return ScorerFault("time", f"took more than {limits.evaluation_s:,.4g} s for one evaluation, and was ended")
        if ended.ended_by == "memory":
            return ScorerFault("memory", f"took {ended.memory_bytes:,} bytes of memory, over the limit, and was ended")
        if ended.ended_by == "disk":
            return ScorerFault("disk", f"wrote {ended.disk_bytes:,} bytes of files, over the limit, and was ended")
        if ended.ended_by == "processes":
            return ScorerFault("processes", f"started more than {limits.processes:,} processes, and was ended")
        how = exit_in_words(ended.exit_code)
        return ScorerFault("died", f"ended ({how}) instead of answering about {about}; {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it wrote to standard error, in words."""
        return f"its last line on standard error: {_shown(last_line(self._errors).encode(), 200)}"

    def _await_end(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while self._status in self._selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            self._step(left_s)

    def end(self) -> list[ScorerFault]:
        """End it, with all that it has started; what it did besides answering."""
        with self._closing:
            self._input.clear()
            if not self._over:
                if self._stdin in self._selector.get_map():
                    self._selector.unregister(self._stdin)
                with contextlib.suppress(BrokenPipeError):
                    assert self._process.stdin is not None
                    self._process.stdin.close()
                self._await_end(_END_WITHIN_S)
            for _ in range(64):  # what was written last is in the pipes
                self._step(0)
            return list(self._conduct())

    def _conduct(self) -> Iterator[ScorerFault]:
        if self._output and not self._over:
            yield ScorerFault("unasked", f"said {_shown(self._output)} at its end, without being asked")
        if self.ended is not None and self.ended.left:
            count = len(self.ended.left)
            processes = f"{'at least ' * (count == MOST_NAMED)}{count} process{'es' * (count > 1)}"
            yield ScorerFault("left running", f"left {processes} behind: {self.ended.left[0]}")
        text = {os.path.realpath(path) for path in self.program.hidden}
        inside = f"{self._work}/submission"
        text |= {path.replace(os.path.realpath(self.program.folder), inside, 1) for path in text}
        wanted = {path for path in self.seen.read if path in text} | self._events.opened
        for path in sorted(wanted):
            yield ScorerFault(
                "reads the text",
                f"wants to open {path}, where the text lies that it is fed piece by piece, or what was trained on",
            )
        shown = (*_system().shown, *(os.path.abspath(path) for path in self.program.shown))
        for path in self.seen.outside(self._work, shown, scratch=self.isolated):
            if path in wanted or any(path.startswith(os.path.join(folder, "")) for folder in shown):
                continue
            does = "write" if path in self.seen.written else "open"
            yield ScorerFault("outside", f"wants to {does} {path}, which is not its own")
        for address in sorted(self.seen.connected):
            yield ScorerFault("network", f"wants to connect to {address}; it may use its own files alone")


@cache
def _system() -> SystemFiles:
    return system_files(seen_by_ranks())


def _program_path(program: Program, work: str, path: str, system: SystemFiles, *, isolated: bool) -> str:
    """What is executed, as it is called in the room."""
    word = program.words[0]
    if "/" not in word:
        found = shutil.which(word, path=path)
        if found is None:
            raise ScorerFault("not found", f"cannot be started: there is no program {word!r} in {path}")
        return found
    if not os.path.isabs(word):
        if not (program.folder / word).is_file():
            raise ScorerFault("not found", f"cannot be started: {program.folder / word} is no file")
        return f"{work}/submission/{word}"
    if not os.path.isfile(word):
        raise ScorerFault("not found", f"cannot be started: {word} is no file")
    seen = [*system.shown, *(os.path.abspath(folder) for folder in program.shown)]
    if isolated and not any(word.startswith(os.path.join(folder, "")) for folder in seen):
        own = os.path.join(os.path.abspath(program.folder), "")
        if word.startswith(own):
            return f"{work}/submission/{word.removeprefix(own)}"
        raise ScorerFault(
            "not found", f"cannot be started: {word} lies outside its folder; --show {os.path.dirname(word)} shows it"
        )
    return word


def _refuse_large(folder: str) -> None:
    total = 0
    for above, _folders, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(above, name)).st_size for name in names)
        if total > MOST_COPIED_BYTES:
            raise MachineError(
                f"{folder} holds more than {MOST_COPIED_BYTES:,} bytes, and without namespaces it is copied for every "
                "evaluation; put the program and its artifact alone into a folder, and name that with --folder"
            )


def _left_out(hidden: set[str]) -> Callable[[str, list[str]], list[str]]:
    def ignored(above: str, names: list[str]) -> list[str]:
        paths = {name: os.path.join(above, name) for name in names}
        return [name for name, path in paths.items() if os.path.realpath(path) in hidden or _is_special(path)]

    return ignored


def _is_special(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _shown(said: bytes | bytearray, most: int = 60) -> str:
    """What it said, for a message: shortened, bytes that are no text spelled out."""
    text = bytes(said[: most + 1]).decode(errors="backslashreplace")
    return repr(text if len(text) <= most else text[:most] + "…")
