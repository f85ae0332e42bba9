"""The settings that pgolf gives Prefect are ones that Prefect takes as they are meant."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import settings
from flows.commands.cli import main
from flows.settings import SETTINGS, auth_string, refuse_unwritable_home, server
from pgolf.errors import ConfigError

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


A, B = "http://127.0.0.1:4998/api", "http://127.0.0.1:4999/api"
PROFILES = f"""
active = "cloud"
[profiles.cloud]
PREFECT_API_URL = "{A}"
PREFECT_API_AUTH_STRING = "user:word"
[profiles.other]
PREFECT_API_URL = "{B}"
[profiles.none]
"""
TOML = f'[api]\nurl = "{B}"\n'
PLACES = {
    "nothing": ({}, {}),
    "the environment": ({"PREFECT_API_URL": A}, {"home/profiles.toml": PROFILES.replace(A, B)}),
    "an empty variable": ({"PREFECT_API_URL": ""}, {"home/profiles.toml": PROFILES}),
    "the active profile": ({}, {"home/profiles.toml": PROFILES}),
    "a chosen profile": ({"PREFECT_PROFILE": "other"}, {"home/profiles.toml": PROFILES}),
    "a profile without it": ({"PREFECT_PROFILE": "none"}, {"home/profiles.toml": PROFILES}),
    "a profile that is not there": ({"PREFECT_PROFILE": "gone"}, {"home/profiles.toml": PROFILES}),
    "profiles elsewhere": ({"PREFECT_PROFILES_PATH": "p.toml"}, {"p.toml": PROFILES}),
    ".env": ({}, {".env": f"PREFECT_API_URL={B}\n", "home/profiles.toml": PROFILES}),
    "prefect.toml": ({}, {"prefect.toml": TOML, "home/profiles.toml": PROFILES}),
    "pyproject.toml": ({}, {"pyproject.toml": TOML.replace("[", "[tool.prefect."), "home/profiles.toml": PROFILES}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_server_counts_as_configured_where_prefect_itself_finds_one(tmp_path, monkeypatch, place):
    from prefect.settings.models.root import Settings

    environment, files = PLACES[place]
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, password, theirs = server(), auth_string(), Settings().api
    assert (ours.value if ours else None) == (theirs.url or None)
    assert (password and password.value) == (theirs.auth_string and theirs.auth_string.get_secret_value())
    if ours is not None and "PREFECT_API_URL" not in environment:
        assert any(name.removeprefix("home/") in ours.source for name in files)


def test_doctor_names_the_profile_that_a_server_comes_from(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "profiles.toml").write_text(PROFILES)
    assert main(["doctor", "--store", str(tmp_path / "store")]) == 1
    said = capsys.readouterr().out
    assert f"{A} (PREFECT_API_URL of profile cloud in {tmp_path / 'profiles.toml'})" in said


@pytest.mark.parametrize("command", [["run", "demo"], ["worker"]])
def test_a_home_that_prefect_could_not_write_to_is_refused_before_the_start(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "below"))
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "r")] if command[0] == "run" else []
    assert main([*command, *places]) == 2
    said = capsys.readouterr().err
    assert f"Prefect keeps its database and results in {tmp_path / 'file' / 'below'} (PREFECT_HOME)" in said
    assert f"{tmp_path / 'file'} is not a folder; set PREFECT_HOME to a folder that can be written to" in said
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "new"))
    refuse_unwritable_home()
    monkeypatch.setattr(settings.os, "access", lambda *_: False)  # as for users without the right; tests may be root
    with pytest.raises(ConfigError, match="cannot be written to"):
        refuse_unwritable_home()
