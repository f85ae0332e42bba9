"""A program as a Python script that unpacks itself, in as few bytes as the standard library can read back.

The compressed program stands in the script as the characters of a string: the file declares Latin-1, in which every
byte is a character, so that only the few that Python reads otherwise take two. That costs 2 % where base85 costs 25 %.
"""

import bz2
import lzma
import re

from pgolf.errors import ConfigError

# What a string between triple apostrophes cannot hold as it is: the parser refuses NUL, reads CR as LF, and takes
# backslash and apostrophe as its own. A NUL is written in full where a digit follows.
_ESCAPED = re.compile(rb"[\0\r\\']")

_SCRIPT = b"""\
# coding:latin-1
import os,sys,types,%s as z
m=sys.modules["pgolf"]=types.ModuleType("pgolf")
m.R="None"
exec(compile(z.decompress('''%s'''.encode("l1")%s),__file__+":code","exec"),m.__dict__)
if __name__=="__main__":sys.exit(m.start(sys.argv[1:],__file__,os.environ))
"""

# What the last line calls, and the program therefore defines; and what the program finds there as its settings' text.
START, GIVEN = "start", "R"

_NO_SETTINGS = b'm.R="None"\n'
# Settings take a whole number of these, filled up with spaces: code_bytes is part of what compress is made from, and
# another stride, learning rate or n-gram order must not pack a model again.
SETTINGS_BYTES = 512


def script_of(program: str) -> bytes:
    """The script. program: Python source that defines `start(arguments, path, environment) -> exit code`.

    path: of the script. Settings come in by `with_settings`.
    """
    text = program.encode("utf-8")
    raw = ",3,None,[{'id':33,'dict_size':1<<20}]"
    packed = [(b"bz2", bz2.compress(text), b""), *((b"lzma", one, raw.encode()) for one in _lzma(text))]
    scripts = [_SCRIPT % (module, _escaped(stream), options) for module, stream, options in packed]
    return min(scripts, key=len)


def with_settings(script: bytes, settings: str) -> bytes:
    """The script with the text of its settings. They are not compressed, so that numbers change no byte elsewhere."""
    line = f"m.R={settings!r}"
    padded = line.ljust(-(-len(line) // SETTINGS_BYTES) * SETTINGS_BYTES)
    return script.replace(_NO_SETTINGS, padded.encode() + b"\n", 1)


def program_of(script: bytes, name: str = "the script") -> str:
    """The program in a script; `name` is its file's. Raises ConfigError for a file that `script_of` did not write."""
    found = re.search(rb"import os,sys,types,(bz2|lzma) as z\n.*?'''(.*)'''\.encode", script, re.DOTALL)
    try:
        if found is None:
            raise ValueError
        stream = re.sub(rb"\\(x00|.)", _unescaped, found[2], flags=re.DOTALL)
        if found[1] == b"bz2":
            return bz2.decompress(stream).decode()
        return lzma.decompress(stream, lzma.FORMAT_RAW, None, _filters(3, 0)).decode()
    except (ValueError, OSError, EOFError, lzma.LZMAError):
        raise ConfigError(f"{name} is no script of `pgolf bundle`, or not as it was written") from None


def _lzma(text: bytes) -> list[bytes]:
    return [lzma.compress(text, lzma.FORMAT_RAW, filters=_filters(lc, pb)) for lc, pb in ((4, 0), (3, 0), (1, 0))]


def _filters(lc: int, pb: int) -> list[dict[str, int]]:
    preset = 9 | lzma.PRESET_EXTREME
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": 1 << 20, "lc": lc, "pb": pb, "nice_len": 273}]


def _escaped(stream: bytes) -> bytes:
    def escape(found: re.Match[bytes]) -> bytes:
        if found[0] == b"\0":
            return b"\\x00" if stream[found.end() : found.end() + 1].isdigit() else b"\\0"
        return b"\\r" if found[0] == b"\r" else b"\\" + found[0]

    return _ESCAPED.sub(escape, stream)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return {b"0": b"\0", b"x00": b"\0", b"r": b"\r"}.get(found[1], found[1])
