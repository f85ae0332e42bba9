"""Prefect settings for pgolf, applied before Prefect is imported; the user's own settings take precedence.

Reasons, measured: the in-process server needs more than the default 20 s on a cold start; task states of short runs are
lost unless the recorder writes in batches; an in-memory lease outlives its holder. `prefect.toml` sets the same for
commands run from the checkout (Prefect reads it from the current folder only).
"""

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgolf.errors import ConfigError

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


def setting(name: str, *keys: str) -> Setting | None:
    """A setting of Prefect's as Prefect itself finds it, without importing it; None where it is unset or empty.

    In this order: the environment, .env, prefect.toml and pyproject.toml of the current folder, the active profile.
    keys: where TOML files have it.
    """
    found = next(_found(name, keys), None)
    return found if found is not None and found.value else None


def server() -> Setting | None:
    """The address of the Prefect server that the user has configured."""
    return setting("PREFECT_API_URL", "api", "url")


def auth_string() -> Setting | None:
    """The user and password for that server."""
    return setting("PREFECT_API_AUTH_STRING", "api", "auth_string")


def prefect_home() -> Path:
    """The folder in which Prefect keeps its database and profiles."""
    found = setting("PREFECT_HOME", "home")
    return Path(found.value if found else "~/.prefect").expanduser()


def refuse_unwritable_home() -> None:
    """Raise ConfigError where Prefect could not write to its folder: it would wait for minutes, then end in a trace."""
    home = prefect_home()
    there = next(path for path in (home.absolute(), *home.absolute().parents) if os.path.lexists(path))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return
    why = "cannot be written to" if there.is_dir() else "is not a folder"
    found = setting("PREFECT_HOME", "home")
    raise ConfigError(
        f"Prefect keeps its database and results in {home} ({found.source if found else 'HOME'}), and {there} {why}; "
        "set PREFECT_HOME to a folder that can be written to, or add --no-prefect"
    )


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
        if isinstance(value, str):
            yield Setting(value, f"{'.'.join((*table, *keys))} in {Path(file).absolute()}")
    if name not in ("PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        yield from _of_profile(name)


def _of_env_file(name: str) -> str | None:
    if not Path(".env").is_file():
        return None
    try:
        from dotenv import dotenv_values  # comes with Prefect, which alone reads the file
    except ImportError:
        return None
    return dotenv_values(".env").get(name)


def _of_profile(name: str) -> Iterator[Setting]:
    given = setting("PREFECT_PROFILES_PATH", "profiles_path")
    file = Path(given.value) if given else Path(os.environ.get("PREFECT_HOME") or "~/.prefect") / "profiles.toml"
    contents = _toml(file.expanduser())
    active = os.environ.get("PREFECT_PROFILE") or contents.get("active")
    value = _below(contents, ("profiles", str(active), name))
    if isinstance(value, str):
        yield Setting(value, f"{name} of profile {active} in {file}")


def _toml(file: Path) -> dict[str, Any]:
    """Empty where there is none, or none that can be read: Prefect itself will say so."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _below(table: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table
