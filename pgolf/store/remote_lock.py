"""A lock that is an object: made by a write that needs the name to be free, kept by a lease that is renewed.

Who waits compares no clocks with the holder: a lease is over once the object has stayed the same for that long on the
waiter's own clock. It is then taken by a write that needs the very object seen (If-Match), so that of several takers
one wins. Needs of the service: If-None-Match and If-Match on writes, and reads that see the last write.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pgolf.errors import StoreError
from pgolf.store.remote import Changed, Remote

_MOST_BYTES = 4096


@dataclass
class Held:
    """The lock while we hold it. lost: somebody has taken it, because we did not renew it in time."""

    lost: threading.Event = field(default_factory=threading.Event)


@contextmanager
def remote_lock(
    remote: Remote, name: str, *, holder: str, lease_s: float, on_wait: Callable[[], None]
) -> Iterator[Held]:
    """Hold the lock object inside the block. holder: who we are, for people who look. Raises StoreError.

    At the end the object says that it is free; whoever publishes what the lock guarded may remove it.
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
                # Our own write may have arrived although its answer did not.
                etag = _etag_if(remote, name, token)
                if etag is None:
                    held.lost.set()
                    return
                latest[0] = etag
            except StoreError:
                continue  # the service is away; if it comes back in time the lease is still ours

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
    """Whether the lock object says that somebody holds it; one whose holder has died still says so."""
    found = remote.read(name, most_bytes=_MOST_BYTES)
    return found is not None and not _is_free(found[0])


def _take(remote: Remote, name: str, holder: str, token: str, lease_s: float, on_wait: Callable[[], None]) -> str:
    seen, since_s, waited = "", time.monotonic(), False
    while True:
        found = remote.read(name, most_bytes=_MOST_BYTES)
        content, etag = found or (b"", "")
        if etag != seen:
            seen, since_s = etag, time.monotonic()
        if found is None or _is_free(content) or time.monotonic() - since_s >= _lease_s(content, lease_s):
            try:
                ours = _body(holder, token, 0, lease_s)
                return remote.write(name, ours, instead_of=Remote.ABSENT if found is None else etag)
            except Changed:
                # Our own write may have arrived although its answer did not, and been tried again.
                if (taken := _etag_if(remote, name, token)) is not None:
                    return taken
        elif not waited:
            waited = True
            on_wait()
        time.sleep(min(lease_s / 8, 2.0))


def _body(holder: str, token: str, turn: int, lease_s: float) -> bytes:
    """What a lock says. turn: makes every renewal another object; -1: it is free."""
    said = {"holder": holder, "token": token, "turn": turn, "lease_s": lease_s, "written_s": round(time.time(), 3)}
    return json.dumps(said).encode()


def _said(content: bytes) -> Mapping[str, Any]:
    """What a lock object says; nothing where it is none, for anybody may have written it."""
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        return found if isinstance(found, dict) else {}
    return {}


def _is_free(content: bytes) -> bool:
    return bool(_said(content).get("turn") == -1)


def _lease_s(content: bytes, ours_s: float) -> float:
    """How long its holder lets it stand; what cannot be read gets our own time."""
    with suppress(ValueError, TypeError):
        return min(max(ours_s, float(_said(content).get("lease_s", ours_s))), 600.0)  # NaN is not above ours
    return ours_s


def _etag_if(remote: Remote, name: str, token: str) -> str | None:
    with suppress(StoreError):
        found = remote.read(name, most_bytes=_MOST_BYTES)
        if found is not None and _said(found[0]).get("token") == token:
            return found[1]
    return None
