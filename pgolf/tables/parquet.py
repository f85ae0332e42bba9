"""Result tables on disk: results/<table>/<run key>.parquet, one file per run, never changed once written.

Each is sealed (`pgolf.tables.seal`): one changed bit anywhere is an error. What many of them say is kept once more in
results/.gathered/<table>, made from them and safe to delete. It lies outside the table's folder and has no ending, so
that no reader of results/<table>/*.parquet or results/**/*.parquet sees a row twice.
"""

import base64
import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.errors import ResultsError
from pgolf.store.durable import sync, write_synced
from pgolf.store.durable_folder import make_folder
from pgolf.store.plain_file import open_plain
from pgolf.tables.columns import to_column
from pgolf.tables.file_names import GATHERED, REMOVED
from pgolf.tables.filters import select
from pgolf.tables.schema import TableSpec
from pgolf.tables.seal import is_sealed, sealed
from pgolf.tables.value_check import refuse_impossible

# Where earlier versions kept it, inside the table's folder: other programs read every row twice.
_FORMER_GATHERING = ".gathered.parquet"
_LISTED = b"pgolf.files"
# Where Arrow keeps the columns once more.
_ARROW_SCHEMA = b"ARROW:schema"
# Arrow's own threads may let go of bytes of Python's while the interpreter ends, which aborts it (1 of 30 commands that
# ended with an error of theirs).
_THREADS = False
_IF_REMOVED = (
    "restore it from a copy, or delete it: what was seen of that removed run is then forgotten, and it cannot be taken "
    "back"
)
# So many files are opened one by one: 2 to 3 ms each.
FEW_FILES = 16
# A file name on any file system, and never a hidden or temporary one.
_RUN_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}")


