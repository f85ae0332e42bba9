"""Rule sets: which checks a scorer must pass under dated rules. One is a TOML file; others may be written.

    name = "c1-c4"
    dated = 2026-03-27
    about = "the four conditions of #1017"
    requires = ["B0", "B1", "B3"]
    requires_of_records = ["B13"]     # beside these, of what is submitted; "B13s": its code as it is shipped

A check that does not apply to a scorer is not held against it. One of a record that was not made or could not decide is
held against a record alone; one that fails, against everybody.
"""

import difflib
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pydantic import Field, ValidationError

from pgolf.audit.verdict import Outcome, Verdict
from pgolf.config import StageConfig, complaint
from pgolf.errors import ConfigError
from pgolf.store.plain_file import read_plain
from pgolf.tables.gates import RULESET

DEFAULT = RULESET
_FOLDER = Path(__file__).parent / "rulesets"
_MOST_BYTES = 1 << 16


class Ruleset(StageConfig):
    """requires: numbers of the checks that every scorer must pass; requires_of_records: of submissions, those too."""

    name: str = Field(min_length=1, max_length=60)
    dated: date
    about: str = Field(min_length=1, max_length=300)
    requires: tuple[str, ...] = Field(min_length=1)
    requires_of_records: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and date, by which this state of the rules is told from others."""
        return self.name if self.name.endswith(f"{self.dated}") else f"{self.name} of {self.dated}"

    def outcome(self, verdicts: Sequence[Verdict], *, record: bool = False) -> Outcome:
        """fail where one of its checks fails, else inconclusive where a required one is or was not made, else pass."""
        found = {verdict.number: verdict.outcome for verdict in verdicts}
        if any(found.get(number) == "fail" for number in (*self.requires, *self.requires_of_records)):
            return "fail"
        required = (*self.requires, *(self.requires_of_records if record else ()))
        return "inconclusive" if any(found.get(n, "inconclusive") == "inconclusive" for n in required) else "pass"


def shipped() -> list[str]:
    """Names of the rule sets that come with pgolf."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def ruleset(asked: str) -> Ruleset:
    """The rule set of that name, or in the file of that name. Raises ConfigError where there is none, or it is none."""
    path = _FOLDER / f"{asked}.toml" if asked in shipped() else Path(asked)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(asked, shipped(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped())}, or give a .toml file"
        raise ConfigError(f"--ruleset {asked}: no such rule set; {hint}")
    try:
        return _checked(tomllib.loads(read_plain(path, most_bytes=_MOST_BYTES).decode()))
    except OSError as error:
        raise ConfigError(f"--ruleset {path}: cannot be read ({error.strerror or error})") from None
    except ValidationError as error:
        raise ConfigError(f"--ruleset {path}: {complaint(error)}") from None
    except ValueError as error:
        raise ConfigError(f"--ruleset {path}: not TOML ({error})") from None


def _checked(data: object) -> Ruleset:
    found = Ruleset.model_validate(data)
    known = {*(f"B{number}" for number in range(20)), "B13s"}
    for name in ("requires", "requires_of_records"):
        for number in getattr(found, name):
            if number not in known:
                raise ValueError(f"{name} has {number!r:.40}; checks are B0 to B19, and B13s")
    return found
