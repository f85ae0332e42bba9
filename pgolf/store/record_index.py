"""Records read once: parsed and checked ones by folder, for as long as their file's signature stays the same.

A store of a thousand runs holds some 18,000 records. Reading and checking each at every plan would take a minute; from
here it takes a fraction of a second. Only verified records enter. The code digests of a key, most of a record's bytes,
are kept once for all records that share them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pgolf.store.output_record import Record
from pgolf.store.table_file import Table


class RecordIndex:
    """Records of one store, in one SQLite file beside it."""

    def __init__(self, path: Path) -> None:
        columns = "folder TEXT PRIMARY KEY, stage TEXT, signature TEXT, code TEXT, body TEXT"
        self._records = Table(path, "records", columns)
        self._codes = Table(path, "codes", "name TEXT PRIMARY KEY, body TEXT")

    def records(
        self, wanted: Mapping[str, str], read: Callable[[str], Record | None], *, stage: str | None = None
    ) -> Iterator[Record]:
        """The records of the wanted folders, in the order of names. wanted: folder -> signature.

        read: asked for what is not known under its signature; None for a folder without a sound record. stage: what all
        wanted folders are of, where it is one.
        """
        known = self._known(stage) if wanted else {}
        codes: dict[str, Any] = {}
        learned = []
        for folder, signature in sorted(wanted.items()):
            if folder in known and known[folder][0] == signature:
                record = self._decoded(*known[folder][1:], codes)
                if record is not None and record.folder == folder:
                    yield record
                    continue
            record = read(folder)
            if record is not None:
                learned.append((signature, record))
                yield record
        self._learn(learned)

    def _known(self, stage: str | None) -> dict[str, tuple[str, str, str]]:
        query = "SELECT folder, signature, code, body FROM records"
        rows = self._records.rows(*((query, ()) if stage is None else (f"{query} WHERE stage = ?", (stage,))))
        return {folder: (signature, code, body) for folder, signature, code, body in rows}

    def _decoded(self, code: str, body: str, codes: dict[str, Any]) -> Record | None:
        """The record that a row spells; None where the row, or the code it names, is damaged."""
        try:
            if code not in codes:
                codes[code] = self._code(code)
            record = Record.model_validate_json(body)
        except (ValueError, RecursionError):
            return None
        if codes[code] is None:
            return None
        record.key["code"] = codes[code]
        return record

    def _code(self, name: str) -> Any:
        for (body,) in self._codes.rows("SELECT body FROM codes WHERE name = ?", (name,)):
            if isinstance(body, str) and _name_of(body) == name:
                return json.loads(body)
        return None

    def _learn(self, learned: list[tuple[str, Record]]) -> None:
        codes, rows = {}, []
        for signature, record in learned:
            code = json.dumps(record.key.get("code"), sort_keys=True)
            name = _name_of(code)
            codes[name] = code
            data = record.model_dump(mode="json")
            data["key"] = {part: value for part, value in record.key.items() if part != "code"}
            rows.append((record.folder, record.stage, signature, name, json.dumps(data)))
        self._codes.put(list(codes.items()))
        self._records.put(rows)


def _name_of(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
