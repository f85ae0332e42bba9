"""How much of a validation stream stands in the training stream, and where: check B17.

Every position of the training shards is compared with every shingle of validation (`pgolf.audit.shingles`), and every
document with every document (`pgolf.audit.equal_documents`). Both are exact: nothing that is shared is missed, across
the edges of shards too, and nothing is counted whose tokens were not compared.

**A leak is told from what the web repeats by a control, not by a threshold.** Licences, banners and whole pages stand
on the web many times, so an honest split shares some of them. Were the documents split at random, one of validation
would be found in the training stream as often as a training document is found there a second time. So training
documents are looked for in the same pass: for `identical_p` all of them, as wholes, for `shared_p` a part, by their
shingles. Each is the chance of as many such documents of validation or more, if both rates are the same (Fisher's exact
test, one-sided). Documents of validation that are followed by the same document in training (`consecutive_documents`)
need no control: in a random order of N documents, one that is there a times is followed by one that is there b times
a·b/N times on average, so the chance of k such pairs is at most the sum over all pairs, divided by k (Markov):
`consecutive_p`.

Shapes: V positions of validation, C of the control, Q of both, D documents.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from pgolf.audit.longest_match import extended, runs
from pgolf.audit.overlap_scan import Scanned, scan
from pgolf.audit.shingles import NO_CLASS, BoolArray, Int64Array, Tokens, Uint8Array, Uint32Array
from pgolf.audit.train_stream import TrainStream
from pgolf.errors import ConfigError, DataError

LENGTH = 64
# So much of a document is shared if it counts as shared: one that was cut or lost its first words is no other document.
WHOLLY = 0.9
# Documents shown, the shortest first, and ranges of them, the longest first.
EXAMPLES = 10
# Runs that are extended, those of most shingles first: a few seconds, where validation is nothing but copied pieces.
MOST_EXTENDED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Equal tokens in both streams. shard_position: of the first one, within its shard."""

    tokens: int
    validation_position: int
    train_position: int
    shard: str
    shard_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDocument:
    """A shared document of validation, without its BOS.

    identical: it is a training document, token for token. match: its longest run in training that was found; None if
    no shared shingle begins in it.
    """

    document: int
    validation_position: int
    tokens: int
    covered_tokens: int
    identical: bool
    match: Match | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOverlap:
    """One training shard. shared_positions: where a shingle of validation begins; first, last: of these, or -1."""

    shard: str
    train_position: int
    tokens: int
    shared_positions: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of a stream stands in training; of the control, what stands there a second time.

    trivial: of too few different tokens, and counted in no number below. covered_tokens: in a shared shingle.
    identical_documents: equal to a training document; shared_documents: these, and those covered to 90 %.
    """

    tokens: int
    shingles: int
    trivial_shingles: int
    documents: int
    trivial_documents: int
    shared_shingles: int
    covered_tokens: int
    identical_documents: int
    shared_documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What validation and training share, in numbers; `dataclasses.asdict` makes JSON of it.

    length, least_distinct: of a shingle, tokens and different tokens. hashed_documents: training documents that were
    compared with one another as wholes (of more than 537 million tokens a part), twin_documents: those with an equal
    one. longest_run: the longest that was found; none can be longer than longest_possible_tokens, the most tokens of
    validation in a row that lie in shared or trivial shingles. shared_ranges: first and last number of neighbouring
    shared documents.
    """

    length: int
    least_distinct: int
    train_tokens: int
    train_documents: int
    shards: tuple[ShardOverlap, ...]
    validation: Coverage
    control: Coverage
    hashed_documents: int
    twin_documents: int
    identical_p: float
    shared_p: float
    consecutive_documents: int
    consecutive_p: float
    longest_run: Match | None
    longest_possible_tokens: int
    examples: tuple[SharedDocument, ...]
    shared_ranges: tuple[tuple[int, int], ...]