def append(results: Path, spec: TableSpec, run_key: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add the rows of one run to a table and return their file; a run already there is left alone.

    rows: column -> value; columns left out are null, `run_key` is filled in. A moment is a datetime with a time zone or
    its ISO text, seconds by phase a mapping. Raises ResultsError for rows that do not fit the table (unknown column,
    wrong type, NaN, a required value missing, two rows for one cell), and as `append_table` does.
    """
    path = _file_of(results, spec, run_key)
    if path.exists():
        return path
    return append_table(results, spec, run_key, rows_to_arrow(spec, [{**row, "run_key": run_key} for row in rows]))


def append_table(results: Path, spec: TableSpec, run_key: str, table: pa.Table) -> Path:
    """Add the rows of one run, as `rows_to_arrow` has checked them with their run key, and return their file.

    A run already there is left alone. The file appears whole or not at all, whoever else writes. Raises ResultsError
    for a run key that cannot name a file and for a folder that cannot be written to.
    """
    path = _file_of(results, spec, run_key)
    if path.exists():
        return path
    assert table.schema.equals(spec.arrow), f"a table of {spec.name} has other columns"
    _publish(path, _written(table))
    return path


def _written(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, **options)
    return sealed(sink.getvalue().to_pybytes())


def _file_of(results: Path, spec: TableSpec, run_key: str) -> Path:
    if not _RUN_KEY.fullmatch(run_key):
        raise ResultsError(
            f"run key {run_key!r} cannot name a file; take 1 to 200 of letters, digits and . _ + = @ -, "
            "beginning with a letter or digit"
        )
    return results / spec.name / f"{run_key}.parquet"


def rows_to_arrow(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the spec's schema, checked.

    Raises ResultsError naming row and column of the first value that does not fit.
    """
    for number, row in enumerate(rows):
        for name in row:
            spec.column(name)
        for name in spec.required:
            if row.get(name) is None:
                raise ResultsError(f"row {number} of table {spec.name} has no {name}, which every row needs")
    columns = []
    for column in spec.columns:
        try:
            columns.append(to_column([row.get(column.name) for row in rows], column.type))
        except ValueError as error:
            raise ResultsError(f"table {spec.name}, column {column.name} ({column.type}): {error}") from error
    _refuse_twins(spec, rows)
    return pa.Table.from_arrays(columns, schema=spec.arrow)


def read(
    results: Path,
    spec: TableSpec,
    where: Mapping[str, Any] | None = None,
    *,
    columns: Sequence[str] | None = None,
    run_keys: str = "",
) -> pa.Table:
    """All rows of a table, in the order of run keys; an empty table where nothing was ever written.

    where: as for `pgolf.tables.filters.select`. columns: the ones wanted, default all. run_keys: only of runs whose
    key begins so; no other file is opened. Columns that an older file lacks are null there; columns a newer one adds
    are left out.
    Raises ResultsError naming a file that cannot be read, or a column that does not exist.
    """
    wanted = [spec.column(name).name for name in columns] if columns is not None else spec.arrow.names
    needed = [name for name in spec.arrow.names if name in wanted or name in (where or {})]
    folder = results / spec.name
    with contextlib.suppress(OSError):  # a folder that may only be read
        (folder / _FORMER_GATHERING).unlink(missing_ok=True)
    files = [path for path in files_of(results, spec) if path.name.startswith(run_keys)]
    schema = pa.schema([spec.arrow.field(name) for name in needed])
    # Not schema.empty_table(): it asks for pandas.
    empty = pa.Table.from_arrays([to_column([], field.type) for field in schema], schema=schema)
    gathered = _gathered(folder, spec, files, schema) if len(files) > FEW_FILES else {}
    parts = [gathered[path.name] if path.name in gathered else _read_file(path, spec, schema) for path in files]
    table = pa.concat_tables([empty, *parts])
    return select(table, spec, where or {}).select(wanted)


def files_of(results: Path, spec: TableSpec) -> list[Path]:
    """The files of a table, in the order of run keys."""
    folder = results / spec.name
    files = [path for path in folder.glob("*.parquet") if path.name[0] != "."] if folder.is_dir() else []
    return sorted(files, key=lambda path: path.stem)


def read_run(results: Path, spec: TableSpec, run_key: str) -> pa.Table | None:
    """The rows of one run's file, as `read` gives them; None where there is none. Raises ResultsError."""
    path = _file_of(results, spec, run_key)
    return _read_file(path, spec, spec.arrow) if path.exists() else None


def refuse_damaged(path: Path, spec: TableSpec) -> None:
    """Raise ResultsError, as `read` would, for a file that is none of this table or is damaged."""
    _read_file(path, spec, spec.arrow)


def _gathered(folder: Path, spec: TableSpec, files: Sequence[Path], schema: pa.Schema) -> dict[str, pa.Table]:
    """File name -> its rows, of the files that one gathering file holds as they are now.

    A thousand files take seconds to open, and never change; so what many files say is kept once more in one. It is made
    anew when it lacks many, and losing it costs time only.
    """
    now = {path.name: _stat_of(path) for path in files}
    path = folder.parent / GATHERED / spec.name
    found = _open_gathering(path, spec, now, schema)
    if len(files) - len(found) > FEW_FILES:
        known = _open_gathering(path, spec, now, spec.arrow)
        whole = [known[one.name] if one.name in known else _read_file(one, spec, spec.arrow) for one in files]
        listed = [[one.name, now[one.name], part.num_rows] for one, part in zip(files, whole)]
        table = pa.concat_tables(whole).replace_schema_metadata({_LISTED: json.dumps(listed)})
        with contextlib.suppress(ResultsError):  # a folder that may only be read
            _publish(path, _written(table, row_group_size=1 << 20), replace=True)
        return {one.name: part.select(schema.names) for one, part in zip(files, whole)}
    return found


def _open_gathering(
    path: Path, spec: TableSpec, now: Mapping[str, list[int]], schema: pa.Schema
) -> dict[str, pa.Table]:
    try:
        content = _content(path)
        if not is_sealed(content):
            return {}  # of an earlier version, or nothing of ours
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            listed = json.loads((file.schema_arrow.metadata or {})[_LISTED])
            if file.schema_arrow.names != spec.arrow.names:
                return {}  # of another version
            table = file.read(columns=schema.names, use_threads=_THREADS).select(schema.names).cast(schema)
        refuse_impossible(table, spec)
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, RecursionError):
        return {}
    found, start = {}, 0
    for name, stat, rows in listed:
        if now.get(name) == stat:
            found[name] = table.slice(start, rows)
        start += rows
    return found if start == table.num_rows else {}


