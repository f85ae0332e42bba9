"""Score rows grouped by scorer, with each scorer's mean and gates, computed on whole columns at a time.

A thousand runs have some 90,000 scorers. To rank them one by one takes many seconds; only those that are shown have to
be looked at one by one.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pgolf.tables.columns import bits_of, to_column
from pgolf.tables.gates import AUDITED, RULESET
from pgolf.tables.schema import TEXT, YES_NO

# Means are summed in another order here than where they are shown: those so close are told apart there.
_CLOSE = 1e-9

_DTYPES = {pa.int32(): np.int32, pa.int64(): np.int64, pa.float64(): np.float64}

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
    of_row = numbered([codes(scores.column(name)) for name in keys], scores.num_rows)
    groups = int(of_row.max(initial=-1)) + 1
    newest = _newest(scores, of_row)
    members = of_row[newest]
    judged = {}
    for name in gates:
        values = scores.column(name).take(places(newest))
        failed = np.zeros(groups, bool)
        unjudged = np.zeros(groups, bool)
        failed[members[~plain(values, True)]] = True
        unjudged[members[plain(values.is_null())]] = True
        judged[name] = np.where(failed, 0, np.where(unjudged, -1, 1)).astype(np.int8)
    bpb = scores.column("bpb").take(places(newest))
    values = plain(bpb, math.nan)
    sums = np.bincount(members, weights=values, minlength=groups)
    with np.errstate(invalid="ignore"):
        means = sums / np.bincount(members, minlength=groups)
    return Groups(of_row, judged, means)


def _newest(scores: pa.Table, of_row: Whole) -> Whole:
    """One row per scorer and seed: of the newest score the filing that says most; without a time it is the oldest.

    A score is the same where its loss is: another grid, or another headline, files it again.
    """
    seeds, seed_count = codes(scores.column("seed"))
    losses = codes(scores.column("loss_nats"))
    started = scores.column("started_utc").cast(pa.int64())
    when = np.where(plain(started.is_null()), np.iinfo(np.int64).min, plain(started, 0))
    same = numbered([(of_row, int(of_row.max(initial=0)) + 1), (seeds, seed_count), losses], of_row.size)
    latest = np.full(int(same.max(initial=-1)) + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, same, when)
    keys = _joined(scores.column("run_key")).dictionary_encode()
    rank = np.argsort(np.argsort(np.array(keys.dictionary.to_pylist(), dtype=object)))
    run = rank[plain(keys.indices)]
    order = np.lexsort((run, when, filing(scores), latest[same], seeds, of_row))
    last = np.ones(order.size, bool)
    last[:-1] = (of_row[order][1:] != of_row[order][:-1]) | (seeds[order][1:] != seeds[order][:-1])
    return order[last]


def filing(scores: pa.Table) -> Whole:
    """Which of several filings of one score says more, as a number per row.

    One score may be filed again: under a newer rule set, or once the text and the headline were recorded at all. A
    headline that was declared before scoring stays so, whichever is declared later; a filing of an earlier version does
    not say its configuration. A trial that found something wrong counts, whatever others ask and find.
    """
    of_now = plain(pc.is_in(scores.column("ruleset"), value_set=to_column([RULESET], TEXT)))
    declared = plain(pc.is_in(scores.column("declared_before_scoring"), value_set=to_column([True], YES_NO)))
    of_text = ~plain(scores.column("val_sha256").is_null())
    configured = ~plain(scores.column("config_key").is_null())
    tried = ~plain(scores.column(AUDITED).is_null())
    accused = ~plain(scores.column(AUDITED), True)
    judged = 32 * of_now.astype(np.int64) + 16 * accused + 8 * tried
    found: Whole = judged + 4 * declared + 2 * of_text + configured
    return found


def combinations(table: pa.Table, names: Sequence[str]) -> tuple[list[tuple[Any, ...]], Whole]:
    """The combinations of values that occur in these columns, in no order, and the number of each row's."""
    columns = [table.column(name) for name in names]
    numbers = numbered([codes(column) for column in columns], table.num_rows)
    first = places(np.unique(numbers, return_index=True)[1])
    return list(zip(*(column.take(first).to_pylist() for column in columns))), numbers


def configurations(scores: pa.Table) -> dict[str, int]:
    """Recipe -> how many recipe keys stand behind the name."""
    return dict(Counter(recipe for recipe, _ in combinations(scores, ("recipe", "recipe_key"))[0]))


def places(rows: Whole) -> pa.Array:
    """Row numbers for `take`. Not pa.array: it asks for pandas."""
    return pa.Array.from_buffers(pa.int64(), rows.size, [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])


def mask(rows: npt.NDArray[np.bool_]) -> pa.Array:
    """Rows to keep, for `filter`."""
    return pa.Array.from_buffers(pa.bool_(), rows.size, [None, bits_of(rows)])


def codes(column: "pa.ChunkedArray[Any]") -> tuple[Whole, int]:
    """Values as numbers from 0 on, null among them, and how many there are."""
    encoded = _joined(column).dictionary_encode(null_encoding="encode")
    return plain(encoded.indices).astype(np.int64), max(1, len(encoded.dictionary))


def numbered(columns: Sequence[tuple[Whole, int]], rows: int) -> Whole:
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


def _joined(column: "pa.ChunkedArray[Any]") -> Any:
    """The column as one array. Not combine_chunks alone: without a chunk it imports pandas."""
    return column.combine_chunks() if column.num_chunks else to_column([], column.type)


def plain(values: Any, null: Any = None) -> npt.NDArray[Any]:
    """A column of numbers or flags as an array. null: what stands for a null; without it there may be none.

    Not to_numpy and not fill_null: they import pandas.
    """
    array = _joined(values) if isinstance(values, pa.ChunkedArray) else values
    data, first, last = array.buffers()[1], array.offset, array.offset + len(array)
    if pa.types.is_boolean(array.type):
        bits = np.frombuffer(data or b"", np.uint8)
        found = np.unpackbits(bits, bitorder="little")[first:last].astype(np.bool_)
    else:
        found = np.frombuffer(data or b"", _DTYPES[array.type])[first:last]
    if array.null_count == 0:
        return found
    assert null is not None, "a null has no number"
    return np.where(plain(array.is_valid()), found, null)