def overlap_of(
    validation: Tokens,
    shards: Sequence[Path],
    *,
    bos_id: int,
    length: int = LENGTH,
    threads: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    hash_bits: int = 64,
) -> Overlap:
    """Compare a validation stream with training shards of the same tokenizer.

    validation: uint16, all of it. shards: in the order of the stream. length: tokens of a shingle; it is trivial with
    fewer than a quarter as many different ones. threads: 0 for all cores. progress: called with tokens done and all
    tokens, from one thread at a time. hash_bits: fewer make collisions, which cost nothing but time; for tests.
    Memory: 30 bytes per token of validation, at most 60, whatever the shards hold.
    Raises ConfigError for a length below 8 or above 4096, DataError for an empty stream, ShardError for a bad shard.
    """
    if not 8 <= length <= 4096:
        raise ConfigError(f"shingles of {length} tokens; their length must lie between 8 and 4096")
    if len(validation) == 0:
        raise DataError("the validation stream is empty; name shards that hold tokens")
    stream = TrainStream(shards)
    scanned = scan(
        validation,
        stream,
        bos_id=bos_id,
        length=length,
        least_distinct=length // 4,
        threads=threads or len(os.sched_getaffinity(0)),
        progress=progress,
        hash_bits=hash_bits,
    )
    V, D = len(validation), scanned.validation_documents
    shared_Q = np.empty(len(scanned.classes), np.bool_)
    _mark(scanned.classes[:V], scanned.seen, 1, shared_Q[:V], NO_CLASS)
    _mark(scanned.classes[V:], scanned.seen, 2, shared_Q[V:], NO_CLASS)
    covered_Q = _covered(shared_Q, length)
    size_D = scanned.ends - scanned.begins
    rich_D = scanned.document_classes >= 0
    identical_D = rich_D & (
        scanned.document_seen[scanned.document_classes] >= np.where(np.arange(len(size_D)) < D, 1, 2)
    )
    covered_D = _count(covered_Q, scanned.begins, scanned.ends)
    shared_D = rich_D & (identical_D | (covered_D >= WHOLLY * size_D))

    def coverage(parts: Sequence[int], positions: slice, documents: slice) -> Coverage:
        shingles = sum(max(0, tokens - length + 1) for tokens in parts)
        return Coverage(
            tokens=sum(parts),
            shingles=shingles,
            trivial_shingles=shingles - int((scanned.classes[positions] != NO_CLASS).sum()),
            documents=int(rich_D[documents].sum()),
            trivial_documents=int((~rich_D[documents]).sum()),
            shared_shingles=int(shared_Q[positions].sum()),
            covered_tokens=int(covered_Q[positions].sum()),
            identical_documents=int(identical_D[documents].sum()),
            shared_documents=int(shared_D[documents].sum()),
        )

    of_validation = coverage(scanned.part_tokens[:1], slice(0, V), slice(0, D))
    control = coverage(scanned.part_tokens[1:], slice(V, None), slice(D, None))
    consecutive_documents, consecutive_p = _consecutive(scanned)
    # A run goes on through trivial shingles.
    open_V = shared_Q[:V].copy()
    open_V[: max(0, V - length + 1)] |= scanned.classes[: max(0, V - length + 1)] == NO_CLASS
    longest_run, longest_possible_tokens = _longest(
        validation, stream, _covered(open_V, length), runs(scanned.classes[:V], scanned.first)
    )
    return Overlap(
        length=length,
        least_distinct=length // 4,
        train_tokens=stream.tokens,
        train_documents=scanned.train_documents,
        shards=_by_shard(scanned, stream),
        validation=of_validation,
        control=control,
        hashed_documents=scanned.hashed_documents,
        twin_documents=scanned.twin_documents,
        identical_p=chance(
            of_validation.identical_documents,
            of_validation.documents,
            scanned.twin_documents,
            scanned.hashed_documents,
        ),
        shared_p=chance(
            of_validation.shared_documents, of_validation.documents, control.shared_documents, control.documents
        ),
        consecutive_documents=consecutive_documents,
        consecutive_p=consecutive_p,
        longest_run=longest_run,
        longest_possible_tokens=longest_possible_tokens,
        examples=_examples(validation, stream, scanned, covered_D, identical_D[:D], shared_D[:D]),
        shared_ranges=_ranges(shared_D[:D]),
    )


def _match(stream: TrainStream, begin: int, train_begin: int, tokens: int) -> Match:
    shard, shard_position = stream.place(train_begin)
    return Match(
        tokens=tokens,
        validation_position=begin,
        train_position=train_begin,
        shard=stream.shards[shard].name,
        shard_position=shard_position,
    )


def _by_shard(scanned: Scanned, stream: TrainStream) -> tuple[ShardOverlap, ...]:
    return tuple(
        ShardOverlap(
            shard=path.name,
            train_position=int(stream.starts[s]),
            tokens=int(stream.starts[s + 1] - stream.starts[s]),
            shared_positions=int(scanned.shard_shared[s]),
            first=int(scanned.shard_first[s]),
            last=int(scanned.shard_last[s]),
        )
        for s, path in enumerate(stream.shards)
    )


def chance(found: int, documents: int, control_found: int, control_documents: int) -> float:
    """Chance that at least so many are among these documents, given how many there are in these and the control."""
    from scipy.stats import hypergeom  # lazily: it takes a second

    return float(hypergeom.sf(found - 1, documents + control_documents, found + control_found, documents))


