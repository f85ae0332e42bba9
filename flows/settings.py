"""Prefect settings for pgolf, applied before Prefect is imported; the user's own settings take precedence.

Reasons, measured: the in-process server needs more than the default 20 s on a cold start; task states of short runs are
lost unless the recorder writes in batches; an in-memory lease outlives its holder. `prefect.toml` sets the same for
commands run from the checkout (Prefect reads it from the current folder only).
"""

import io
import os
import re
import sys
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pgolf.errors import ConfigError
from pgolf.store.plain_file import read_plain

_MOST_BYTES = 1 << 20  # of a file of settings
_MOST_NAME_BYTES = 255
STARTUP = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    STARTUP: "120",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # whole seconds: Prefect truncates 0.5 to 0
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pgolf",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
# The command line prints its own stage lines; Prefect's INFO lines still reach the run's log in the UI.
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}


def apply_settings(*, quiet: bool) -> None:
    """Set environment variables that the user has not set; quiet: keep Prefect's own lines off the console."""
    for name, value in (SETTINGS | (QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)


def use_passive_openmp() -> None:
    """Make idle OpenMP threads sleep instead of spin, which slows a busy machine badly. Call before importing torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that Prefect will use, and where it was found, as a person would look for it."""

    value: str
    source: str

    def __str__(self) -> str:
        return f"{without_secrets(self.value)} ({self.source})"


def without_secrets(text: str) -> str:
    """The text with its addresses as others may read them: a user, a password and a query are left out."""
    return re.sub(r"\?\S*=\S*", "?…", re.sub(r"(\w:/*)\S*@", r"\1…@", text))


def setting(name: str, *keys: str) -> Setting | None:
    """A setting of Prefect's as Prefect itself finds it, without importing it; None where it is unset or empty.

    In this order: the environment, .env, prefect.toml and pyproject.toml of the current folder, the active profile.
    keys: where TOML files have it. Raises ConfigError for a file that Prefect could not read.
    """
    found = next(_found(name, keys), None)
    return found if found is not None and found.value else None


def server() -> Setting | None:
    """The address of the Prefect server that the user has configured. Raises ConfigError if it is none."""
    found = setting("PREFECT_API_URL", "api", "url")
    if found is not None and (why := _no_address(found.value)):
        raise ConfigError(
            f"{found} is not the address of a Prefect server: {why}; write it as http://127.0.0.1:4200/api"
        )
    return found


def auth_string() -> Setting | None:
    """The user and password for that server."""
    return setting("PREFECT_API_AUTH_STRING", "api", "auth_string")


def prefect_home() -> Path:
    """The folder in which Prefect keeps its database and profiles. Raises ConfigError for an unknown ~user."""
    found = setting("PREFECT_HOME", "home")
    return _expanded(found.value if found else "~/.prefect", found.source if found else "HOME")


def refuse_unusable_settings() -> None:
    """Raise ConfigError for settings with which Prefect could not start, before it does: it would end in a trace.

    The last word is Prefect's own, whose settings are loaded here; they must have been applied before.
    """
    server()
    refuse_unwritable_home()
    _refuse_what_prefect_refuses()


def refuse_unwritable_home() -> None:
    """Raise ConfigError where Prefect could not write to its folder: it would wait for minutes, then end in a trace."""
    home = prefect_home()
    found = setting("PREFECT_HOME", "home")
    source = found.source if found else "HOME"
    there = next(path for path in (home.absolute(), *home.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        why = f"{there} is not a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = f"{there} cannot be written to"
    elif any(len(os.fsencode(part)) > _MOST_NAME_BYTES or "\0" in part for part in home.parts):
        why = "no folder can have that name"
    else:
        return
    raise ConfigError(
        f"Prefect keeps its database and results in {home} ({source}), and {why}; "
        "set PREFECT_HOME to a folder that can be written to, or add --no-prefect"
    )


def _refuse_what_prefect_refuses() -> None:
    said = io.StringIO()
    try:
        # Of settings that it refuses Prefect also speaks itself while it is imported.
        with redirect_stderr(said), warnings.catch_warnings(record=True):
            from prefect.settings.models.root import Settings

            Settings()
    except ImportError:
        raise
    except Exception as error:  # it refuses in many classes, AttributeError and RuntimeError among them
        raise ConfigError(
            f"Prefect refuses its settings: {without_secrets(_reasons(error))}; correct that, or add --no-prefect"
        ) from error
    sys.stderr.write(said.getvalue())


def _reasons(error: Exception) -> str:
    """What Prefect says, in one line; of fields that do not fit where each was found, not what: it may be secret."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        files = [file.absolute() for file in map(Path, (".env", "prefect.toml", "pyproject.toml")) if file.is_file()]
        where = ", ".join(map(str, ["PREFECT_… variables", *files, "its profile"]))
        return f"{' '.join(str(error).split()) or type(error).__name__} (in one of: {where})"
    said = []
    for problem in error.errors(include_url=False, include_input=False):
        if problem["type"] == "default_factory_not_called":  # follows from another
            continue
        keys = (*_sections().get(error.title, ()), *map(str, problem["loc"]))
        name = keys[-1].upper() if keys and keys[-1].startswith("prefect_") else "_".join(("PREFECT", *keys)).upper()
        found = next(_found(name, keys), None) if keys else None
        said.append(f"{found.source if found else name}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(said)


def _sections() -> dict[str, tuple[str, ...]]:
    """Name of a class of Prefect's settings -> where it stands in them, as in `prefect.toml`."""
    root = sys.modules.get("prefect.settings.models.root")
    waiting: list[tuple[Any, tuple[str, ...]]] = [(getattr(root, "Settings", None), ())]
    found = {}
    while waiting:
        model, keys = waiting.pop()
        if model is not None:
            found[model.__name__] = keys
            fields = model.model_fields.items()
            waiting += [(of.annotation, (*keys, name)) for name, of in fields if hasattr(of.annotation, "model_fields")]
    return found


def server_configured() -> bool:
    """Whether the user has configured a Prefect server."""
    return server() is not None


def _found(name: str, keys: Sequence[str]) -> Iterator[Setting]:
    if name in os.environ:
        yield Setting(os.environ[name], name)
    if (value := _of_env_file(name)) is not None:
        yield Setting(value, f"{name} in {Path('.env').absolute()}")
    for file, table in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        value = _below(_toml(Path(file)), (*table, *keys))
        if value is not None:
            yield Setting(str(value), f"{'.'.join((*table, *keys))} in {Path(file).absolute()}")
    if name not in ("PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        yield from _of_profile(name)


def _of_env_file(name: str) -> str | None:
    file = Path(".env")
    if not file.is_file():  # Prefect passes over pipes and folders here
        return None
    try:
        from dotenv import dotenv_values  # comes with Prefect, which alone reads the file
    except ImportError:
        return None
    return dotenv_values(stream=io.StringIO(_text(file))).get(name)


def _of_profile(name: str) -> Iterator[Setting]:
    given = setting("PREFECT_PROFILES_PATH", "profiles_path")
    if given:
        file = _expanded(given.value, given.source)
    else:
        file = _expanded(os.environ.get("PREFECT_HOME") or "~/.prefect", "PREFECT_HOME") / "profiles.toml"
    contents = _toml(file)
    active = os.environ.get("PREFECT_PROFILE") or contents.get("active")
    value = _below(contents, ("profiles", str(active), name))
    if value is not None:
        yield Setting(str(value), f"{name} of profile {active} in {file}")


def _expanded(text: str, source: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{text} ({source}) begins with the home folder of a user whom this machine does not know; set "
            "PREFECT_HOME to a folder that can be written to, or add --no-prefect"
        ) from None


def _toml(file: Path) -> dict[str, Any]:
    """What a file says; empty where there is none. Raises ConfigError where Prefect would stop at it, or wait."""
    try:
        return tomllib.loads(_text(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except RecursionError:
        raise _unreadable(file, "nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file, f"no TOML ({error})") from None


def _text(file: Path) -> str:
    try:
        return read_plain(file, most_bytes=_MOST_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except UnicodeDecodeError as error:
        raise _unreadable(file, f"no UTF-8 at byte {error.start:,}") from None
    except (OSError, ValueError) as error:
        raise _unreadable(file, getattr(error, "strerror", None) or str(error)) from None


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file.absolute()}, from which Prefect takes settings, cannot be read: {why}; correct it or move it away, "
        "start elsewhere, or add --no-prefect"
    )


def _no_address(text: str) -> str | None:
    """Why a text is no address of a server; None if it is one."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        return "it holds characters that no address has"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as error:
        return without_secrets(str(error))
    if parts.scheme not in ("http", "https"):
        return "it begins with neither http:// nor https://"
    return None if host else "it names no host"


def _below(table: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table
