import itertools

import numpy as np
import pyarrow as pa
import pytest

from pgolf.errors import DataError
from pgolf.eval.blocks import BLOCK_RECORDS
from pgolf.eval.trace import (
    COLUMNS,
    WINDOWS_KEY,
    Trace,
    count_records,
    iterate_trace,
    read_plan,
    read_trace,
    trace_is_causal,
    write_trace,
)
from pgolf.eval.windows import plan_windows


def trace_of(records, seed=0):
    rng = np.random.default_rng(seed)
    return Trace(
        np.arange(1, records + 1),
        rng.exponential(2.0, records).astype(np.float32),
        rng.uniform(0, 7, records).astype(np.float32),
    )


def piece(trace, first, last):
    return Trace(trace.target[first:last], trace.loss_nats[first:last], trace.entropy_nats[first:last])


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in Trace.__slots__)


@pytest.mark.parametrize("records", [0, 1, 1000, BLOCK_RECORDS, BLOCK_RECORDS + 1])
def test_what_is_read_is_what_was_written(tmp_path, records):
    trace = trace_of(records)
    assert write_trace(tmp_path / "trace.arrow", [trace]) == records
    assert same(read_trace(tmp_path / "trace.arrow"), trace)
    assert count_records(tmp_path / "trace.arrow") == records
    assert [len(block) for block in iterate_trace(tmp_path / "trace.arrow")] == [
        min(BLOCK_RECORDS, records - first) for first in range(0, records, BLOCK_RECORDS)
    ]


def test_bytes_do_not_depend_on_where_the_pieces_are_cut(tmp_path):
    trace = trace_of(BLOCK_RECORDS + 5000)
    write_trace(tmp_path / "whole.arrow", [trace])
    cuts = [0, 0, 7, 1000, BLOCK_RECORDS - 1, BLOCK_RECORDS + 1, len(trace)]
    write_trace(tmp_path / "pieces.arrow", (piece(trace, a, b) for a, b in itertools.pairwise(cuts)))
    assert (tmp_path / "whole.arrow").read_bytes() == (tmp_path / "pieces.arrow").read_bytes()


def test_columns_are_the_documented_ones(tmp_path):
    write_trace(tmp_path / "trace.arrow", [trace_of(3)])
    table = pa.ipc.open_file(tmp_path / "trace.arrow").read_all()
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("target", "int64"),
        ("loss_nats", "float"),
        ("entropy_nats", "float"),
    ]


@pytest.mark.parametrize(("column", "value"), [("loss_nats", np.nan), ("entropy_nats", np.inf)])
def test_a_score_that_is_no_number_is_refused_with_its_place(tmp_path, column, value):
    trace = trace_of(10)
    getattr(trace, column)[6] = value
    with pytest.raises(DataError, match=r"record 6 \(target 7\)"):
        write_trace(tmp_path / "trace.arrow", [trace])


def test_columns_of_different_lengths_are_refused(tmp_path):
    trace = trace_of(10)
    with pytest.raises(DataError, match="columns of 10, 9, 10 rows for target, loss_nats, entropy_nats"):
        write_trace(tmp_path / "trace.arrow", [Trace(trace.target, trace.loss_nats[:9], trace.entropy_nats)])


def test_a_file_that_is_no_trace_is_refused(tmp_path):
    path = tmp_path / "trace.arrow"
    with pytest.raises(DataError, match="cannot be read as a trace"):
        read_trace(path)
    write_trace(path, [trace_of(100)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as a trace"):
        read_trace(path)
    other = pa.schema([pa.field("loss_nats", pa.float64())])
    with pa.ipc.new_file(path, other):
        pass
    with pytest.raises(DataError, match="has columns loss_nats double"):
        read_trace(path)


@pytest.mark.parametrize("tail", ["once", "repeat"])
def test_a_trace_says_which_windows_it_was_scored_in(tmp_path, tail):
    plan = plan_windows(1000, window=64, stride=16, tail=tail)
    write_trace(tmp_path / "trace.arrow", [], plan=plan)
    found = read_plan(tmp_path / "trace.arrow")
    for name in ("start", "end", "score_from", "first_record"):
        assert np.array_equal(getattr(found, name), getattr(plan, name))
    write_trace(tmp_path / "silent.arrow", [])
    with pytest.raises(DataError, match="does not say which windows"):
        read_plan(tmp_path / "silent.arrow")


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"64",
        b"[1, 2]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"targets": 3, "window": 8}',
        b'{"targets": 3, "window": 8, "stride": 4, "tail": "twice"}',
        b'{"targets": 3, "window": 8, "stride": 4, "tail": "once", "pace": 1}',
        b'{"targets": 3, "window": 8, "stride": "4", "tail": "once"}',
        b'{"targets": 3, "window": 8.5, "stride": 4, "tail": "once"}',
        b'{"targets": true, "window": 8, "stride": 4, "tail": "once"}',
        b'{"targets": 3, "window": 8, "stride": 0, "tail": "once"}',
        b'{"targets": 0, "window": 8, "stride": 4, "tail": "once"}',
        b'{"targets": 1000000000000000, "window": 8, "stride": 4, "tail": "once"}',
    ],
)
def test_windows_that_are_no_plan_are_an_error_with_the_files_name(tmp_path, stored):
    path = tmp_path / "trace.arrow"
    write_trace(path, [trace_of(3)], plan=plan_windows(3, window=8, stride=4))
    content = read_columns(path)
    with pa.ipc.new_file(path, content.schema.with_metadata({**content.schema.metadata, WINDOWS_KEY: stored})) as file:
        file.write_table(content)
    with pytest.raises(DataError, match=r"trace\.arrow names .* which is no plan: .*; score again"):
        read_plan(path)


def read_columns(path):
    with pa.ipc.open_file(path) as file:
        return file.read_all()


def test_a_trace_says_whether_it_is_causal(tmp_path):
    for causal in (True, False):
        write_trace(tmp_path / "trace.arrow", [trace_of(3)], causal=causal)
        assert trace_is_causal(tmp_path / "trace.arrow") is causal
        assert same(read_trace(tmp_path / "trace.arrow"), trace_of(3))
    with pa.ipc.new_file(tmp_path / "silent.arrow", pa.schema(COLUMNS)):
        pass
    with pytest.raises(DataError, match="does not say whether it is causal"):
        trace_is_causal(tmp_path / "silent.arrow")
