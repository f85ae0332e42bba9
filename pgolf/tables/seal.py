"""A seal over every bit of a Parquet file, where its readers look for nothing: between the rows and the footer.

Parquet has checksums of pages but none of its footer, in which one changed bit turns a column into another one, or into
none. The seal is a mark, the SHA-256 of all bytes but the seal's own, and a second mark, so that no single change makes
a sealed file look like one of an earlier version, which has none. A program that rewrites the file leaves it out.
"""

import hashlib

_MARKS = (bytes.fromhex("9b1f5ea10c7e4d3db2a6c0f47d18e653"), bytes.fromhex("e47720b3915a4f8c86d9132bfa6e0c95"))
_DIGEST_BYTES = 32
_SEAL_BYTES = len(_MARKS[0]) + _DIGEST_BYTES + len(_MARKS[1])
# The length of the footer, in four bytes, and the letters PAR1.
_END_BYTES = 8


def sealed(parquet: bytes) -> bytes:
    """A Parquet file with its seal."""
    place = _footer_begins(parquet)
    rows, footer = parquet[:place], parquet[place:]
    return b"".join((rows, _MARKS[0], _digest(rows, footer), _MARKS[1], footer))


def is_sealed(parquet: bytes) -> bool:
    """Whether a Parquet file has a seal, and is as it was sealed. Raises ValueError if it was altered."""
    if not any(mark in parquet for mark in _MARKS):
        return False
    end = _footer_begins(parquet)
    place = end - _SEAL_BYTES
    rows, seal, footer = parquet[: max(place, 0)], parquet[max(place, 0) : end], parquet[end:]
    if seal != b"".join((_MARKS[0], _digest(rows, footer), _MARKS[1])):
        raise ValueError(f"its {len(parquet):,} bytes are not those that were written")
    return True


def _footer_begins(parquet: bytes) -> int:
    """Place of the footer; 0 if its length cannot be right."""
    return max(0, len(parquet) - _END_BYTES - int.from_bytes(parquet[-_END_BYTES:-4], "little"))


def _digest(*parts: bytes) -> bytes:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()
