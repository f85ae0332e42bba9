"""What a machine lacks when an error says only that something failed: room on a disk, memory, descriptors, a limit.

Libraries report it in many classes and sometimes as text alone, so both are looked at, and what an error was raised
from. The answer has the limit in numbers and the command that raises it.
"""

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Exit code of a rank that found the disk full: its files and its log, which torchrun reads from a file, cannot tell it.
DISK_FULL = 28
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# On a full disk: what is left is less than one write of ours, or belongs to root alone.
ALMOST_FULL_BYTES = 1 << 20
_USUAL_FILES = 1024  # what systems allow a process from the start
_FULL = ("No space left on device", "os error 28", "database or disk is full", "Disk quota exceeded")
_TOO_LARGE = ("File too large", "os error 27")
_TOO_MANY = ("Too many open files", "os error 24")
_NO_MEMORY = (
    *("Cannot allocate memory", "can't allocate memory", "not enough memory", "failed to map segment", "os error 12"),
    *("Unable to allocate", "bad_alloc", "CUDA out of memory"),
    *("cannot create thread", "can't start new thread", "pthread_create failed"),
)


def no_space(error: BaseException) -> bool:
    """Whether it is caused by a full disk or a used-up quota."""
    return _is(error, NO_SPACE, _FULL)


def lack_of(error: BaseException, folders: Sequence[Path] = ()) -> str | None:
    """What the machine lacks, and what to do; None for an error of another kind.

    folders: where was written to, for errors that do not name a file.
    """
    for cause in _causes(error):
        if no_space(cause):
            return full_disk(_places(cause, folders))
        if _is(cause, (errno.EFBIG,), _TOO_LARGE):
            return _limited("a file would be larger than this process may write", "-f", resource.RLIMIT_FSIZE, "bytes")
        if _is(cause, (errno.EMFILE,), _TOO_MANY):
            said = "more files would be open at once than this process may have"
            return _limited(said, "-n", resource.RLIMIT_NOFILE, "files")
        if isinstance(cause, MemoryError) or _is(cause, (errno.ENOMEM,), _NO_MEMORY):
            return _no_memory(cause)
        if isinstance(cause, OSError) and cause.errno == errno.EROFS:
            return f"{cause.filename or 'a folder'} is on a read-only file system; name a folder that can be written to"
    return None


def full_disk(folders: Sequence[Path]) -> str:
    """Which of the folders has no room left, and how much there is; of several the fullest."""
    known = [(_free_bytes(folder), folder) for folder in dict.fromkeys(map(_nearest, folders))]
    free_bytes, folder = min(known)
    quota = ", so that a quota may be used up" if free_bytes >= ALMOST_FULL_BYTES else ""
    return (
        f"no space left in {folder} ({free_bytes:,} bytes free{quota}): free some there, or choose a folder on "
        "another disk (--store, --results, --out, TMPDIR or HOME, whichever this is), and run again"
    )


def is_full(folder: Path) -> bool:
    """Whether a disk is full, or has so little left that this is why a write has failed."""
    return _free_bytes(_nearest(folder)) < ALMOST_FULL_BYTES


def lack_behind(interrupt: KeyboardInterrupt) -> str | None:
    """What a library lacked that interrupted us itself while it was loaded; None where somebody else may have.

    OpenBLAS, which comes with numpy, sends its own process SIGINT where it cannot start its threads.
    """
    innermost = interrupt.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None or innermost.tb_frame.f_code.co_name != "<module>":
        return None
    return interrupted_by_library()


def interrupted_by_library() -> str | None:
    """What a library lacks that interrupts its own process while it is loaded; None where nothing is limited."""
    limits = limits_in_force()
    if not limits:
        return None
    return f"a library was interrupted while it was loaded, as it does itself where it cannot start threads: {limits}"


def limits_in_force() -> str:
    """The limits of this process that a program could have met unsaid, as one sentence; empty where there are none."""
    known = {
        "-v": (resource.RLIMIT_AS, "bytes of memory", None),
        "-d": (resource.RLIMIT_DATA, "bytes of data", None),
        "-f": (resource.RLIMIT_FSIZE, "bytes per file", None),
        "-n": (resource.RLIMIT_NOFILE, "open files", _USUAL_FILES),
    }
    found = []
    for option, (number, unit, usual) in known.items():
        soft = resource.getrlimit(number)[0]
        if soft != resource.RLIM_INFINITY and (usual is None or soft < usual):
            found.append(f"ulimit {option} allows {soft:,} {unit}")
    return f"{' and '.join(found)}; if that was too little, raise it and run again" if found else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is(error: BaseException, numbers: Sequence[int], texts: Sequence[str]) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in numbers
    return any(text in str(error) for text in texts)


def _places(error: BaseException, folders: Sequence[Path]) -> list[Path]:
    # Of two the second is written: a copy, a rename.
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    if places := [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes) and name]:
        return places
    return [*folders, Path(tempfile.gettempdir())]


def _nearest(path: Path) -> Path:
    """The folder itself, or the closest one above that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _limited(said: str, option: str, number: int, unit: str) -> str:
    soft, hard = resource.getrlimit(number)
    raised = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard}"
    if soft == resource.RLIM_INFINITY:
        return f"{said}, and this process has no limit of its own; look for one of the file system or the machine"
    may = f"`ulimit {option} {raised}`" if soft != hard else f"have the hard limit raised (`ulimit -H {option}`)"
    return f"{said} (ulimit {option}: {soft:,} {unit}): {may}, and run again"


def _no_memory(error: BaseException) -> str:
    wanted = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    for option, number in (("-v", resource.RLIMIT_AS), ("-d", resource.RLIMIT_DATA)):
        if resource.getrlimit(number)[0] != resource.RLIM_INFINITY:
            said = "more memory would be taken than this process may"
            return f"{_limited(said, option, number, 'bytes')} ({wanted})"
    if "thread" in wanted:
        said = "more processes and threads would run than this user may have"
        if resource.getrlimit(resource.RLIMIT_NPROC)[0] != resource.RLIM_INFINITY:
            return f"{_limited(said, '-u', resource.RLIMIT_NPROC, 'threads')} ({wanted})"
    return f"this machine has not enough memory: {wanted}; end what else runs here, or take a smaller recipe"