def _consecutive(scanned: Scanned) -> tuple[int, float]:
    """Documents of validation that are followed by the same one in a place of training, and a bound on the chance."""
    begin_C, end_C, class_C = scanned.identical[:, np.argsort(scanned.identical[0])]
    behind = begin_C[1:] == end_C[:-1] + 1  # only a BOS stands between
    class_D = scanned.document_classes[: scanned.validation_documents]
    first, second = class_D[:-1], class_D[1:]
    first, second = first[(first >= 0) & (second >= 0)], second[(first >= 0) & (second >= 0)]
    pair, seen = len(class_D) * first + second, scanned.document_seen
    count = int(np.isin(pair, len(class_D) * class_C[:-1][behind] + class_C[1:][behind]).sum())
    expected = float((seen[first] / max(1, scanned.train_documents) * seen[second]).sum())
    return count, min(1.0, expected / count) if count else 1.0


def _ranges(shared_D: BoolArray) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shared_D, [False]]).astype(np.int8)))
    ranges = [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    return tuple(sorted(ranges, key=lambda one: (one[0] - one[1], one[0]))[:EXAMPLES])


def _longest(
    validation: Tokens, stream: TrainStream, open_V: BoolArray, run_3R: Int64Array
) -> tuple[Match | None, int]:
    """The longest of the runs, each extended as far as both streams are equal, and a bound on every shared run.

    open_V: what may be equal to training. Among fewer of these in a row than the longest run has, none is looked for.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], open_V, [False]]).astype(np.int8)))
    row_R = np.searchsorted(edges, run_3R[0], side="right")
    best = (0, 0, 0)
    for r in np.argsort(-run_3R[2], kind="stable")[:MOST_EXTENDED]:
        begin, end = int(edges[row_R[r] - 1]), int(edges[row_R[r]])
        if end - begin > best[2]:
            found = extended(validation, stream, int(run_3R[0, r]), int(run_3R[1, r]), begin=begin, end=end)
            best = max(best, found, key=lambda one: one[2])
    return (_match(stream, *best) if best[2] else None), int((edges[row_R] - edges[row_R - 1]).max(initial=0))


def _examples(
    validation: Tokens,
    stream: TrainStream,
    scanned: Scanned,
    covered_D: Int64Array,
    identical_D: BoolArray,
    shared_D: BoolArray,
) -> tuple[SharedDocument, ...]:
    numbers = np.flatnonzero(shared_D)
    size_D = scanned.ends - scanned.begins
    found = []
    for d in numbers[np.argsort(size_D[numbers], kind="stable")][:EXAMPLES]:
        begin, end = int(scanned.begins[d]), int(scanned.ends[d])
        if identical_D[d]:
            places = scanned.identical[0, scanned.identical[2] == scanned.document_classes[d]]
            best = (begin, int(places.min()), end - begin)
        else:
            class_T = scanned.classes[begin:end]
            at_T = np.flatnonzero(class_T != NO_CLASS)
            train_T = scanned.first[class_T[at_T]] - 1
            _, once = np.unique((train_T - at_T)[train_T >= 0], return_index=True)
            pairs = np.stack([begin + at_T, train_T])[:, train_T >= 0][:, once].T.tolist()
            tried = [extended(validation, stream, at, train_at, begin=begin, end=end) for at, train_at in pairs]
            best = max(tried, key=lambda one: one[2], default=(0, 0, 0))
        found.append(
            SharedDocument(
                document=int(d),
                validation_position=begin,
                tokens=end - begin,
                covered_tokens=int(covered_D[d]),
                identical=bool(identical_D[d]),
                match=_match(stream, *best) if best[2] else None,
            )
        )
    return tuple(found)


@numba.njit(nogil=True, cache=True)
def _mark(class_Q: Uint32Array, seen_Q: Uint8Array, least: int, shared_Q: BoolArray, no_class: int) -> None:
    """Which shingles were seen at least so often."""
    for q in range(len(class_Q)):
        shared_Q[q] = class_Q[q] != no_class and seen_Q[class_Q[q]] >= least


@numba.njit(nogil=True, cache=True)
def _covered(shared_Q: BoolArray, length: int) -> BoolArray:
    """Which tokens lie in a shared shingle."""
    covered_Q = np.zeros(len(shared_Q), np.bool_)
    end = 0
    for q in range(len(shared_Q)):
        if shared_Q[q]:
            end = q + length
        covered_Q[q] = q < end
    return covered_Q


@numba.njit(nogil=True, cache=True)
def _count(of_Q: BoolArray, begin_D: Int64Array, end_D: Int64Array) -> Int64Array:
    """How many are true in each [begin, end)."""
    count_D = np.zeros(len(begin_D), np.int64)
    for d in range(len(begin_D)):
        for q in range(begin_D[d], end_D[d]):
            count_D[d] += of_Q[q]
    return count_D
