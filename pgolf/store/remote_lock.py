"""A distributed lock in an object store: an object created by a conditional write, held by a lease that is renewed.

No clocks are compared between machines: a lease has expired once the waiter has seen the object unchanged for that long
on its own clock. The waiter then takes over with a write conditional on the object it saw (If-Match), so that only one
of several waiters wins. The service must support If-None-Match and If-Match on writes, and read-after-write
consistency.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pgolf.errors import StoreError
from pgolf.store.remote import Changed, Remote

_MAX_BYTES = 4096


@dataclass
class Held:
    """A lock we hold. lost: set when another process took it because we did not renew the lease in time."""

    lost: threading.Event = field(default_factory=threading.Event)


@contextmanager
def remote_lock(
    remote: Remote, name: str, *, holder: str, lease_s: float, on_wait: Callable[[], None]
) -> Iterator[Held]:
    """Hold the lock inside the block. holder: who we are, for humans to read. Raises StoreError.

    At the end the lock object is marked free; whoever publishes the guarded output may delete it.
    """
    token = secrets.token_hex(8)
    etag = _take(remote, name, holder, token, lease_s, on_wait)
    held, ended = Held(), threading.Event()
    latest = [etag]

    def renew() -> None:
        turn = 0
        while not ended.wait(lease_s / 4):
            turn += 1
            try:
                latest[0] = remote.write(name, _body(holder, token, turn, lease_s), instead_of=latest[0])
            except Changed:
                # Our own write may have succeeded although its response was lost.
                etag = _etag_if(remote, name, token)
                if etag is None:
                    held.lost.set()
                    return
                latest[0] = etag
            except StoreError:
                continue  # the service is unreachable; if it is back in time, the lease is still ours

    renewing = threading.Thread(target=renew, name=f"renew {name}", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        ended.set()
        renewing.join()
        if not held.lost.is_set():
            with suppress(StoreError, Changed):
                remote.write(name, _body("", token, -1, 0.0), instead_of=latest[0])


def is_held(remote: Remote, name: str) -> bool:
    """Whether the lock object is marked as held; it stays so after its holder has died."""
    found = remote.read(name, max_bytes=_MAX_BYTES)
    return found is not None and not _is_free(found[0])


def wait_while_held(remote: Remote, name: str, *, lease_s: float, on_wait: Callable[[str], None]) -> None:
    """Return once nobody holds the lock, or its holder has let the lease run out. on_wait: told once who holds it."""
    watched, waited = _Watched(remote, name, lease_s), False
    while watched.is_held():
        if not waited:
            waited = True
            on_wait(watched.holder)
        time.sleep(min(lease_s / 8, 2.0))


def living_holder(
    remote: Remote, names: Sequence[str], *, lease_s: float, on_wait: Callable[[str], None]
) -> str | None:
    """Who holds one of the locks and renews its lease; None where all are free or their holders gave no sign of life.

    It takes as long as a lease to know that a holder is dead; its lock is then removed. on_wait: told once who holds
    the locks that are watched.
    """
    watched = [_Watched(remote, name, lease_s) for name in names]
    waited = False
    while True:
        held = [one for one in watched if one.is_held()]
        for one in held:
            if one.changed:
                return one.holder
        if not held:
            break
        if not waited:
            waited = True
            on_wait("; ".join(one.holder for one in held))
        time.sleep(min(lease_s / 8, 2.0))
        watched = held
    for name in names:
        remote.remove(name)
    return None


class _Watched:
    """A lock that another holds, looked at again and again. changed: its lease was renewed since the first look."""

    def __init__(self, remote: Remote, name: str, lease_s: float) -> None:
        self._remote, self._name, self._ours_s = remote, name, lease_s
        self._seen, self._since_s = "", time.monotonic()
        self.holder, self.changed = "", False

    def is_held(self) -> bool:
        """Whether it is held; not any more once it is free, or its lease has run out."""
        found = self._remote.read(self._name, max_bytes=_MAX_BYTES)
        if found is None or _is_free(found[0]):
            return False
        content, etag = found
        self.holder = str(_parsed(content).get("holder", "an unknown process"))[:400]
        if etag != self._seen:
            self.changed = self._seen != ""
            self._seen, self._since_s = etag, time.monotonic()
        return time.monotonic() - self._since_s < _lease_s(content, self._ours_s)


def _take(remote: Remote, name: str, holder: str, token: str, lease_s: float, on_wait: Callable[[], None]) -> str:
    seen, since_s, waited = "", time.monotonic(), False
    while True:
        found = remote.read(name, max_bytes=_MAX_BYTES)
        content, etag = found or (b"", "")
        if etag != seen:
            seen, since_s = etag, time.monotonic()
        if found is None or _is_free(content) or time.monotonic() - since_s >= _lease_s(content, lease_s):
            try:
                ours = _body(holder, token, 0, lease_s)
                return remote.write(name, ours, instead_of=Remote.ABSENT if found is None else etag)
            except Changed:
                # Our own write may have succeeded although its response was lost and it was retried.
                if (taken := _etag_if(remote, name, token)) is not None:
                    return taken
        elif not waited:
            waited = True
            on_wait()
        time.sleep(min(lease_s / 8, 2.0))


def _body(holder: str, token: str, turn: int, lease_s: float) -> bytes:
    """Content of a lock object. turn: makes each renewal a different object; -1 marks the lock as free."""
    content = {"holder": holder, "token": token, "turn": turn, "lease_s": lease_s, "written_s": round(time.time(), 3)}
    return json.dumps(content).encode()


def _parsed(content: bytes) -> Mapping[str, Any]:
    """Fields of a lock object; empty if malformed, since anybody may have written it."""
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        return found if isinstance(found, dict) else {}
    return {}


def _is_free(content: bytes) -> bool:
    return bool(_parsed(content).get("turn") == -1)


def _lease_s(content: bytes, ours_s: float) -> float:
    """The lease duration the holder asked for; our own if it cannot be read."""
    with suppress(ValueError, TypeError, OverflowError, RecursionError):
        return min(max(ours_s, float(_parsed(content).get("lease_s", ours_s))), 600.0)  # max returns ours for NaN
    return ours_s


def _etag_if(remote: Remote, name: str, token: str) -> str | None:
    with suppress(StoreError):
        found = remote.read(name, max_bytes=_MAX_BYTES)
        if found is not None and _parsed(found[0]).get("token") == token:
            return found[1]
    return None
