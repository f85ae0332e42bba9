"""What a message may hold: whatever files and people say, a terminal can show it, and it ends."""

import pickle

import pytest

from pgolf.errors import ConfigError, LaunchError, PgolfError


@pytest.mark.parametrize("length", [500, 501, 1_000, 10_000, 3_000_000])
def test_a_long_line_keeps_its_beginning_and_its_end(length):
    message = "begins" + "x" * (length - 10) + "ends"
    shown = str(ConfigError(message))
    assert len(shown) <= 500
    assert shown.startswith("begins")
    assert shown.endswith("ends")
    assert (shown == message) == (length <= 500)
    assert length <= 500 or f"({length:,} characters in all)" in shown


@pytest.mark.parametrize("character", ["\x1b", "\0", "\r", "\u202e", "\ud800", "\u2028", "\x9b"])
@pytest.mark.parametrize("times", [1, 499, 5_000])
def test_what_a_terminal_would_obey_or_cannot_encode_is_spelled_out(character, times):
    shown = str(PgolfError(f"a {character * times} b"))
    assert len(shown) <= 500
    assert shown.isprintable()
    assert character.encode("unicode_escape").decode() in shown
    shown.encode()


def test_lines_stay_lines_and_each_has_its_own_length():
    assert str(ConfigError("one\ttwo", "three\nfour")) == "one\ttwo\nthree\nfour"
    assert len(str(ConfigError(*["x" * 900] * 3)).splitlines()) == 3
    assert len(str(LaunchError("log\n" * 2_000))) == 8_000


def test_an_error_is_the_same_when_another_process_has_sent_it():
    for error in (ConfigError("x" * 900, "\x1b"), PgolfError()):
        sent = pickle.loads(pickle.dumps(error))
        assert type(sent) is type(error)
        assert str(sent) == str(error)
