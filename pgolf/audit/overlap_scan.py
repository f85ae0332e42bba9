"""One pass over the training stream: what of validation, and of a control, is seen in it, and where.

The control is training documents, from the middle of every shard. They are indexed behind validation and looked for as
it is; each of their places is seen at least once, where it was taken from. Whole documents have a larger control: the
hashes of all that pass, or of a part chosen by the hash, so that equal ones stay together.

Shapes: V positions of validation, Q of validation and then the control, D documents of both, S shards, C documents of
training, N threads.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numba
import numpy as np

from pgolf.audit.equal_documents import DocumentIndex, document_bounds
from pgolf.audit.shingles import Found, Int64Array, ShingleIndex, Tokens, Uint8Array, Uint32Array, Uint64Array
from pgolf.audit.train_stream import TrainStream

# Tokens of the control: as many as validation has, of training at most this share, and no more than that.
CONTROL_OF_TRAINING = 1 / 8
CONTROL_TOKENS = 1 << 24
# Training tokens per part of the documents whose hashes are kept: 250 MB, were all documents of 16 tokens.
HASHED_TOKENS = 1 << 29
# Positions that a thread takes at a time.
UNIT_TOKENS = 1 << 22
# Read at first beyond a unit for the end of its last document.
REST_TOKENS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was seen.

    part_tokens: of validation, then of each part of the control. classes [Q], document_classes [D]: the first equal
    shingle or document (see ShingleIndex, DocumentIndex). first [V]: 1 + the first position in training of a class, 0:
    none. seen, document_seen: how often a class was seen, of shingles at most 2. begins, ends [D]: documents, without
    BOS. identical [3, C]: begin, end and class of the training documents that are among validation's. shard_shared,
    shard_first, shard_last [S]: positions where a shingle of validation begins, the first and last of these (-1: none).
    train_documents: of the training stream. hashed_documents, twin_documents: of these, those whose hash was kept, and
    those with the hash of another.
    """

    part_tokens: tuple[int, ...]
    classes: Uint32Array
    first: Int64Array
    seen: Uint8Array
    begins: Int64Array
    ends: Int64Array
    document_classes: Int64Array
    document_seen: Int64Array
    validation_documents: int
    identical: Int64Array
    shard_shared: Int64Array
    shard_first: Int64Array
    shard_last: Int64Array
    train_documents: int
    hashed_documents: int
    twin_documents: int


def control_parts(stream: TrainStream, validation_tokens: int, bos_id: int) -> list[Tokens]:
    """Whole documents from the middle of every shard, equally many tokens of each; a shard without two BOS has none."""
    wanted = int(min(validation_tokens, CONTROL_OF_TRAINING * stream.tokens, CONTROL_TOKENS))
    parts = []
    for start, stop in zip(stream.starts[:-1], stream.starts[1:], strict=True):
        size = wanted * int(stop - start) // stream.tokens
        begin = int(start) + (int(stop - start) - size) // 2
        tokens = stream.read(begin, begin + size) if size else np.empty(0, np.uint16)
        at = np.flatnonzero(tokens == bos_id)
        if len(at) > 1:
            parts.append(tokens[at[0] : at[-1]])
    return parts


