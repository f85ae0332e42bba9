"""Results that were measured on another machine by bench/gpu.sh, filed into the page of benchmarks.

They stand behind a mark, in the order of their commands, each with its device and date. Filing a newer result of the
same command on the same device replaces it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measured import Report
from pgolf.errors import DataError

MARK = "<!-- below: measured elsewhere by bench/gpu.sh, filed by `python -m bench --file DIR` -->"


def split(text: str) -> tuple[str, dict[str, str]]:
    """The page before the mark, and the filed sections by command and device."""
    before, _, after = text.partition(MARK)
    found = {}
    for section in re.split(r"^(?=## )", after, flags=re.MULTILINE)[1:]:
        found[_key(section)] = section.rstrip("\n")
    return before.rstrip("\n") + "\n", found


def joined(before: str, filed: Mapping[str, str]) -> str:
    """The inverse of `split`."""
    if not filed:
        return before
    sections = "\n\n".join(filed[key] for key in sorted(filed))
    return f"{before.rstrip()}\n\n{MARK}\n\n{sections}\n"


def sections_in(folder: Path) -> dict[str, str]:
    """The sections of a folder that bench/gpu.sh has written. Raises DataError for one without results."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            fields: dict[str, Any] = json.loads(path.read_text())
            if fields.get("toy"):
                raise DataError(f"{path}: of --toy, which measures nothing; run bench/gpu.sh without it")
            section = _selftest(fields) if "findings" in fields else Report.from_json(path.read_text()).to_markdown()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no result of bench/gpu.sh ({error}); run it again") from error
        found[_key(section)] = section
    if not found:
        raise DataError(f"no results in {folder}; run `bench/gpu.sh --out {folder}` on a GPU first")
    return found


def _key(section: str) -> str:
    """What a section is known by: its command and its device, without the date."""
    line = re.search(r"^(`[^`]+` on .+), \d{4}-\d\d-\d\d$", section, flags=re.MULTILINE)
    assert line is not None, f"a section without its command: {section[:80]!r}"
    return line[1]


def _selftest(fields: Mapping[str, Any]) -> str:
    """A selftest's findings as a Markdown section."""
    words = {True: "passed", False: "**failed**", None: "not judged"}
    rows = [
        f"| {one['name']} | {words[one['passed']]} | {one['said'].replace('|', '/')} |" for one in fields["findings"]
    ]
    return "\n".join(
        [
            "## selftest\n",
            f"What `pgolf selftest` found in {fields['wall_s']:.0f} s.\n",
            f"`pgolf selftest` on {fields['device']}, {fields['date']}\n",
            "| check | verdict | numbers |",
            "|---|---|---|",
            *rows,
        ]
    )
