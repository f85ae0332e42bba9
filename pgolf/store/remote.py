"""Client for an S3 object store (through fsspec), with conditional writes.

Credentials, region and endpoint are left to botocore (its environment variables and files); they are never read or
stored here, nor printed in messages.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pgolf.errors import ConfigError, StoreError, StoreUnreachable

_PART_BYTES = 64 << 20
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Changed(Exception):
    """A conditional write failed its precondition: the object is not what it was to replace."""


class Remote:
    """The objects below an s3:// address; all names are relative to its prefix.

    Every method raises StoreError, with what to do, if the service refuses or cannot be reached.
    """

    ABSENT = object()

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)
        try:
            import fsspec
            from aiohttp import ClientError
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise ConfigError(f"{self.url}: object stores need s3fs; pip install 'pgolf[s3]'") from None
        self._failures: tuple[type[BaseException], ...] = (OSError, BotoCoreError, ClientError)
        self.bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._files: Any = fsspec.filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            default_block_size=_PART_BYTES,
            config_kwargs={"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}},
        )
        self._files.retries = 2  # botocore retries by itself

    def read(self, name: str, *, max_bytes: int) -> tuple[bytes, str] | None:
        """An object's content (at most max_bytes + 1 bytes) and ETag; None if it does not exist."""
        with self._translated_errors(f"read {name}"):
            try:
                return self._read(self._key(name), max_bytes)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None
            except OSError as error:
                if _code(error) in ("InvalidRange", "416"):  # an empty object has no first byte
                    return b"", str(self._call("head_object", Key=self._key(name))["ETag"])
                raise

    def write(self, name: str, content: bytes, *, instead_of: object, within_s: float | None = None) -> str:
        """Write a small object conditionally; returns its ETag.

        instead_of: the ETag of the object to replace, or ABSENT. Raises Changed if something else is there.
        within_s: wait for no longer than that; the object may be written nevertheless.
        """
        condition = {"IfNoneMatch": "*"} if instead_of is self.ABSENT else {"IfMatch": instead_of}
        with self._translated_errors(f"write {name}"):
            try:
                put = self._call("put_object", Key=self._key(name), Body=content, timeout=within_s, **condition)
            except OSError as error:
                # 409: another conditional write is in progress. 404: the object to replace is gone.
                if _is_of_condition(error) or ("IfMatch" in condition and _code(error) in ("NoSuchKey", "404")):
                    raise Changed(name) from None
                raise
            return str(put["ETag"])

    def listing(self, prefix: str) -> dict[str, tuple[str, int]]:
        """Name relative to `prefix` -> (ETag, size in bytes)."""
        found: dict[str, tuple[str, int]] = {}
        start = self._key(prefix)
        options: dict[str, Any] = {}
        with self._translated_errors(f"list {prefix}"):
            while True:
                page = self._call("list_objects_v2", Prefix=start, **options)
                for item in page.get("Contents", ()):
                    found[str(item["Key"])[len(start) :]] = (str(item["ETag"]), int(item["Size"]))
                if not page.get("IsTruncated"):
                    return found
                options = {"ContinuationToken": page["NextContinuationToken"]}

    def size_bytes(self, name: str) -> int | None:
        """An object's size; None if it does not exist."""
        with self._translated_errors(f"look up {name}"):
            try:
                return int(self._call("head_object", Key=self._key(name))["ContentLength"])
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None

    def upload(self, path: Path, name: str) -> None:
        """Upload a file of any size; the object appears atomically."""
        with self._translated_errors(f"upload {name}"):
            self._files.put_file(str(path), f"{self.bucket}/{self._key(name)}", chunksize=_PART_BYTES)

    def download(self, name: str, path: Path) -> None:
        """Download an object to a file."""
        with self._translated_errors(f"download {name}"):
            self._files.get_file(f"{self.bucket}/{self._key(name)}", str(path))

    def copy(self, name: str, to: str) -> None:
        """Copy an object inside the store."""
        with self._translated_errors(f"copy {name}"):
            self._files.cp_file(f"{self.bucket}/{self._key(name)}", f"{self.bucket}/{self._key(to)}")

    def remove(self, name: str, *, instead_of: str | None = None) -> None:
        """Delete an object, if it exists.

        instead_of: its ETag. Raises Changed if something else is there; a service may ignore this condition, or raise.
        """
        condition = {} if instead_of is None else {"IfMatch": instead_of}
        with self._translated_errors(f"remove {name}"):
            try:
                self._call("delete_object", Key=self._key(name), **condition)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
            except OSError as error:
                if _is_of_condition(error):
                    raise Changed(name) from None
                raise

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _call(self, method: str, **options: Any) -> Any:
        return self._files.call_s3(method, Bucket=self.bucket, **options)

    def _read(self, key: str, max_bytes: int) -> tuple[bytes, str]:
        for last in (False, False, True):
            got = self._call("get_object", Key=key, Range=f"bytes=0-{max_bytes}")
            try:
                return self._body(got), str(got["ETag"])
            except self._failures:  # the clients below try again what has no answer, but not what has half of one
                if last:
                    raise
        raise AssertionError

    def _body(self, got: Any) -> bytes:
        from fsspec.asyn import sync

        async def whole() -> bytes:
            async with got["Body"] as stream:
                return bytes(await stream.read())

        return bytes(sync(self._files.loop, whole))

    def _refuse_missing_bucket(self, error: OSError) -> None:
        if _code(error) == "NoSuchBucket":
            raise error

    @contextmanager
    def _translated_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            if isinstance(error, OSError) and error.errno in _OURS and not _code(error):
                raise  # this machine's disk is at fault
            if mistake := self._mistake(error):
                raise StoreError(f"{self.url}: cannot {doing}: {mistake}") from None
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise StoreUnreachable(
                f"{self.url}: cannot {doing}: {reason[:300]}. Finished stages are kept in the cache; run again when "
                "the service answers"
            ) from None

    def _mistake(self, error: BaseException) -> str | None:
        """What only a person can put right; None for a failure of the service."""
        code = _code(error)
        if code == "NoSuchBucket":
            return f"there is no bucket {self.bucket}; create it, or correct --store"
        if isinstance(error, PermissionError) or type(error).__name__ in ("NoCredentialsError", "ProfileNotFound"):
            return (
                f"the service refuses these credentials ({code or type(error).__name__}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for this bucket"
            )
        return None


def is_url(text: str) -> bool:
    """Whether a store is given as a URL rather than a folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def checked_url(url: str) -> str:
    """The store's URL without a trailing slash.

    Raises ConfigError unless it is s3://bucket[/prefix], or if it contains credentials, since it appears in logs.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            "the store's URL contains credentials; give s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the environment"
        )
    if parts.scheme != "s3":
        raise ConfigError(
            f"{url}: a store is a folder or s3://bucket/prefix; {parts.scheme} lacks the conditional writes that its "
            "locks need"
        )
    path = parts.path.strip("/")
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) and not (parts.query or parts.fragment)
    if not plain or any(part in ("", ".", "..") for part in path.split("/") if path):
        raise ConfigError(f"{url}: give the store as s3://bucket/prefix")
    return f"s3://{parts.netloc}/{path}".rstrip("/")


def _is_of_condition(error: OSError) -> bool:
    return _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


def _code(error: BaseException) -> str:
    """The service's error code; "" if it sent none."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
