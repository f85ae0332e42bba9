"""Files of the by-document stage and how they are read."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

DOCUMENTS_FILE = "documents.parquet"
LOSSES_FILE = "losses.parquet"


def read_documents(folder: Path) -> tuple[Int64Array, Int64Array]:
    """Targets and bytes of every document, [K] each."""
    table = pq.read_table(folder / DOCUMENTS_FILE)
    return table.column("targets").to_numpy(), table.column("bytes").to_numpy()


def read_whole(folder: Path) -> BoolArray:
    """Of every document whether all of its targets were scored, each once, [K]."""
    whole: BoolArray = pq.read_table(folder / DOCUMENTS_FILE).column("whole").to_numpy()
    return whole


def read_losses(folder: Path) -> dict[str, Float64Array]:
    """The settings of every scorer, as JSON -> its loss in nats summed over each document, [K]."""
    table = pq.read_table(folder / LOSSES_FILE)
    losses = table.column("document_nats").combine_chunks()
    by_scorer: Float64Array = losses.flatten().to_numpy().reshape(table.num_rows, -1)
    return dict(zip(table.column("cell").to_pylist(), by_scorer))
