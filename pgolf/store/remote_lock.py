"""A distributed lock in an object store: an object created by a conditional write, held by a lease that is renewed.

No clocks are compared between machines: a lease has expired once the waiter has seen the object unchanged for that long
on its own clock. The waiter then takes over with a write conditional on the object it saw (If-Match), so that only one
of several waiters wins. The service must support If-None-Match and If-Match on writes, and read-after-write
consistency.
"""

import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pgolf.errors import StoreError
from pgolf.store.remote import Changed, Remote

_MAX_BYTES = 4096
_LEAST_ANSWER_S = 5.0


class Held:
    """A lock we hold, by a lease that a thread of its own renews.

    lost: set when another process was seen to have taken it. remove_at_end: remove the lock object at the end instead
    of marking it free; for whoever published the guarded output, and for locks that only say that we are there.
    """

    def __init__(self, remote: Remote, name: str, holder: str, token: str, lease_s: float) -> None:
        self.lost = threading.Event()
        self.remove_at_end = False
        self._remote, self._name, self._holder, self._token, self._lease_s = remote, name, holder, token, lease_s
        self._turn, self._etag = 0, ""
        self._renewed_s = -math.inf  # the begin of our last write that was answered
        self._writing = threading.Lock()

    def take(self, on_wait: Callable[[], None]) -> None:
        """Wait for the lock, and write that it is ours."""
        seen, since_s, waited = "", time.monotonic(), False
        while True:
            found = self._remote.read(self._name, max_bytes=_MAX_BYTES)
            content, etag = found or (b"", "")
            if etag != seen:
                seen, since_s = etag, time.monotonic()
            if found is None or _is_free(content) or time.monotonic() - since_s >= _lease_s(content, self._lease_s):
                try:
                    self._write(Remote.ABSENT if found is None else etag)
                    return
                except Changed:
                    if self._is_answer_lost():
                        return
            elif not waited:
                waited = True
                on_wait()
            time.sleep(min(self._lease_s / 8, 2.0))

    def renew(self) -> None:
        """Renew the lease; sets `lost` where another has taken it. Raises StoreError where the service does not say."""
        with self._writing:
            if self.lost.is_set():
                return
            self._turn += 1
            for _attempt in range(2):
                try:
                    # A connection that has died must not cost the lease: what is not answered is tried again.
                    self._write(self._etag, within_s=max(self._lease_s / 4, _LEAST_ANSWER_S))
                    return
                except Changed:
                    if not self._is_answer_lost():
                        self.lost.set()
                        return

    def is_ours(self) -> bool:
        """Whether others have had no reason to take it by now; asks the service if it was last renewed a lease ago.

        Raises StoreError where the service does not say.
        """
        if _now_s() - self._renewed_s >= self._lease_s:
            self.renew()
        return not self.lost.is_set()

    def free(self) -> None:
        """Let others have it. Where the service does not answer, they take it when the lease is over."""
        with self._writing, suppress(StoreError):
            for _attempt in range(2):
                if self.lost.is_set():
                    return
                try:
                    if self.remove_at_end:
                        with suppress(StoreError):  # a service may not know of conditions here
                            self._remote.remove(self._name, instead_of=self._etag)
                            return
                    self._remote.write(self._name, _body("", self._token, -1, 0.0), instead_of=self._etag)
                    return
                except Changed:
                    if not self._is_answer_lost():
                        return

    def _write(self, instead_of: object, *, within_s: float | None = None) -> None:
        began_s = _now_s()
        content = _body(self._holder, self._token, self._turn, self._lease_s)
        self._etag = self._remote.write(self._name, content, instead_of=instead_of, within_s=within_s)
        self._renewed_s = began_s

    def _is_answer_lost(self) -> bool:
        """Whether the object that is there instead is one that we wrote. Raises StoreError where that is not said.

        When it came there is not known, so that it counts as no renewal.
        """
        found = self._remote.read(self._name, max_bytes=_MAX_BYTES)
        if found is None or _parsed(found[0]).get("token") != self._token:
            return False
        self._etag = found[1]
        return True


@contextmanager
def remote_lock(
    remote: Remote, name: str, *, holder: str, lease_s: float, on_wait: Callable[[], None]
) -> Iterator[Held]:
    """Hold the lock inside the block. holder: who we are, for humans to read. Raises StoreError.

    At the end the lock object is marked free, or removed.
    """
    held, ended = Held(remote, name, holder, secrets.token_hex(8), lease_s), threading.Event()
    held.take(on_wait)

    def keep() -> None:
        while not (ended.wait(lease_s / 4) or held.lost.is_set()):
            with suppress(StoreError):  # the service is unreachable; if it is back in time, the lease is still ours
                held.renew()

    renewing = threading.Thread(target=keep, name=f"renew {name}", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        ended.set()
        renewing.join()
        held.free()


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


def still_held(remote: Remote, names: Sequence[str], *, lease_s: float) -> list[str]:
    """Which of the locks are held by somebody who renews the lease; it takes up to a lease to know of one."""
    watched, living = {name: _Watched(remote, name, lease_s) for name in names}, []
    while watched:
        for name, one in list(watched.items()):
            held = one.is_held()
            if held and not one.changed:
                continue
            if held:
                living.append(name)
            del watched[name]
        if watched:
            time.sleep(min(lease_s / 8, 2.0))
    return living


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


def _now_s() -> float:
    """Of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
