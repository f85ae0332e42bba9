"""A cache of parsed and verified records by folder, valid while the record file's signature is unchanged.

A store of a thousand runs holds some 18,000 records. Reading and checking all of them for every plan would take a
minute; from this cache it takes a fraction of a second. The code digests of a key, most of a record's bytes, are stored
once for all records that share them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pgolf.store.output_record import Record
from pgolf.store.table_file import TableFile


class RecordIndex:
    """The records of one store, in one SQLite file beside it."""

    def __init__(self, path: Path) -> None:
        tables = {"codes": ("name", "body"), "records": ("folder", "stage", "signature", "code", "body")}
        self._file = TableFile(path, tables)

    def records(
        self, wanted: Mapping[str, str], read: Callable[[str], Record | None], *, stage: str | None = None
    ) -> Iterator[Record]:
        """The records of the wanted folders, sorted by folder name. wanted: folder -> signature.

        read: loads a record on a cache miss; None for a folder without a valid one. stage: set if all wanted folders
        are of this stage.
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
        """Folder -> signature of its record, name of the code digests, the rest."""
        rows = self._file.rows("records") if stage is None else self._file.rows("records", stage=stage)
        return {folder: (signature, code, body) for folder, _stage, signature, code, body in rows}

    def _decoded(self, code: str, body: str, codes: dict[str, Any]) -> Record | None:
        """Decode a row; None if its code digests are absent, or another version of the program wrote it."""
        if code not in codes:
            rows = self._file.rows("codes", name=code)
            codes[code] = json.loads(rows[0][1]) if rows else None
        if codes[code] is None:
            return None
        try:
            record = Record.model_validate_json(body)
        except ValueError:
            return None
        record.key["code"] = codes[code]
        return record

    def _learn(self, learned: list[tuple[str, Record]]) -> None:
        codes, rows = {}, []
        for signature, record in learned:
            code = json.dumps(record.key.get("code"), sort_keys=True)
            name = _name_of(code)
            codes[name] = code
            data = record.model_dump(mode="json")
            data["key"] = {part: value for part, value in record.key.items() if part != "code"}
            rows.append((record.folder, record.stage, signature, name, json.dumps(data)))
        self._file.put({"codes": list(codes.items()), "records": rows})


def _name_of(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