def _content(path: Path) -> bytes:
    """A file's bytes. Raises OSError for what is no file: a pipe would be waited for, and a device has no end."""
    with open_plain(path) as file:
        return file.read()


def _stat_of(path: Path) -> list[int]:
    """What changes with any ordinary write to a file; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _read_file(path: Path, spec: TableSpec, schema: pa.Schema) -> pa.Table:
    """One file's rows in the columns of `schema`."""
    is_removed = path.parent.parent.parent.name == REMOVED
    advice = _IF_REMOVED if is_removed else spec.if_damaged
    try:
        content = _content(path)
        whole = is_sealed(content)
        # Not pq.read_table: it would import the data set layer, 0.3 s for nothing.
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            present = set(file.schema_arrow.names)
            if not whole:
                _refuse_lost_columns(file)
            missing = [name for name in spec.needed_beside(present) if name not in present]
            if missing:
                raise ResultsError(f"{path} is no {spec.name} table: it lacks {', '.join(missing)}; {advice}")
            found = file.read(columns=[name for name in schema.names if name in present], use_threads=_THREADS)
        table = pa.Table.from_arrays(
            [
                found.column(field.name).cast(field.type)
                if field.name in present
                else pa.chunked_array([pa.nulls(found.num_rows, field.type)])
                for field in schema
            ],
            schema=schema,
        )
        refuse_impossible(table, spec)
        return table
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        said = getattr(error, "strerror", None) or str(error)
        first_line = said.splitlines()[0] if said else type(error).__name__
        raise ResultsError(f"{path} cannot be read as a {spec.name} table: {first_line}; {advice}") from error


def _refuse_lost_columns(file: pq.ParquetFile) -> None:
    """Raise ValueError if the columns are not those that Arrow noted when it wrote the file.

    A file of an earlier version has no seal; a changed bit in a column's name would have it read as null.
    """
    noted = (file.metadata.metadata or {}).get(_ARROW_SCHEMA)
    if noted is None:
        return
    names = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(noted, validate=True))).names
    if lost := sorted(set(names).symmetric_difference(file.schema_arrow.names)):
        raise ValueError(f"its lists of columns differ in {', '.join(map(repr, lost[:5]))}")


def _publish(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Make `data` appear as `path` at once, or leave nothing; a file that another writer put there first stays.

    replace: unless it is to be replaced.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        make_folder(path.parent)
        try:
            write_synced(temporary, data)
            if replace:
                temporary.replace(path)
            else:
                _rename_unless_there(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # where folders can be synced at all
            sync(path.parent)
    except OSError as error:
        room = "; free some space and run again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise ResultsError(
            f"{path} ({len(data):,} bytes) could not be written: {error.strerror or error}; "
            f"the rows of earlier runs are as they were{room}"
        ) from error


def _rename_unless_there(temporary: Path, path: Path) -> None:
    """Give `temporary` its final name unless a file has it already."""
    try:
        # A hard link, not a rename: it fails where the name is taken, so that of two writers the first one stays.
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK):
            raise
        # A file system without hard links. The loser of a race then replaces a whole file by a whole file.
        temporary.replace(path)


def _refuse_twins(spec: TableSpec, rows: Iterable[Mapping[str, Any]]) -> None:
    """Two rows of one run for the same cell would count one seed twice in a mean."""
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows):
        name = tuple(row.get(part) for part in spec.identity)
        if (first := seen.setdefault(name, number)) != number:
            shown = ", ".join(f"{part} {value}" for part, value in zip(spec.identity, name) if value is not None)
            raise ResultsError(
                f"rows {first} and {number} of table {spec.name} are both {shown}; "
                "one run gives one row each: tell them apart or drop one"
            )
