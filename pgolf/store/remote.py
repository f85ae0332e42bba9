"""An object store behind an S3 address, through fsspec: names in, bytes out, and writes that depend on what is there.

Credentials, region and endpoint are botocore's own business (its environment variables and files); none of them is ever
read here, kept, or part of a message.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pgolf.errors import ConfigError, StoreError

_PART_BYTES = 64 << 20
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Changed(Exception):
    """A conditional write found something else than what it was to replace."""


class Remote:
    """The objects whose names begin with the address's prefix; all names here are relative to it.

    Every method raises StoreError, with what to do, where the service refuses or cannot be reached.
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
        self._files.retries = 2  # botocore tries again by itself

    def read(self, name: str, *, most_bytes: int) -> tuple[bytes, str] | None:
        """An object's bytes and ETag, at most one byte over `most_bytes`; None if there is none."""
        with self._telling(f"read {name}"):
            try:
                got = self._call("get_object", Key=self._key(name), Range=f"bytes=0-{most_bytes}")
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None
            except OSError as error:
                if _code(error) in ("InvalidRange", "416"):  # an empty object has no first byte
                    return b"", str(self._call("head_object", Key=self._key(name))["ETag"])
                raise
            return self._body(got), str(got["ETag"])

    def write(self, name: str, content: bytes, *, instead_of: object) -> str:
        """Write a small object whole; returns its ETag.

        instead_of: an ETag, or ABSENT. Raises Changed where something else is there.
        """
        condition = {"IfNoneMatch": "*"} if instead_of is self.ABSENT else {"IfMatch": instead_of}
        with self._telling(f"write {name}"):
            try:
                put = self._call("put_object", Key=self._key(name), Body=content, **condition)
            except OSError as error:
                # 409: another conditional write of it is under way. 404: what was to be replaced is gone.
                if _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                    raise Changed(name) from None
                if "IfMatch" in condition and _code(error) in ("NoSuchKey", "404"):
                    raise Changed(name) from None
                raise
            return str(put["ETag"])

    def listing(self, prefix: str) -> dict[str, tuple[str, int]]:
        """Name below `prefix` -> (ETag, size in bytes)."""
        found: dict[str, tuple[str, int]] = {}
        start = self._key(prefix)
        options: dict[str, Any] = {}
        with self._telling(f"list {prefix}"):
            while True:
                page = self._call("list_objects_v2", Prefix=start, **options)
                for item in page.get("Contents", ()):
                    found[str(item["Key"])[len(start) :]] = (str(item["ETag"]), int(item["Size"]))
                if not page.get("IsTruncated"):
                    return found
                options = {"ContinuationToken": page["NextContinuationToken"]}

    def size_bytes(self, name: str) -> int | None:
        """An object's size; None if there is none."""
        with self._telling(f"look at {name}"):
            try:
                return int(self._call("head_object", Key=self._key(name))["ContentLength"])
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None

    def upload(self, path: Path, name: str) -> None:
        """Write a file of any size; the object appears whole or not at all."""
        with self._telling(f"upload {name}"):
            self._files.put_file(str(path), f"{self.bucket}/{self._key(name)}", chunksize=_PART_BYTES)

    def download(self, name: str, path: Path) -> None:
        """Bring an object to a file."""
        with self._telling(f"download {name}"):
            self._files.get_file(f"{self.bucket}/{self._key(name)}", str(path))

    def copy(self, name: str, to: str) -> None:
        """Copy an object inside the store."""
        with self._telling(f"copy {name}"):
            self._files.cp_file(f"{self.bucket}/{self._key(name)}", f"{self.bucket}/{self._key(to)}")

    def remove(self, name: str) -> None:
        """Remove an object; none is as good."""
        with self._telling(f"remove {name}"):
            self._call("delete_object", Key=self._key(name))

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _call(self, method: str, **options: Any) -> Any:
        return self._files.call_s3(method, Bucket=self.bucket, **options)

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
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            if isinstance(error, OSError) and error.errno in _OURS and not _code(error):
                raise  # the trouble of this machine's disk
            raise StoreError(f"{self.url}: cannot {doing}: {self._why(error)}") from None

    def _why(self, error: BaseException) -> str:
        code = _code(error)
        if code == "NoSuchBucket":
            return f"there is no bucket {self.bucket}; make it, or correct --store"
        if isinstance(error, PermissionError) or type(error).__name__ in ("NoCredentialsError", "ProfileNotFound"):
            return (
                f"the service refuses these credentials ({code or type(error).__name__}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for this bucket"
            )
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        return f"{said[:300]}. What is finished is kept in the cache; run again when the service answers"


def is_url(text: str) -> bool:
    """Whether a store is named by an address instead of a folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises ConfigError for one that is not s3://bucket[/prefix], or that holds credentials: it stands in logs.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError("the store's address holds credentials; give s3://bucket/prefix, and them in the environment")
    if parts.scheme != "s3":
        raise ConfigError(
            f"{url}: a store is a folder or s3://bucket/prefix; {parts.scheme} offers no conditional writes here, "
            "which its locks need"
        )
    path = parts.path.strip("/")
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) and not (parts.query or parts.fragment)
    if not plain or any(part in ("", ".", "..") for part in path.split("/") if path):
        raise ConfigError(f"{url}: give the store as s3://bucket/prefix")
    return f"s3://{parts.netloc}/{path}".rstrip("/")


def _code(error: BaseException) -> str:
    """The service's own word for what went wrong; "" if it said nothing."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
