"""The kernel's locks of files (flock), and what to do where a file system has none."""

import errno
import fcntl
import os

from pgolf.errors import MachineError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def flock(descriptor: int, how: int) -> None:
    """As `fcntl.flock`, whose errors name no file.

    Raises BlockingIOError where another process holds the lock, MachineError where files cannot be locked at all.
    """
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError as error:
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            name = "a file"
        if error.errno in _NO_LOCKS:
            raise MachineError(
                f"{name} cannot be locked: its file system has no locks (flock: {error.strerror}); mount it with them "
                "(Lustre: -o flock, NFS: local_lock=none), or choose a folder on another one (--store, --cache; for "
                "leases PGOLF_LEASES)"
            ) from None
        raise OSError(error.errno, error.strerror, name) from None
