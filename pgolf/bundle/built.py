"""A script with what stays at home, kept for the next process: making it takes seconds, and a plan needs its size.

One file a program in `__pycache__`, named by all that decides it: code, switches of settings, what makes it, Python.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from pgolf.bundle.line_map import Line
from pgolf.bundle.messages import Message
from pgolf.bundle.script import with_settings
from pgolf.bundle.settings_text import settings_text
from pgolf.identity.parse_cache import beside
from pgolf.identity.snapshot import CODE

# Programs kept; the oldest goes first.
MOST_KEPT = 32

_IN_PROCESS: dict[str, "Built"] = {}


@dataclass(frozen=True, slots=True)
class Built:
    """A script. lines: of its program, with where each is from. messages: the first is number 1.

    fields, names: what the text of its settings holds, and how that is spelled (`settings_text`).
    """

    script: bytes
    lines: Mapping[int, Line]
    messages: tuple[Message, ...]
    fields: Mapping[str, Sequence[str]]
    names: Mapping[str, str]

    def with_settings(self, settings: BaseModel) -> "Built":
        """The script for one of the settings that share its program."""
        text = settings_text(settings, {cls: set(own) for cls, own in self.fields.items()}, self.names)
        return replace(self, script=with_settings(self.script, text))

    def map_json(self) -> str:
        """What stays at home, as JSON. sha256: of the script, by which a map is known to be its own."""
        content = {
            "sha256": hashlib.sha256(self.script).hexdigest(),
            "lines": [(line, *asdict(source).values()) for line, source in self.lines.items()],
            "messages": [asdict(one) for one in self.messages],
        }
        return json.dumps(content)


def read_map(text: str) -> tuple[str, dict[int, Line], tuple[Message, ...]]:
    """sha256 of the script, lines, messages of a `map_json`. Raises ValueError, KeyError, TypeError for other text."""
    content = json.loads(text)
    lines = {int(line): Line(*source) for line, *source in content["lines"]}
    return content["sha256"], lines, tuple(Message(**one) for one in content["messages"])


def key_of(sources: Sequence[bytes], settings: str) -> str:
    """What decides a program: its modules' source, the switches of its settings, what makes it, and the Python."""
    makers = [file.text for name, file in sorted(CODE.files.items()) if name.startswith("pgolf.bundle.")]
    parts = [sys.version.encode(), settings.encode(), *makers, *sources]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def kept(key: str) -> Built | None:
    """The script of a key; None where there is none, or a damaged one."""
    if key not in _IN_PROCESS:
        try:
            digest, _, content = _path(key).read_bytes().partition(b"\n")
            if hashlib.sha256(content).hexdigest().encode() != digest:
                return None
            script, spelling, home = content.split(b"\n", 2)
            _sha256, lines, messages = read_map(home.decode())
            _IN_PROCESS[key] = Built(bytes.fromhex(script.decode()), lines, messages, *json.loads(spelling))
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return _IN_PROCESS[key]


def keep(key: str, built: Built, *, on_disk: bool) -> None:
    """Keep a script. Where it cannot be written, nothing is kept but in this process."""
    _IN_PROCESS[key] = built
    if sys.dont_write_bytecode or not on_disk:
        return
    path = _path(key)
    spelling = json.dumps([built.fields, built.names])
    content = "\n".join([built.script.hex(), spelling, built.map_json()]).encode()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        known = sorted(path.parent.glob(f"{_NAME}.*"), key=lambda one: one.stat().st_mtime)
        for old in known[:-MOST_KEPT]:
            old.unlink(missing_ok=True)


_NAME = "script"


def _path(key: str) -> Path:
    return Path(beside(__name__, _NAME)).with_name(f"{_NAME}.{key[:40]}")
