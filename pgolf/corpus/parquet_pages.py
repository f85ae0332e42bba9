"""The sizes that the pages of a Parquet column claim, looked at before Arrow allocates them.

Arrow allocates what a page's header claims, up to 2 GiB, whatever the file's size; and asked for what the footer says
of a column, it ends the process where that is damaged. So both are read here: Thrift structs in compact form.
Source: apache/parquet-format, src/main/thrift/parquet.thrift; apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from io import BufferedReader
from typing import Any

# Pages have about 1 MiB, those of a dictionary a few; one long document makes a longer one.
_MOST_PAGE_BYTES = 1 << 29
_ALWAYS_BYTES = 1 << 26
# Of a header with its statistics a few hundred bytes are usual.
_MOST_HEADER_BYTES = 1 << 20
_MOST_DEPTH = 12
_END = b"PAR1"

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)

Struct = dict[int, Any]


def check_pages(file: BufferedReader, column: str) -> None:
    """Raise ValueError for a page of a column that claims more than its chunk has, and for a file without a footer."""
    for chunk in _chunks(_footer(file), column):
        # ColumnMetaData: 6 and 7 its bytes, uncompressed and not; 9 and 11 where data and dictionary begin.
        place, uncompressed_bytes = _number(chunk, 9), _number(chunk, 6)
        if 11 in chunk and 0 < _number(chunk, 11) < place:
            place = _number(chunk, 11)
        end = place + _number(chunk, 7)
        most_bytes = min(_MOST_PAGE_BYTES, max(_ALWAYS_BYTES, uncompressed_bytes))
        while 0 < place < end:  # 0: a column without any page
            file.seek(place)
            content = _Content(file.read(min(_MOST_HEADER_BYTES, end - place)))
            header = content.struct()
            # PageHeader: 2 and 3 its bytes, uncompressed and not.
            claimed_bytes, page_bytes = _number(header, 2), _number(header, 3)
            left_bytes = end - place - content.place
            if not 0 <= claimed_bytes <= most_bytes or not 0 <= page_bytes <= left_bytes:
                raise ValueError(
                    f"the page at byte {place:,} claims {page_bytes:,} bytes, {claimed_bytes:,} uncompressed; its "
                    f"column has {left_bytes:,} left, {uncompressed_bytes:,} uncompressed"
                )
            place += content.place + page_bytes


def _footer(file: BufferedReader) -> Struct:
    size_bytes = file.seek(0, 2)
    file.seek(max(0, size_bytes - 8))
    tail = file.read(8)
    footer_bytes = int.from_bytes(tail[:4], "little")
    if tail[4:] != _END or footer_bytes > size_bytes - 8:
        raise ValueError(f"its {size_bytes:,} bytes do not end as a Parquet file does")
    file.seek(size_bytes - 8 - footer_bytes)
    return _Content(file.read(footer_bytes)).struct()


def _chunks(footer: Struct, column: str) -> list[Struct]:
    """FileMetaData: 4 its row groups, of which 1 are the columns, and 3 of these what is said of a column."""
    try:
        chunks = [chunk[3] for group in footer.get(4, []) for chunk in group[1]]
        return [chunk for chunk in chunks if chunk[3] == [column.encode()]]  # 3: its path in the schema
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"its footer does not say where columns are ({type(error).__name__}: {error})") from None


def _number(struct: Struct, field: int) -> int:
    value = struct.get(field)
    if not isinstance(value, int):
        raise ValueError(f"a size is missing (field {field})")
    return value


class _Content:
    """Bytes that begin with a Thrift struct; place: how far they were read. ValueError for bytes that are none."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def struct(self, depth: int = 0) -> Struct:
        """Its fields by number."""
        if depth > _MOST_DEPTH:
            raise ValueError("it has structs in structs too deep")
        found: Struct = {}
        number = 0
        while (head := self._take(1)[0]) & 15 != _STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._take(self._size())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            if depth > _MOST_DEPTH:
                raise ValueError("it has lists in lists too deep")
            head = self._take(1)[0]
            size = head >> 4 if head >> 4 < 15 else self._size()
            return [self._value(head & 15, depth + 1) for _ in range(size)]
        if kind in (_TRUE, _FALSE, _BYTE):  # a flag in a list takes a byte
            return self._take(1)[0]
        if kind == _DOUBLE:
            return self._take(8)
        raise ValueError(f"it has a field of kind {kind}")

    def _take(self, size: int) -> bytes:
        if size > len(self._content) - self.place:
            raise ValueError(f"it ends at byte {len(self._content):,}, within a struct")
        self.place += size
        return self._content[self.place - size : self.place]

    def _size(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number in it has no end")

    def _integer(self) -> int:
        value = self._size()
        return (value >> 1) ^ -(value & 1)  # zigzag
