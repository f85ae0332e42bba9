"""An S3 service of our own on the loopback: moto's server in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import fsspec
from botocore.loaders import JSONFileLoader

from tests.eventually import eventually
from tests.ports import free_port

BUCKET = "outputs"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sentinel-key", "AWS_SECRET_ACCESS_KEY": "sentinel-secret-0f7c"}
START_S = 60.0

# Every client parses botocore's descriptions of S3 anew, half a second of CPU; here clients come by the dozen.
_parse = JSONFileLoader._load_file
_parsed = lru_cache(maxsize=None)(lambda path, open_: _parse(JSONFileLoader(), path, open_))
JSONFileLoader._load_file = lambda _self, path, open_: _parsed(path, open_)


@dataclass
class Service:
    """A running server; `environment` is what a client of it needs."""

    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, **options: str) -> None:
        """Start, on the same port as before if there was one; what it held before is gone."""
        if not self.port:
            self.port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **options}, start_new_session=True
            )
        eventually(self._answers, "the server answers", within_s=START_S)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    @property
    def environment(self) -> Mapping[str, str]:
        """What botocore reads."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self):
        """A client of its own, for tests that tamper."""
        return fsspec.filesystem(
            "s3",
            key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=f"http://127.0.0.1:{self.port}",
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def requests(self, method: str, path: str) -> int:
        """How many requests for objects whose path matches the server has logged."""
        return len(re.findall(rf'"{method} /{BUCKET}/[^ ?]*{path}', self.log.read_text()))
