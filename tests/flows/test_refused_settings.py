"""Settings with which Prefect could not start: one line that names the file or variable, before anything starts."""

import os
import subprocess
import sys

import pytest

from flows import settings
from flows.commands.cli import main
from flows.commands.doctor_command import check_server
from flows.settings import Setting, refuse_unusable_settings, server, without_secrets
from pgolf.errors import ConfigError
from tests.ports import free_port

DEEP = "a = " + "[" * 50_000
PREFECT = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_HOME")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A current folder and a home with nothing in them."""
    for name in PREFECT:
        monkeypatch.delenv(name, raising=False)
    for name, value in (settings.SETTINGS | settings.QUIET).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def refused(capsys, command: str = "run") -> str:
    """The one line with which the command line refuses to start, within a moment and with nothing made."""
    words = ["--store", "../store", "--results", "../results", "demo"] if command == "run" else []
    assert main([command, *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("ConfigError: ")
    assert not os.path.lexists("../store")
    return said


@pytest.mark.parametrize("name", ["prefect.toml", "pyproject.toml", "../home/profiles.toml"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "a pipe, not a regular file"),
        (b"[[[", "no TOML (Invalid initial character"),
        (DEEP.encode(), "nested too deep"),
        (b"# cl\xe9", "no UTF-8 at byte 4"),
        (b" " * (1 << 21), "2,097,152 bytes, where at most 1,048,576 are read"),
    ],
)
def test_a_file_that_prefect_would_stop_at_or_wait_for_is_named(capsys, name, content, why):
    if content is None:
        os.mkfifo(name)
    else:
        with open(name, "wb") as file:
            file.write(content)
    said = refused(capsys)
    assert name.removeprefix("../") in said
    assert f"cannot be read: {why}" in said


def test_without_prefect_nobody_reads_them():
    os.mkfifo("prefect.toml")
    assert main(["run", "demo", "--no-prefect", "--store", "store", "--data", "nowhere"]) == 2


@pytest.mark.parametrize("command", ["run", "worker"])
def test_env_files_in_another_encoding_are_named(capsys, command):
    with open(".env", "wb") as file:
        file.write(b"# cl\xe9\n")
    assert f"{os.path.abspath('.env')}, from which Prefect takes settings, cannot be read: no UTF-8" in refused(
        capsys, command
    )


def test_doctor_reports_them_among_its_findings(capsys, monkeypatch):
    for content in (b"# cl\xe9\n", b"PREFECT_API_URL=garbage\n", b"PREFECT_API_URL=http://[::1/api\n"):
        with open(".env", "wb") as file:
            file.write(content)
        assert main(["doctor", "--store", "store"]) == 1
        said = capsys.readouterr().out
        assert "✗ server" in said
        assert os.path.abspath(".env") in said
    os.unlink(".env")
    monkeypatch.setenv("PREFECT_HOME", "~nosuch/x")
    assert main(["doctor", "--store", "store"]) == 1
    assert "✗ prefect   ~nosuch/x (PREFECT_HOME) begins with the home folder of a user whom" in capsys.readouterr().out


@pytest.mark.parametrize(
    "address",
    [
        *(
            "garbage",
            "http://[::1/api",
            "http://h/\x01api",
            "http://xn--\xff/",
            "ftp://h/api",
            "http://",
            "http:///api",
        ),
        *("http://h:port/api", "http://h:99999/api", "http://a b/api", f"http://{'x' * 64}.org/api"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "prefect.toml"])
def test_what_is_no_address_is_refused_as_one(capsys, monkeypatch, address, source):
    if source == "environment":
        monkeypatch.setenv("PREFECT_API_URL", address)
    else:
        with open("prefect.toml", "w", encoding="utf-8") as file:
            file.write(f"[api]\nurl = {address!r}\n".replace("'", '"').replace("\\x01", "\\u0001"))
    said = refused(capsys)
    assert "is not the address of a Prefect server" in said
    assert ("(PREFECT_API_URL)" in said) == (source == "environment")


def test_addresses_that_prefect_takes_are_taken(monkeypatch):
    for address in (
        "http://127.0.0.1:4200/api",
        "https://[::1]:4200/api",
        "http://u:p@h/api?x=1",
        "http://xn--mnchen-3ya.de/",
    ):
        monkeypatch.setenv("PREFECT_API_URL", address)
        assert server().value == address


@pytest.mark.parametrize(
    ("variables", "file", "said"),
    [
        ({"PREFECT_LOGGING_LEVEL": "bogus"}, "", "PREFECT_LOGGING_LEVEL: Input should be 'DEBUG'"),
        ({settings.STARTUP: "abc"}, "", f"{settings.STARTUP}: Input should be a valid integer"),
        ({}, "[server.ephemeral]\nstartup_timeout_seconds = 'abc'", "prefect.toml: Input should be a valid integer"),
        ({}, "[logging]\nlevel = 5", "prefect.toml"),
        ({}, "api = 5", "prefect.toml"),
    ],
)
def test_what_prefect_itself_refuses_is_repeated_in_one_line(monkeypatch, variables, file, said):
    if file:
        monkeypatch.delenv(settings.STARTUP)
        with open("prefect.toml", "w") as toml:
            toml.write(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refusal:
        refuse_unusable_settings()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "errors.pydantic.dev" not in str(refusal.value)
    assert "default factory" not in str(refusal.value)


def test_settings_that_fit_are_taken():
    refuse_unusable_settings()


def test_a_fresh_process_says_it_in_one_line_too(place):
    """There Prefect refuses while it is imported, and speaks itself meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", "from flows.settings import refuse_unusable_settings as refuse; refuse()"],
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "bogus", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "pgolf.errors.ConfigError: Prefect refuses its settings: PREFECT_LOGGING_LEVEL: Input should"
    )
    assert "Failed to initialize plugins" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secretpw@h:1/api", "http://…@h:1/api"),
        ("http://user:se/cr?e=t@pw@h/api", "http://…@h/api"),
        ("user:secretpw@h/api", "user:…@h/api"),
        ("Failed to reach API at http://user:secretpw@h/api/ now", "Failed to reach API at http://…@h/api/ now"),
        ("http://h/api?token=secretpw", "http://h/api?…"),
        ("h/api?token=secretpw", "h/api?…"),
        ("http://h/api", "http://h/api"),
    ],
)
def test_passwords_in_addresses_are_left_out(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize("address", ["http://user:secretpw@127.0.0.1:{}/api", "http://127.0.0.1:{}/api?token=secretpw"])
def test_neither_run_nor_doctor_prints_a_password(capsys, monkeypatch, address):
    address = address.format(free_port())
    found, _ = check_server(Setting(address, "a profile"), None)
    assert found.ok is False
    assert "Connection refused" in found.said
    assert "secretpw" not in found.said + found.remedy
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.prefect_server import configured_server

    monkeypatch.setenv("PREFECT_API_URL", address)
    with (
        temporary_settings({PREFECT_API_URL: address}),  # Prefect may have read them before
        pytest.raises(ConfigError, match="no Prefect server answers at") as refusal,
        configured_server() as client,
    ):
        client.read_work_pools()
    assert "secretpw" not in str(refusal.value)
