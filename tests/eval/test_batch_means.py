"""The file of batch means: what is read is what was written, and other files are refused."""

import numpy as np
import pyarrow as pa
import pytest

from pgolf.errors import DataError
from pgolf.eval.batch_means import SCHEMA, BatchMean, read_batch_means, write_batch_means

ROWS = [BatchMean(0, 0, 0, 0, 32, 60_000, 1.9, 2.1), BatchMean(0, 1, 0, 32, 33, 2048, 2.2, 2.0)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_is_read_is_what_was_written(tmp_path, count):
    assert write_batch_means(tmp_path / "batches.arrow", ROWS[:count]) == count
    found = read_batch_means(tmp_path / "batches.arrow")
    assert len(found) == count
    for field in SCHEMA:
        column = getattr(found, field.name)
        assert column.dtype == field.type.to_pandas_dtype()
        np.testing.assert_array_equal(
            column, np.array([getattr(row, field.name) for row in ROWS[:count]], column.dtype)
        )


def test_a_mean_that_is_no_number_is_refused_by_its_windows(tmp_path):
    with pytest.raises(DataError, match="windows 32 to 32 have a mean loss of nan"):
        write_batch_means(tmp_path / "batches.arrow", [ROWS[0], BatchMean(0, 1, 0, 32, 33, 2048, float("nan"), 2.0)])


def test_a_file_that_holds_no_batch_means_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"set score\.batch_means and score again"):
        read_batch_means(tmp_path / "absent.arrow")
    with pa.ipc.new_file(tmp_path / "other.arrow", pa.schema([("chunk", pa.int64())])):
        pass
    with pytest.raises(DataError, match="has columns chunk int64"):
        read_batch_means(tmp_path / "other.arrow")
