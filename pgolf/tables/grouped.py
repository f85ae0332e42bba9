"""Score rows grouped by scorer, with each scorer's mean and gates, computed on whole columns at a time.

A thousand runs have some 90,000 scorers. To rank them one by one takes many seconds; only those that are shown have to
be looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.tables.columns import bits_of

# Means are summed in another order here than where they are shown: those so close are told apart there.
_CLOSE = 1e-9

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Scorers of a score table, by number. of_row: each row's scorer. gates: 1 passed, 0 failed, -1 unjudged.

    mean_bpb: NaN where a seed has none.
    """

    of_row: Whole
    gates: dict[str, npt.NDArray[np.int8]]
    mean_bpb: npt.NDArray[np.float64]

    def lowest(self, chosen: npt.NDArray[np.bool_], top: int | None) -> npt.NDArray[np.bool_]:
        """The rows of the `top` chosen scorers with the lowest mean, and of all that are too close to tell."""
        means = np.where(np.isnan(self.mean_bpb), np.inf, self.mean_bpb)[chosen]
        if top is None or means.size <= top:
            return chosen[self.of_row]
        last = np.partition(means, top - 1)[top - 1] if top > 0 else -np.inf
        return (chosen & (np.where(np.isnan(self.mean_bpb), np.inf, self.mean_bpb) <= last + _CLOSE))[self.of_row]


def grouped(scores: pa.Table, keys: Sequence[str], gates: Sequence[str]) -> Groups:
    """Group rows by `keys`; of a seed that was run again the newest row counts, as in `scorer_results`."""
    of_row = _numbered([_codes(scores.column(name)) for name in keys], scores.num_rows)
    groups = int(of_row.max(initial=-1)) + 1
    newest = _newest(scores, of_row)
    members = of_row[newest]
    judged = {}
    for name in gates:
        values = scores.column(name).take(places(newest))
        failed = np.zeros(groups, bool)
        unjudged = np.zeros(groups, bool)
        failed[members[~_plain(values.fill_null(True))]] = True
        unjudged[members[_plain(values.is_null())]] = True
        judged[name] = np.where(failed, 0, np.where(unjudged, -1, 1)).astype(np.int8)
    bpb = scores.column("bpb").take(places(newest))
    values = _plain(bpb.fill_null(float("nan")))
    sums = np.bincount(members, weights=values, minlength=groups)
    with np.errstate(invalid="ignore"):
        means = sums / np.bincount(members, minlength=groups)
    return Groups(of_row, judged, means)


def _newest(scores: pa.Table, of_row: Whole) -> Whole:
    """One row per scorer and seed: the newest; a row without a time is the oldest, equal times go by run key."""
    seeds, _ = _codes(scores.column("seed"))
    started = scores.column("started_utc").cast(pa.int64())
    keys = scores.column("run_key").combine_chunks().dictionary_encode()
    rank = np.argsort(np.argsort(np.array(keys.dictionary.to_pylist(), dtype=object)))
    run = rank[keys.indices.to_numpy(zero_copy_only=False)]
    has, when = ~_plain(started.is_null()), _plain(started.fill_null(0))
    order = np.lexsort((run, when, has, seeds, of_row))
    last = np.ones(order.size, bool)
    last[:-1] = (of_row[order][1:] != of_row[order][:-1]) | (seeds[order][1:] != seeds[order][:-1])
    return order[last]


def configurations(scores: pa.Table) -> dict[str, int]:
    """Recipe -> how many recipe keys stand behind the name."""
    columns = [scores.column(name) for name in ("recipe", "recipe_key")]
    first = np.unique(_numbered([_codes(column) for column in columns], scores.num_rows), return_index=True)[1]
    found: dict[str, int] = {}
    for recipe in columns[0].take(places(first)).to_pylist():
        found[recipe] = found.get(recipe, 0) + 1
    return found


def places(rows: Whole) -> pa.Array:
    """Row numbers for `take`. Not pa.array: it asks for pandas."""
    return pa.Array.from_buffers(pa.int64(), rows.size, [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])


def mask(rows: npt.NDArray[np.bool_]) -> pa.Array:
    """Rows to keep, for `filter`."""
    return pa.Array.from_buffers(pa.bool_(), rows.size, [None, bits_of(rows)])


def _codes(column: pa.ChunkedArray) -> tuple[Whole, int]:
    """Values as numbers from 0 on, null among them, and how many there are."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(1, len(encoded.dictionary))


def _numbered(columns: Sequence[tuple[Whole, int]], rows: int) -> Whole:
    """Combinations of codes as numbers from 0 on, exactly: where a product would overflow it is numbered anew."""
    numbers, size = np.zeros(rows, np.int64), 1
    for codes, count in columns:
        if count == 1:
            continue
        if size * count >= 1 << 62:
            numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
            size = int(numbers.max(initial=0)) + 1
        numbers, size = numbers * count + codes, size * count
    found: Whole = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    return found


def _plain(values: Any) -> npt.NDArray[Any]:
    plain: npt.NDArray[Any] = values.to_numpy()
    return plain