def scan(
    validation: Tokens,
    stream: TrainStream,
    *,
    bos_id: int,
    length: int,
    least_distinct: int,
    threads: int,
    progress: Callable[[int, int], None],
    hash_bits: int = 64,
) -> Scanned:
    """Look at every position and every document of the training stream. progress: see `pgolf.audit.overlap`."""
    parts = [validation, *control_parts(stream, len(validation), bos_id)]
    index = ShingleIndex.of(parts, length=length, least_distinct=least_distinct, hash_bits=hash_bits)
    begin_D, end_D, validation_documents = _document_bounds(parts, bos_id)
    documents = DocumentIndex.of(index.tokens, begin_D, end_D, least_distinct=least_distinct, hash_bits=hash_bits)
    units = deque(
        (begin, min(begin + UNIT_TOKENS, int(stop)))
        for start, stop in zip(stream.starts[:-1], stream.starts[1:], strict=True)
        for begin in range(int(start), int(stop), UNIT_TOKENS)
    )
    threads = max(1, min(threads, len(units)))
    found_N = [index.nothing_found(len(validation)) for _ in range(threads)]
    seen_D = np.zeros(len(begin_D), np.int64)
    shared_S = np.zeros(len(stream.shards), np.int64)
    first_S = np.full(len(stream.shards), -1, np.int64)
    last_S = np.full(len(stream.shards), -1, np.int64)
    identical: list[Int64Array] = []
    hashes: list[Uint64Array] = []
    hashed_part = np.uint64(1 + stream.tokens // HASHED_TOKENS)
    done_tokens = train_documents = 0
    lock = Lock()

    def look(found: Found) -> None:
        nonlocal done_tokens, train_documents
        while True:
            try:
                begin, end = units.popleft()
            except IndexError:
                return
            piece = stream.read(begin, end + length - 1)
            shared, first, last = index.look_up(piece, end - begin, begin, found)
            count, known_3C, hash_L = _documents_among(documents, stream, piece, begin, end, bos_id)
            shard, offset = stream.place(begin)
            with lock:
                train_documents += count
                np.add.at(seen_D, known_3C[2], 1)
                identical.append(known_3C[:, known_3C[2] < validation_documents])
                hashes.append(hash_L[hash_L % hashed_part == 0])
                if shared:
                    shared_S[shard] += shared
                    first_S[shard] = offset + first if first_S[shard] < 0 else min(first_S[shard], offset + first)
                    last_S[shard] = max(last_S[shard], offset + last)
                done_tokens += end - begin
                progress(done_tokens, stream.tokens)

    with ThreadPoolExecutor(threads, thread_name_prefix="overlap") as pool:
        running = [pool.submit(look, found) for found in found_N]
        try:
            for each in running:
                each.result()
        finally:
            units.clear()  # after an error, or Ctrl-C: the other threads end with the units that they have
    for other in found_N[1:]:
        _merge(found_N[0].first, found_N[0].seen, other.first, other.seen)
    _, twins = np.unique(np.concatenate(hashes), return_counts=True)
    return Scanned(
        part_tokens=tuple(map(len, parts)),
        classes=index.classes,
        first=found_N[0].first,
        seen=found_N[0].seen,
        begins=begin_D,
        ends=end_D,
        document_classes=documents.classes,
        document_seen=seen_D,
        validation_documents=validation_documents,
        identical=np.concatenate(identical, axis=1),
        shard_shared=shared_S,
        shard_first=first_S,
        shard_last=last_S,
        train_documents=train_documents,
        hashed_documents=int(twins.sum()),
        twin_documents=int(twins[twins > 1].sum()),
    )


def _document_bounds(parts: Sequence[Tokens], bos_id: int) -> tuple[Int64Array, Int64Array, int]:
    """Begin and end of all documents of the parts, one part behind the other, and how many the first one has."""
    offsets = np.cumsum([0, *map(len, parts)])[:-1]
    bounds = [document_bounds(part, bos_id) for part in parts]
    begin_D = np.concatenate([offset + begin for offset, (begin, _) in zip(offsets, bounds, strict=True)])
    end_D = np.concatenate([offset + end for offset, (_, end) in zip(offsets, bounds, strict=True)])
    return begin_D, end_D, len(bounds[0][0])


def _documents_among(
    documents: DocumentIndex, stream: TrainStream, piece: Tokens, begin: int, end: int, bos_id: int
) -> tuple[int, Int64Array, Uint64Array]:
    """Of the training documents that begin behind a BOS in [begin, end): how many; of those that are indexed begin, end
    and class [3, C]; hashes of all that were looked for."""
    at = np.flatnonzero(piece[: end - begin] == bos_id) + 1
    if begin == 0 and piece[0] != bos_id:
        at = np.concatenate([[0], at])
    if not len(at):
        return 0, np.empty((3, 0), np.int64), np.empty(0, np.uint64)
    # The last one may end far behind the unit; longer than all that are looked for, it need not be read to its end.
    last = int(at[-1])
    rest, step = piece[last:], REST_TOKENS
    while True:
        ends = np.flatnonzero(rest[: documents.longest + 1] == bos_id)
        behind = begin + last + len(rest)
        if len(ends) or len(rest) > documents.longest or behind >= stream.tokens:
            break
        rest = np.concatenate([rest, stream.read(behind, behind + step)])
        step *= 2
    rest = rest[: ends[0]] if len(ends) else rest
    known, hashes = zip(
        _known(documents, piece, at[:-1], at[1:] - 1, begin),
        _known(documents, rest, np.zeros(1, np.int64), np.array([len(rest)]), begin + last),
        strict=True,
    )
    return len(at), np.concatenate(known, axis=1), np.concatenate(hashes)


def _known(
    documents: DocumentIndex, tokens: Tokens, begin_C: Int64Array, end_C: Int64Array, place: int
) -> tuple[Int64Array, Uint64Array]:
    class_C, hash_L = documents.find(tokens, begin_C, end_C)
    known_C = class_C >= 0
    return np.stack([place + begin_C[known_C], place + end_C[known_C], class_C[known_C]]), hash_L


@numba.njit(nogil=True, cache=True)
def _merge(first_Q: Int64Array, seen_Q: Uint8Array, other_first_Q: Int64Array, other_seen_Q: Uint8Array) -> None:
    """Add what another thread has seen."""
    for q in range(len(seen_Q)):
        if other_seen_Q[q] > 0:
            seen_Q[q] = min(2, seen_Q[q] + other_seen_Q[q])
    for q in range(len(first_Q)):
        if other_first_Q[q] > 0 and (first_Q[q] == 0 or other_first_Q[q] < first_Q[q]):
            first_Q[q] = other_first_Q[q]
