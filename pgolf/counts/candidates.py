"""What n-gram counts say of every token as the target of one record: the counts that each would have been given there.

Taken from the definition, over the records that the target gets to see, and not from the tables of a count stage: those
hold what has come, and what might have come has no entry. The state before the record is the same for every candidate.

Shapes: V vocabulary, O orders, Q records that are visible.
"""

import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.counts.hashed import multipliers
from pgolf.counts.runs import runs_of
from pgolf.eval.windows import WindowPlan

Tokens = npt.NDArray[np.uint16]
Int64Array = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.uint32]


def candidate_counts(
    config: CountConfig, plan: WindowPlan, tokens: Tokens, record: int, *, vocab_size: int, bos_id: int | None = None
) -> CountArray:
    """Context counts by order, then full counts by order, [2·O, V]; what the record's target is does not matter.

    tokens: the whole stream, N + 1 ids. bos_id: the token that starts a document, for counts that end with documents.
    Time and memory: the visible records times the longest order.
    """
    start_D = np.empty(0, np.int64)
    if config.estimator == "exact" and config.scope == "document":
        start_D = np.flatnonzero(tokens == bos_id)
    seen = visible_records(config, plan, start_D, record)
    target_Q = plan.targets_of_records(seen.start, seen.stop) if seen else np.empty(0, np.int64)
    target = int(plan.targets_of_records(record, record + 1)[0])
    counts: CountArray = np.zeros((2 * len(config.orders), vocab_size), np.uint32)
    for row, order in enumerate(config.orders):
        if target < order - 1:
            continue
        full_Q = target_Q[target_Q >= order - 1]
        if config.estimator == "hashed":
            context, full_V = _hashed(config, tokens, target, full_Q, order, vocab_size)
        else:
            own = bos_id if len(start_D) else None
            context, full_V = _exact(tokens, target, full_Q, order, vocab_size, own)
        counts[row], counts[len(config.orders) + row] = context, full_V
    return counts


def visible_records(config: CountConfig, plan: WindowPlan, start_D: Int64Array, record: int) -> range:
    """The records whose n-grams are counted when this one is looked up. start_D: as `runs_of` takes it."""
    first = added = 0
    for run in runs_of(config, plan, start_D):
        if run.fresh:
            first = added = run.first
        if run.look_up and run.first <= record < run.last:
            if run.add:
                segment = int(np.searchsorted(run.segment_ends, record - run.first, side="right"))
                added = run.first + (int(run.segment_ends[segment - 1]) if segment else 0)
            return range(first, max(first, min(added, record - config.delay_targets + 1)))
        if run.add:
            added = run.last
    raise AssertionError(f"record {record} of {plan.records} is in no run")


def _exact(
    tokens: Tokens, target: int, target_Q: Int64Array, order: int, vocab_size: int, bos_id: int | None
) -> tuple[int, CountArray]:
    """c(context), and c(context, v) of every token v."""
    context = tokens[target - order + 1 : target]
    if bos_id is not None:
        if (context[1:] == bos_id).any():
            return 0, np.zeros(vocab_size, np.uint32)
        document = np.cumsum(tokens == bos_id)
        target_Q = target_Q[document[target_Q] == document[target - 1]]
    for back in range(1, order):
        target_Q = target_Q[tokens[target_Q - back] == tokens[target - back]]
        if bos_id is not None:
            # No n-gram lies in two documents: none of its tokens but the first starts one.
            target_Q = target_Q[tokens[target_Q - back + 1] != bos_id]
    return len(target_Q), np.bincount(tokens[target_Q], minlength=vocab_size).astype(np.uint32)


def _hashed(
    config: CountConfig, tokens: Tokens, target: int, target_Q: Int64Array, order: int, vocab_size: int
) -> tuple[int, CountArray]:
    """What stands in the context's bucket, and in that of the context with every token v."""
    *of_context, of_target = multipliers(order, config.primes)
    mask = np.uint64(config.buckets - 1)

    def context_keys(at: Int64Array) -> npt.NDArray[np.uint64]:
        key = np.zeros(len(at), np.uint64)
        for place, multiplier in enumerate(of_context):
            key ^= tokens[at - order + 1 + place].astype(np.uint64) * multiplier
        return key

    key_Q, own = context_keys(target_Q), context_keys(np.array([target]))
    full_Q = np.sort((key_Q ^ (tokens[target_Q].astype(np.uint64) * of_target)) & mask)
    full_V = (own ^ (np.arange(vocab_size, dtype=np.uint64) * of_target)) & mask
    count_V = np.searchsorted(full_Q, full_V, side="right") - np.searchsorted(full_Q, full_V, side="left")
    return int(((key_Q & mask) == (own & mask)).sum()), count_V.astype(np.uint32)
