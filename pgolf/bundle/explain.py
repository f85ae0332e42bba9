"""What a line or a number of a bundled script means, by the map that was written beside it and stays at home."""

import ast
import re
from pathlib import Path

from pgolf.bundle.built import Built, read_map
from pgolf.bundle.messages import expand
from pgolf.errors import ConfigError

_FRAME = re.compile(r'File "[^"]*:code", line (\d+), in \S+')
_ERROR = re.compile(r"^(?P<name>[\w.]*): (?P<values>\(?\d+.*)$", re.MULTILINE)


def map_path(script: Path) -> Path:
    """Where the map of a script lies: beside it, or beside the folder that it was exported to."""
    return script.with_name(f"{script.stem}.map.json")


def write_map(built: Built, path: Path) -> None:
    """Write a script's map."""
    path.write_text(built.map_json() + "\n", encoding="utf-8")


class Explained:
    """The map of one script."""

    def __init__(self, script: Path) -> None:
        """Read it. Raises ConfigError where there is none, or one of another script."""
        import hashlib

        try:
            content = script.read_bytes()
        except OSError as error:
            raise ConfigError(f"{script} cannot be read ({error.strerror}); name a script of `pgolf bundle`") from None
        places = (map_path(script), script.absolute().parent.with_name(f"{script.absolute().parent.name}.map.json"))
        path = next((one for one in places if one.is_file()), None)
        if path is None:
            raise ConfigError(
                f"no {places[0]} and no {places[1]}: `pgolf bundle` wrote it beside the script; name that"
            )
        try:
            digest, self.lines, self.messages = read_map(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no map of a script ({error}); write the script again") from None
        if digest != hashlib.sha256(content).hexdigest():
            raise ConfigError(f"{path} is of another script than {script}; write the script again")

    def line(self, number: int) -> str:
        """Module, function and line of the source. Raises ConfigError for a line that has none."""
        found = self.lines.get(number)
        if found is None:
            raise ConfigError(f"line {number:,} of the program is no statement of the source")
        return f"{found.module}, line {found.line}, in {found.function or 'the module'}"

    def message(self, values: str) -> str:
        """The text of an error's number and values, as the script prints them. Raises ConfigError for others."""
        try:
            read = ast.literal_eval(values)
        except (ValueError, SyntaxError):
            read = _values_of(values)
        text = expand(self.messages, read if isinstance(read, tuple) else (read,))
        if text is None:
            raise ConfigError(f"{values} is no message of this script, which has {len(self.messages)}")
        return text

    def output(self, text: str) -> str:
        """What a script has printed, with every frame and every numbered message in it expanded."""

        def frame(found: re.Match[str]) -> str:
            source = self.lines.get(int(found[1]))
            return found[0] if source is None else f"{found[0]}: {self.line(int(found[1]))}"

        def error(found: re.Match[str]) -> str:
            try:
                return f"{found['name']}: {self.message(found['values'])}"
            except ConfigError:
                return found[0]

        return _ERROR.sub(error, _FRAME.sub(frame, text))


def _values_of(text: str) -> tuple[object, ...]:
    """Values that Python cannot read back, such as paths, are taken as they are written."""
    inside = text.strip().removeprefix("(").removesuffix(")")
    values: list[object] = []
    for part in re.split(r",\s*(?![^()]*\))", inside):
        shown = re.sub(r"^\w*Path\((.*)\)$", r"\1", part.strip())
        try:
            values.append(ast.literal_eval(shown))
        except (ValueError, SyntaxError):
            values.append(shown)
    return tuple(values)
