"""The settings that pgolf gives Prefect are ones that Prefect takes as they are meant."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from flows.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def named(table: dict, prefix: str = "PREFECT") -> Iterator[tuple[str, str]]:
    """A settings file as the environment variables of the same meaning."""
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, dict):
            yield from named(value, name)
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def test_the_file_for_prefects_own_commands_says_what_the_command_line_sets():
    of_file = dict(named(tomllib.loads((ROOT / "prefect.toml").read_text())))
    assert of_file == {name: value for name, value in SETTINGS.items() if name.startswith("PREFECT_")}


def test_the_server_never_flushes_without_a_pause():
    """Prefect cuts the seconds to a whole number; with 0 its recorder spins, at most of a core."""
    name = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"
    assert int(float(SETTINGS[name])) >= 1
