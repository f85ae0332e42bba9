"""Mutations of every format that pgolf reads: each must be read, or refused with a message of ours.

    python -m bench.fuzz                              20,000 mutations of each format
    python -m bench.fuzz --format trace --count 1000 --seed 7 --keep failures

A mutation fails if it ends in an exception that is not ours, kills the process or takes longer than 10 s, or if its
message is longer than 500 characters or none that a terminal can show. Mutation i of a seed is always the same. All run
in a child that may be killed; with --keep the content of the first failure of each kind is written.
"""

import argparse
import hashlib
import mmap
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pyarrow as pa
import torch

from bench.fuzz_formats import FORMATS, Format
from pgolf.errors import PgolfError

COUNT = 20_000
LIMIT_S = 10
LIMIT_BYTES = 1 << 30
LIMIT_CHARACTERS = 500

# Samples and a number to the bytes that are read.
Content = Callable[[Sequence[bytes], int], bytes]


@dataclass(frozen=True, slots=True)
class Failure:
    """What one mutation came to that it must not. kind: the same for all mutations that fail alike."""

    number: int
    kind: str
    detail: str


@dataclass(slots=True)
class Report:
    """Of one format. read: mutations that were still valid; messages: errors of ours; most_bytes: memory beyond the
    child's own at its start.
    """

    format: str
    mutations: int = 0
    read: int = 0
    messages: int = 0
    failures: list[Failure] = field(default_factory=list)
    most_bytes: int = 0
    cpu_s: float = 0.0

    def __str__(self) -> str:
        kinds = Counter(failure.kind.partition(" ")[0] for failure in self.failures)
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        return (
            f"{self.format:<14}{self.mutations:>8,} mutations {self.messages:>8,} messages {self.read:>8,} read  "
            f"{self.most_bytes / 2**20:>7,.0f} MiB at most {self.cpu_s:>6.1f} s of CPU  failures: {said}"
        )


def mutation(form: Format, samples: Sequence[bytes], seed: int, number: int) -> bytes:
    """Mutation `number` of a seed."""
    return form.mutate(Random(f"{form.name} {seed} {number}"), samples)


def failure_of(form: Format, folder: Path, content: bytes) -> tuple[str, str] | None:
    """Read one content: kind and detail of its failure, None if it has none. Raises PgolfError where that is fit."""
    try:
        form.read(folder, content)
    except PgolfError as error:
        if (why := _unfit(str(error))) is not None:
            return f"message {why} {type(error).__name__} {_place(error)}", str(error)[:2_000]
        raise
    except Exception as error:
        return f"{type(error).__name__} {_place(error)}", "".join(traceback.format_exception(error))[-3_000:]
    return None


def run(form: Format, count: int, seed: int, *, first: int = 0) -> Report:
    """All mutations of one format, in forked children one after the other."""
    return _run(form, lambda samples, number: mutation(form, samples, seed, number), first, first + count)


def run_kept(form: Format, folder: Path) -> Report:
    """Content that failed once, as `keep` has written it."""
    contents = [path.read_bytes() for path in sorted((folder / form.name).glob("*"))]
    return _run(form, lambda _samples, number: contents[number], 0, len(contents))


def _run(form: Format, content: Content, first: int, end: int) -> Report:
    report = Report(form.name)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        (Path(folder) / "made").mkdir()
        samples = form.samples(Path(folder) / "made")
        (Path(folder) / "read").mkdir()
        if form.prepare is not None:
            form.prepare(Path(folder) / "read")
        number = first
        while number < end:
            number = _in_child(form, Path(folder), partial(content, samples), number, end, report)
    return report


def _in_child(form: Format, folder: Path, content: Callable[[int], bytes], start: int, end: int, report: Report) -> int:
    """Mutations from `start` on until `end` or a death; returns the next number."""
    at = mmap.mmap(-1, 8)
    answer = folder / "answer"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            _child(form, folder, content, range(start, end), at, answer)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if answer.exists():
        read, messages, failures, most_bytes, cpu_s = pickle.loads(answer.read_bytes())
        report.mutations += end - start
        report.read += read
        report.messages += messages
        report.failures += failures
        report.cpu_s += cpu_s
        report.most_bytes = max(report.most_bytes, most_bytes)
        return end
    number = int.from_bytes(at[:8], "little")
    killer = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    kind = "hang" if killer == "SIGALRM" else f"death {killer}"
    report.failures.append(Failure(number, kind, f"{form.name} {number}: {killer}"))
    if number > start:  # what came before it, for the counts
        _in_child(form, folder, content, start, number, report)
    report.mutations += 1
    return number + 1


def _child(
    form: Format, folder: Path, content: Callable[[int], bytes], numbers: range, at: mmap.mmap, answer: Path
) -> None:
    # Threads of the parent's pools are not there after a fork.
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    own = folder / "read"
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    before_bytes, before_s = _peak_bytes(), time.process_time()
    virtual_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    # Address space, not memory: a reader that asks for far more than it may gets MemoryError instead of the machine.
    # Arrow's allocator takes 1 GiB of it ahead, and touches none.
    most_bytes = virtual_bytes + 2 * LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read = messages = 0
    failures = []
    for number in numbers:
        at[:8] = number.to_bytes(8, "little")
        mutated = content(number)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            found = failure_of(form, own, mutated)
            read += found is None
            if found is not None:
                failures.append(Failure(number, *found))
        except PgolfError:
            messages += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
    unfinished = answer.with_suffix(".tmp")
    unfinished.write_bytes(
        pickle.dumps((read, messages, failures, max(0, _peak_bytes() - before_bytes), time.process_time() - before_s))
    )
    unfinished.rename(answer)
    os._exit(0)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _unfit(message: str) -> str | None:
    """Why a person cannot be shown a message; None if they can."""
    if len(message) > LIMIT_CHARACTERS:
        return f"of over {LIMIT_CHARACTERS} characters"
    if any(not character.isprintable() and character not in "\n\t" for character in message):
        return "with unprintable characters"
    return None


def _place(error: BaseException) -> str:
    """The last line of ours that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/pgolf/" in frame.filename or "/flows/" in frame.filename] or frames
    return f"{'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].lineno}" if ours else ""


def keep(form: Format, report: Report, seed: int, folder: Path) -> Iterator[Path]:
    """Write the content of the first failure of each kind into `folder`/<format>/."""
    with tempfile.TemporaryDirectory() as made:
        samples = form.samples(Path(made))
    for failure in {failure.kind: failure for failure in reversed(report.failures)}.values():
        content = mutation(form, samples, seed, failure.number)
        path = folder / form.name / hashlib.sha256(content).hexdigest()[:12]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield path


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line per format and the failures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", action="append", choices=tuple(FORMATS), help="only this one; may be repeated")
    parser.add_argument("--count", type=int, default=COUNT, help="mutations of each format (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="write the first failure of each kind below this folder"
    )
    options = parser.parse_args(argv)
    failed = 0
    for name in options.format or FORMATS:
        form = FORMATS[name]
        report = run(form, options.count, options.seed, first=options.first)
        failed += len(report.failures)
        print(report, flush=True)
        for kind, number in Counter(failure.kind for failure in report.failures).most_common():
            first = next(failure for failure in report.failures if failure.kind == kind)
            print(
                f"    {number:>6,} × {kind}; the first is {first.number}: {first.detail.strip().splitlines()[-1][:300]}"
            )
        if options.keep is not None:
            for path in keep(form, report, options.seed, options.keep):
                print(f"    kept {path}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
