"""The folder in which a submission is written before it is put in its place; what killed exports left of it goes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def unfinished(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, hidden, removed at the end, with those of exports to `out` that run no more."""
    prefix = f".{out.name}.unfinished-"
    for left in sorted(out.parent.iterdir()):
        if left.name.startswith(prefix) and _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent) as folder:
        # The kernel lets go of it when its holder dies, however that happens.
        descriptor = os.open(Path(folder) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # no locks there: then nobody takes it for left
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(folder)
        finally:
            os.close(descriptor)


def _is_left(folder: Path) -> bool:
    """Whether nobody writes in it any more; one without a lock is being made, or not ours."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
