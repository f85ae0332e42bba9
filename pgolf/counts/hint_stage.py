"""The hint stage: before every scored target, the token that most often came after its context so far, per order.

hints.arrow, Arrow IPC: one row per record, in the order of the trace. Per order n, after the n - 1 tokens before the
target: `hint_<n>` int32, the most frequent token so far (of several, the one that reached the count first; -1 for a
context that was not seen), `context_<n>` uint32, how often the context was seen, and `count_<n>` uint32, how often with
the hint. All are functions of the tokens before the target alone, so a distribution may be tilted towards the hint. The
schema's metadata holds the HintConfig and the digest of the stream.

Source: openai/parameter-golf PR #511 (long contexts of the same document, outside the network's window).
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.counts.exact import exact_runs
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.runs import plan_of
from pgolf.eval.blocks import write_blocks
from pgolf.eval.hints import HINTS_FILE
from pgolf.eval.trace import STREAM_KEY
from pgolf.run_options import Made, Progress, RunOptions

CONFIG_KEY = b"pgolf.hint_config"


def make(config: HintConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Take the hints of the validation stream; writes hints.arrow.

    inputs: `data`, a folder with a manifest. Raises DataError or ShardError for data that cannot be used.
    """
    started = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    tokens = np.array(validation_tokens(dataset, window=config.window), np.uint16)
    metadata = {CONFIG_KEY: config.model_dump_json().encode(), STREAM_KEY: stream_digest(tokens).encode()}
    schema = pa.schema(columns_of(config.orders), metadata=metadata)
    read = time.perf_counter()
    plan = plan_of(config, len(tokens) - 1)
    hinted = 0

    def columns() -> Iterator[list[npt.NDArray[Any]]]:
        nonlocal hinted
        threads = run.threads or len(os.sched_getaffinity(0))
        for piece, seen in exact_runs(config, plan, tokens, bos_id=dataset.bos_id, hints=True, threads=threads):
            if piece.look_up:
                hinted += int((seen.hint >= 0).any(axis=0).sum())
                yield [column for three in zip(seen.hint, seen.context, seen.count, strict=True) for column in three]

    def report(done: int) -> None:
        run.report(Progress(stage="hint", done=done, total=plan.records, unit="targets"))

    written = write_blocks(out / HINTS_FILE, schema, columns(), report=report)
    assert written == plan.records, f"{written} of {plan.records} records were counted"
    made = time.perf_counter()
    return Made(
        phases_s={"read": read - started, "hint": made - read},
        facts={"orders": len(config.orders), "records": plan.records, "hinted": hinted},
    )


def columns_of(orders: Sequence[int]) -> list[tuple[str, pa.DataType]]:
    """Names and types of the columns of hints.arrow: hint, context's count and hint's count, order by order."""
    kinds = (("hint", pa.int32()), ("context", pa.uint32()), ("count", pa.uint32()))
    return [(f"{name}_{order}", kind) for order in orders for name, kind in kinds]
