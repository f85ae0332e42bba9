"""Standard input, output and error as they are: closed, full, in another encoding than ours, or with nobody who reads.

All that commands print goes through `show`, `hand_over` or `tell`, and so reaches no terminal as control characters,
whoever has written it.
"""

import codecs
import errno
import io
import os
import sys
from typing import TextIO

from pgolf.errors import PgolfError
from pgolf.machine.lack import lack_of, no_space

# What our lines are drawn with, for terminals that cannot show it.
_PLAIN_LETTERS = {
    **dict(zip("▸✓✗×–—−·★“”‘’", ">+xx---.*\"\"''", strict=True)),
    "→": "->",
    "…": "...",
    "²": "^2",
    "≤": "<=",
    "≥": ">=",
    "±": "+/-",
    "√": "sqrt",
    "α": "alpha",
    "λ": "lambda",
    "Δ": "delta",
}


# Bytes of file names that are no UTF-8, for which Python stands surrogates in.
_BYTES = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
# Of a line on standard error, where what files and people say is repeated: an error of ours, and what stands before it.
MOST_CHARACTERS = 600


class _Line(PgolfError):
    """A line shown as the message of an error is: what a terminal may get is defined there."""

    def __init__(self, text: str, most_characters: int) -> None:
        self.most_characters = most_characters
        super().__init__(text)


def shortened(text: str, most_characters: int) -> str:
    """As `plain`; one that is longer loses its middle."""
    return str(_Line(text.translate(_BYTES) if len(text) <= most_characters else text, most_characters))


def plain(text: str) -> str:
    """The text for a terminal: a character that it would not show, or would obey, as Python writes it."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else shortened(line, 10 * len(line)) for line in lines)


def open_missing() -> None:
    """Let standard streams that the shell has closed (`>&-`) lead nowhere.

    Else Python has None in their place, and the next file that is opened gets their number, to which children write.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(nowhere, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def show(text: str, *, end: str = "\n", flush: bool = False) -> None:
    """Lines on standard output, for a person. flush: now, for something slow follows."""
    print(plain(text), end=end, flush=flush)


def hand_over(text: str) -> None:
    """JSON or CSV on standard output: exactly as it is where a program reads it."""
    print(plain(text) if sys.stdout.isatty() else text, end="" if text.endswith("\n") else "\n", flush=True)


def tell(text: str, *, end: str = "\n") -> None:
    """Lines on standard error, as far as somebody reads them."""
    lines = (shortened(line, MOST_CHARACTERS) for line in text.split("\n"))
    try:
        print("\n".join(lines), end=end, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def show_plainly() -> None:
    """From now on what a stream cannot encode is written in plain letters, and of others the escaped number."""
    codecs.register_error("pgolf-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pgolf-plain")


def close_outputs(exit_code: int) -> int:
    """Write out what is left; returns the exit code, which is 2 where the result could not be written.

    Nobody who reads (`| head -1`) is no error. Either way Python does not try again when it ends.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
    except OSError as error:
        exit_code = tell_of_output(error)
    try:
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)
    return exit_code


def output_failed(error: Exception) -> bool:
    """Whether an error that names no file is one of standard output."""
    if not isinstance(error, OSError) or error.filename is not None:
        return False
    try:
        sys.stdout.flush()
        number = sys.stdout.fileno()
        os.write(number, b"")
        is_full = os.fstatvfs(number).f_bavail == 0 and os.path.isfile(f"/proc/self/fd/{number}")
    except OSError:
        return True
    except ValueError:
        return False
    return no_space(error) and is_full


def tell_of_output(error: OSError) -> int:
    """Say that the result could not be written; returns the exit code."""
    _give_up(sys.stdout)
    tell(f"standard output could not be written to the end: {_said(error)}")
    return 2


def _said(error: OSError) -> str:
    """Why a stream could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk or device that it goes to is full; free some space there, or redirect it elsewhere"
    return lack_of(error) or f"{error.strerror or error}; redirect it elsewhere"


def _give_up(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN_LETTERS.get(letter) or _escaped(letter) for letter in letters), error.end


def _escaped(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode()
