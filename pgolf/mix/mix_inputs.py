"""Read the inputs of a mix record by record, a trace, counts and hints, and check that they are of the same tokens.

With hints (`pgolf.counts.hint_stage`) the trace has ln q(hint) per order.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.counts.count_stage import COUNTS_FILE, CountFile, open_counts
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.hint_stage import CONFIG_KEY, columns_of
from pgolf.counts.runs import plan_of
from pgolf.errors import DataError
from pgolf.eval.arrow_file import ArrowFile
from pgolf.eval.hints import HINTS_FILE
from pgolf.eval.trace import STREAM_KEY, Trace, count_records, iterate_trace, read_plan
from pgolf.eval.windows import WindowPlan
from pgolf.mix.files import COUNTS_ROLE, HINTS_ROLE, TRACE_FILE
from pgolf.mix.grid import UNIT_RECORDS, Hints, Unit

_TAKE_AGAIN = "take the hints again"
_OTHERS = f"they are not those of hints; {_TAKE_AGAIN}"

# Where the hint is the target, its log-probability is minus the loss: both are float32 of the same logits, of up to a
# few hundred nats.
HINT_TOLERANCE_NATS = 1e-3

Listener = Callable[[Trace], None]


class MixInputs:
    """The files behind one mix; `counts` their configs by name, `hinted` the orders of the hints (None: no hints)."""

    def __init__(self, inputs: Mapping[str, Path]) -> None:
        """inputs: role -> folder: `data`, `trace`, one `counts.<name>` per count stage, `hints`.

        Raises DataError for files of different records or tokens, or that do not say what they are of.
        """
        self.dataset = open_dataset(inputs["data"])
        self.tokens = validation_tokens(self.dataset, window=1)
        self.trace = inputs["trace"] / TRACE_FILE
        self.records = count_records(self.trace)
        if self.records == 0:
            raise DataError(f"{self.trace} has no records, so there is nothing to mix; score again")
        self.plan = read_plan(self.trace)
        if self.plan.targets >= len(self.tokens):
            raise DataError(
                f"the trace was scored on {self.plan.targets:,} targets, the validation stream has "
                f"{len(self.tokens) - 1:,}; mix a trace with the data it was scored on"
            )
        self.files = {
            role.removeprefix(COUNTS_ROLE): open_counts(folder / COUNTS_FILE)
            for role, folder in sorted(inputs.items())
            if role.startswith(COUNTS_ROLE)
        }
        self.hints = _HintFile(inputs[HINTS_ROLE] / HINTS_FILE) if HINTS_ROLE in inputs else None
        self.counts = {name: file.config for name, file in self.files.items()}
        self.hinted = None if self.hints is None else self.hints.orders
        self._plans = {name: self._plan_of_counts(name, file) for name, file in self.files.items()}
        if self.hints is not None and self.hints.records != self.records:
            raise DataError(
                f"the trace has {self.records:,} records and the hints {self.hints.records:,}; take hints and score "
                "the same data with the same window, stride and tail"
            )
        self.stream = self._checked_stream()

    def units(self, listeners: Sequence[Listener]) -> Iterator[Unit]:
        """Cut trace, counts and hints, block by block, into units; every listener sees each block of the trace once.

        Raises DataError for records that are not the same in all files, and for numbers that are not finite.
        """
        readers = {name: file.blocks() for name, file in self.files.items()}
        hint_blocks = itertools.repeat(None) if self.hints is None else self.hints.blocks()
        done = 0
        for trace in iterate_trace(self.trace):
            columns = {name: next(reader) for name, reader in readers.items()}
            self._check_records(trace, columns, done)
            self._check_finite(trace, done)
            for listener in listeners:
                listener(trace)
            hints = self._hints_of(trace, next(hint_blocks), done)
            block = Unit(trace.loss_nats, trace.entropy_nats, columns, hints)
            for first in range(0, len(trace), UNIT_RECORDS):
                yield block.part(slice(first, first + UNIT_RECORDS))
            done += len(trace)

    def _check_finite(self, trace: Trace, done: int) -> None:
        columns = {"loss_nats": trace.loss_nats, "entropy_nats": trace.entropy_nats}
        columns |= {f"hint_logp_{order}": logp for order, logp in trace.hint_logp.items()}
        for name, column in columns.items():
            finite = np.isfinite(column)
            if not finite.all():
                row = int(np.argmin(finite))
                raise DataError(
                    f"{self.trace} has {name} {column[row]} at record {done + row:,} (target "
                    f"{int(trace.target[row]):,}) and {int((~finite).sum()):,} such values in this block; score again"
                )

    def _check_records(self, trace: Trace, columns: Mapping[str, Sequence[npt.NDArray[np.uint32]]], done: int) -> None:
        last = done + len(trace)
        for name, plan in {"": self.plan, **self._plans}.items():
            same = last <= plan.records and np.array_equal(trace.target, plan.targets_of_records(done, last))
            if not same or (name and len(columns[name][0]) != len(trace)):
                where = f"counts {name!r} are of" if name else f"its {plan.windows:,} windows make"
                raise DataError(
                    f"records {done:,} to {last:,} of the trace are not the targets that {where}; "
                    "score and count the same data with the same window, stride and tail"
                )

    def _hints_of(self, trace: Trace, columns: Mapping[str, npt.NDArray[Any]] | None, done: int) -> Hints | None:
        if self.hints is None or columns is None:
            return None
        orders = self.hints.orders
        if missing := [order for order in orders if order not in trace.hint_logp]:
            there = ", ".join(map(str, trace.hint_logp)) or "none"
            raise DataError(
                f"the trace holds log-probabilities of the hints of orders {there}, the hints are of orders "
                f"{', '.join(map(str, orders))} ({len(missing)} missing); score with these hints"
            )
        target_T = self.tokens[trace.target].astype(np.int32)
        is_target = [columns[f"hint_{order}"] == target_T for order in orders]
        for order, right_T in zip(orders, is_target, strict=True):
            logp_T = trace.hint_logp[order]
            if len(right_T) != len(trace):
                raise DataError(f"the blocks of hints and trace differ at record {done:,}; take the hints again")
            off_T = np.where(right_T, np.abs(logp_T + trace.loss_nats), 0.0)
            if off_T.max(initial=0.0) > HINT_TOLERANCE_NATS:
                row = int(np.argmax(off_T))
                raise DataError(
                    f"at record {done + row:,} the hint of order {order} is the target itself, whose log-probability "
                    f"is {-trace.loss_nats[row]:.6g} nats in the trace, and {logp_T[row]:.6g} as the hint's; the trace "
                    "was scored with other hints: score with these"
                )
        return Hints(
            [columns[f"context_{order}"] for order in orders],
            [columns[f"count_{order}"] for order in orders],
            is_target,
            [trace.hint_logp[order] for order in orders],
        )

    def _plan_of_counts(self, name: str, file: CountFile) -> WindowPlan:
        """The windows a count stage ran over; DataError unless they give as many records as trace and counts have."""
        window = file.config.window
        targets = (len(self.tokens) - 1) // window * window
        if targets < 1:
            raise DataError(
                f"counts {name!r} were taken at window {window:,}, the validation stream has {len(self.tokens):,} "
                "tokens: less than one window; mix counts and trace of the same data"
            )
        plan = plan_of(file.config, targets)
        if not file.records == plan.records == self.records:
            raise DataError(
                f"the trace has {self.records:,} records and counts {name!r} {file.records:,}, where {targets:,} "
                f"targets at window {window:,}, stride {file.config.stride:,} and tail {file.config.tail} make "
                f"{plan.records:,}; score and count the same data with the same window, stride and tail"
            )
        return plan

    def _checked_stream(self) -> str:
        """Digest of the tokens that all files are of; DataError where one is of others, or does not say."""
        files = {"the trace": (self.trace, "score")}
        files |= {f"counts {name!r}": (file.path, "count") for name, file in self.files.items()}
        if self.hints is not None:
            files["the hints"] = (self.hints.path, "take the hints")
        wanted = stream_digest(self.tokens[: self.plan.targets + 1])
        for what, (path, again) in files.items():
            found = ArrowFile(path, what=what, remedy=f"{again} again", mapped=True).says(STREAM_KEY)
            if not found:
                raise DataError(f"{path} does not say which tokens it is of; {again} again to write it anew")
            if found != wanted:
                raise DataError(
                    f"{what} ({path}) is of a stream {found[:12]}…, the first {self.plan.targets + 1:,} validation "
                    f"tokens are {wanted[:12]}…; {again} again with the data that is mixed with it"
                )
        return wanted


class _HintFile:
    """A readable hints.arrow, by its metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file = ArrowFile(path, what="hints", remedy=_TAKE_AGAIN, mapped=True)
        # What tells these hints from others: shown in the rows.
        self.config = HintConfig.described(
            file.metadata.get(CONFIG_KEY),
            path,
            how="its hints were taken",
            remedy="take the hints again to write it anew",
        )
        self.orders = self.config.orders
        file.require(columns_of(self.orders), _OTHERS)
        self.records = file.records()

    def blocks(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield blocks in order, each by column; read one at a time, not mapped."""
        file = ArrowFile(self.path, what="hints", remedy=_TAKE_AGAIN)
        file.require(columns_of(self.orders), _OTHERS)
        for columns in file.blocks():
            yield dict(zip(file.names, columns, strict=True))
