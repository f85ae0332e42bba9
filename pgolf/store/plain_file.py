"""Open what others have written, where it is a regular file: pipes, devices and sockets are refused, never waited for.

All errors are OSErrors whose `strerror` says what is wrong, so that a reader's own message can repeat it.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# Of files that are read as a whole and are small by nature: manifests, tokenizers, status files.
MOST_BYTES = 1 << 26

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}


def open_plain(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """A regular file, opened to be read in binary; never waits. Raises OSError for anything else."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_plain(path: Path) -> int:
    """The size in bytes of a regular file, for a reader that takes a path. Raises OSError for anything else."""
    found = os.stat(path)
    _require_regular(found.st_mode, path)
    return found.st_size


def read_plain(path: Path, *, most_bytes: int = MOST_BYTES, follow_links: bool = True) -> bytes:
    """The content of a regular file. Raises OSError for anything else, and for more bytes before they are read."""
    with open_plain(path, follow_links=follow_links) as file:
        if (size_bytes := os.fstat(file.fileno()).st_size) > most_bytes:
            raise OSError(errno.EFBIG, f"{size_bytes:,} bytes, where at most {most_bytes:,} are read", str(path))
        return file.read()


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, f"{kind}, not a regular file", str(path))
