"""Shared shingles, documents and runs against their definitions, and leaks that must be seen wherever they lie."""

import json
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest
import zstandard

from pgolf.audit import overlap_scan
from pgolf.audit.overlap import Overlap, chance, overlap_of
from pgolf.audit.shingles import NO_CLASS, ShingleIndex
from pgolf.corpus.shards import HEADER_BYTES, write_shard
from pgolf.errors import ConfigError, DataError, ShardError
from tests.oracles import plain_overlap

BOS = 1
LENGTH = 16
LEAST_DISTINCT = 4


def text(documents, *, vocab=512, seed=0, sizes=(40, 200)):
    """Documents of random tokens from 2 on, each behind its BOS."""
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([[BOS], rng.integers(2, vocab, rng.integers(*sizes))]).astype(np.uint16)
        for _ in range(documents)
    ]


def joined(documents):
    return np.concatenate(documents).astype(np.uint16)


@pytest.fixture
def overlap(tmp_path):
    """Overlap of validation with shards of the given tokens."""

    def of(validation, *shards, **options) -> Overlap:
        paths = []
        for index, tokens in enumerate(shards):
            paths.append(tmp_path / f"fineweb_train_{index:06d}.bin")
            write_shard(paths[-1], tokens)
        return overlap_of(validation, paths, **{"bos_id": BOS, "length": LENGTH, "threads": 2} | options)

    return of


def by_definition(validation, train, length=LENGTH):
    """Shared shingles and covered tokens of validation, and shared positions of train."""
    least_distinct = length // 4
    shared = plain_overlap.shared_positions(validation, train, length, least_distinct)
    back = plain_overlap.shared_positions(train, validation, length, least_distinct)
    return sum(shared), sum(plain_overlap.covered(shared, length)), sum(back)


def numbers(found):
    return (
        found.validation.shared_shingles,
        found.validation.covered_tokens,
        sum(shard.shared_positions for shard in found.shards),
    )


@pytest.mark.parametrize("hash_bits", [64, 3])
@pytest.mark.parametrize("seed", range(4))
def test_shared_shingles_and_runs_are_those_of_the_definition_whatever_collides(seed, hash_bits, overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 97)  # edges of units everywhere
    rng = np.random.default_rng(seed)
    # Few ids, so that shingles of 8 recur, are trivial, and collide.
    train = rng.integers(0, 3, 3000).astype(np.uint16)
    validation = rng.integers(0, 3, 1500).astype(np.uint16)
    validation[200:300] = train[1000:1100]
    validation[700:760] = 2
    cuts = np.sort(rng.integers(1, 3000, 3))
    found = overlap(validation, *np.split(train, cuts), length=8, hash_bits=hash_bits)
    assert numbers(found) == by_definition(validation, train, 8)
    assert found.validation.trivial_shingles == sum(
        len(set(validation[i : i + 8].tolist())) < 2 for i in range(1500 - 7)
    )
    assert found.longest_run.tokens == plain_overlap.longest_common_tokens(validation, train)


@pytest.mark.parametrize(("seed", "hash_bits"), [(0, 64), (1, 64), (2, 0), (3, 2)])
def test_the_same_shared_documents_as_the_definition_finds(seed, hash_bits, overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 131)
    rng = np.random.default_rng(seed)
    train, validation = text(60, seed=seed, sizes=(1, 60)), text(30, seed=seed + 100, sizes=(1, 60))
    for into, which in zip(rng.permutation(30)[:12], rng.permutation(60)[:12], strict=True):
        validation[into] = train[which]
    stream = joined(validation)
    known = {body for _, body in plain_overlap.documents(joined(train), BOS)}
    rich = [(at, body) for at, body in plain_overlap.documents(stream, BOS) if len(set(body)) >= LEAST_DISTINCT]
    found = overlap(stream, *np.split(joined(train), [500, 501, 900]), hash_bits=hash_bits)
    assert found.validation.documents == len(rich)
    assert found.validation.identical_documents == sum(body in known for _, body in rich) > 0
    for example in found.examples:
        assert (example.validation_position, example.tokens) in [(at, len(body)) for at, body in rich]
        match = example.match
        shared = joined(train)[match.train_position : match.train_position + match.tokens]
        assert shared.tolist() == stream[match.validation_position : match.validation_position + match.tokens].tolist()


def test_unlike_streams_share_nothing(overlap):
    found = overlap(joined(text(50)), joined(text(200, seed=1)))
    assert (found.validation.covered_tokens, found.validation.shared_documents, found.longest_run) == (0, 0, None)
    assert found.examples == found.shared_ranges == ()
    assert found.identical_p == found.shared_p == found.consecutive_p == 1
    assert [(shard.first, shard.last) for shard in found.shards] == [(-1, -1)]


TARGET = 7  # the document of validation that is leaked


def leaked(kind):
    """20 documents as validation, shards that hold one of them or a part, and the run: its places and tokens."""
    validation = text(20, seed=3)
    document = validation[TARGET]
    at, size, half = sum(map(len, validation[:TARGET])), len(document), len(document) // 2
    one, two = joined(text(40, seed=4)), joined(text(40, seed=5))
    shards, run = {
        "whole": ([joined([one, document, two])], (at, len(one), size)),
        "half": ([joined([one, [BOS], document[half:], two])], (at + half, len(one) + 1, size - half)),
        "without its BOS": ([joined([one, document[1:], two])], (at + 1, len(one), size - 1)),
        "one token later": ([joined([one, [9], document, two])], (at, len(one) + 1, size)),
        "first in a shard": ([one, joined([document, two])], (at, len(one), size)),
        "last in a shard": ([joined([one, document]), two], (at, len(one), size)),
        "last of all": ([one, joined([two, document])], (at, len(one) + len(two), size)),
        "over an edge": ([joined([one, document[:half]]), joined([document[half:], two])], (at, len(one), size)),
        "over a shard of three tokens": (
            [joined([one, document[:half]]), document[half : half + 3], joined([document[half + 3 :], two])],
            (at, len(one), size),
        ),
    }[kind]
    return joined(validation), shards, run


@pytest.mark.parametrize(
    "kind",
    [
        *("whole", "half", "without its BOS", "one token later", "first in a shard", "last in a shard", "last of all"),
        *("over an edge", "over a shard of three tokens"),
    ],
)
def test_a_leak_is_seen_wherever_it_lies(kind, overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 1000)
    validation, shards, (at, train_at, tokens) = leaked(kind)
    train = joined(shards)
    # The BOS behind it belongs to the run, where there is one.
    tokens += train_at + tokens < len(train)
    found = overlap(validation, *shards)
    match = found.longest_run
    assert (match.validation_position, match.train_position, match.tokens) == (at, train_at, tokens)
    assert found.longest_possible_tokens == tokens
    starts = np.cumsum([0, *map(len, shards)])
    shard = int(np.searchsorted(starts, train_at, side="right")) - 1
    assert (match.shard, match.shard_position) == (f"fineweb_train_{shard:06d}.bin", train_at - starts[shard])
    assert numbers(found) == by_definition(validation, train)
    assert found.shards[shard].first == train_at - starts[shard]
    assert found.validation.identical_documents == (kind not in ("half", "without its BOS"))
    assert found.shared_ranges == (() if kind == "half" else ((TARGET, TARGET),))
    assert [example.document for example in found.examples] == ([] if kind == "half" else [TARGET])


def test_short_documents_are_compared_as_wholes(overlap):
    validation, train = text(20, seed=1, sizes=(6, 10)), text(200, seed=2, sizes=(6, 10))
    train[150] = validation[9]  # fewer tokens than a shingle
    found = overlap(joined(validation), joined(train))
    assert (found.validation.shared_shingles, found.validation.identical_documents) == (0, 1)
    assert found.examples[0].match.train_position == sum(map(len, train[:150])) + 1


def test_rows_of_one_token_and_short_periods_accuse_nobody(overlap):
    padding = np.full(400, BOS, np.uint16)
    dashes = np.tile(np.array([7, 8], np.uint16), 300)
    validation = joined([*text(5, seed=1), padding, [BOS], dashes, *text(5, seed=2)])
    found = overlap(validation, joined([*text(50, seed=3), padding, [BOS], dashes]))
    assert (found.validation.shared_shingles, found.validation.shared_documents, found.longest_run) == (0, 0, None)
    assert found.validation.trivial_shingles > 900
    both = joined([validation, padding, [BOS], *text(1, seed=8)])
    assert overlap(both, both).longest_run.tokens == overlap(both, both).longest_possible_tokens == len(both)
    # The same passages, long enough to differ from one another, are shared.
    varied = np.tile(np.array([7, 8, 9, 10], np.uint16), 200)
    found = overlap(joined([*text(5, seed=1), [BOS], varied]), joined([*text(50, seed=3), [BOS], varied]))
    assert found.validation.identical_documents == 1


def with_boilerplate(documents, seed, share):
    """Documents of which some are one and the same page, as on the web."""
    rng = np.random.default_rng(seed)
    page = text(1, seed=99)[0]
    return [page if rng.random() < share else document for document in text(documents, seed=seed)]


def test_what_training_repeats_itself_is_no_evidence_and_a_leak_is(overlap):
    train, validation = with_boilerplate(1500, 1, 0.1), with_boilerplate(100, 2, 0.1)
    honest = overlap(joined(validation), joined(train))
    assert honest.validation.shared_documents == honest.validation.identical_documents > 3
    assert honest.control.documents > 50
    assert honest.control.shared_documents > 0
    assert (honest.train_documents, honest.hashed_documents) == (1500, 1500)
    assert 100 < honest.twin_documents < 200
    assert min(honest.identical_p, honest.shared_p, honest.consecutive_p) > 0.01
    order = np.random.default_rng(3).permutation(1530)
    shuffled = overlap(joined(validation), joined([(train + validation[:30])[i] for i in order]))
    assert shuffled.validation.shared_documents >= 30
    assert shuffled.identical_p < 1e-6
    assert shuffled.shared_p < 1e-3
    assert shuffled.shared_ranges[0][0] == 0
    assert shuffled.shared_ranges[0][1] >= 29


def test_chances_are_those_of_counting():
    # 2 of 3 documents of validation, 1 of 4 of the control: 3 of 7, of which 2 or 3 are among the first 3.
    ways = [set(found) for found in combinations(range(7), 3)]
    assert chance(2, 3, 1, 4) == pytest.approx(sum(len(found & {0, 1, 2}) >= 2 for found in ways) / len(ways))
    assert chance(0, 3, 1, 4) == chance(2, 3, 0, 0) == 1


def test_two_neighbours_are_seen_to_be_neighbours_in_training(overlap):
    validation, train = text(30, seed=1), text(300, seed=2)
    apart = joined([*train[:100], validation[4], *train[100:200], validation[5], *train[200:]])
    together = joined([*train[:100], validation[4], validation[5], *train[100:]])
    found = overlap(joined(validation), apart)
    assert (found.consecutive_documents, found.consecutive_p) == (0, 1)
    found = overlap(joined(validation), together)
    assert (found.consecutive_documents, found.consecutive_p) == (1, pytest.approx(1 / 302))
    assert found.longest_run.tokens == len(validation[4]) + len(validation[5]) + 1


def test_every_number_of_threads_finds_the_same(overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 500)
    train, validation = with_boilerplate(300, 1, 0.2), with_boilerplate(60, 2, 0.2)
    found = [overlap(joined(validation), joined(train), threads=threads) for threads in (1, 2, 5)]
    assert found[0].longest_run is not None
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("vocab", [300, 8192, 65536])
def test_any_vocabulary(vocab, overlap):
    validation, train = text(20, vocab=vocab, seed=1), text(100, vocab=vocab, seed=2)
    train[50] = validation[3]
    found = overlap(joined(validation), joined(train))
    assert numbers(found) == by_definition(joined(validation), joined(train))
    assert found.validation.identical_documents == 1


def test_the_documents_of_the_control_are_seen_where_they_stand(overlap, monkeypatch):
    # Any of them that is not found where it was taken from would be missing once.
    train = text(400, seed=2)
    found = overlap(joined(text(60, seed=1)), joined(train), joined(text(300, seed=3)))
    assert found.control.documents > 10
    assert (found.control.shared_documents, found.control.covered_tokens) == (0, 0)
    doubled = overlap(joined(text(60, seed=1)), joined(train), joined(train))
    assert doubled.control.identical_documents == doubled.control.documents > 10
    assert doubled.twin_documents == doubled.hashed_documents > 700  # but those longer than all of validation
    monkeypatch.setattr(overlap_scan, "HASHED_TOKENS", 30_000)
    part = overlap(joined(text(60, seed=1)), joined(train), joined(train[1:] + train[:1]))
    assert 50 < part.twin_documents == part.hashed_documents < 500
    assert doubled.control.covered_tokens > 0.99 * doubled.control.tokens - 2 * LENGTH * doubled.control.documents


def test_the_result_is_json_and_progress_ends_at_all_tokens(overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 1000)
    told = []
    validation, shards, _ = leaked("over an edge")
    found = overlap(validation, *shards, progress=lambda done, total: told.append((done, total)))
    assert json.loads(json.dumps(asdict(found)))["validation"]["shared_documents"] == 1
    total = sum(map(len, shards))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (total, total)
    assert [(shard.train_position, shard.tokens) for shard in found.shards] == [
        (0, len(shards[0])),
        (len(shards[0]), len(shards[1])),
    ]


def test_validation_without_any_bos_or_shorter_than_a_shingle(overlap):
    validation, train = text(1, seed=1)[0][1:], joined(text(100, seed=2))
    assert overlap(validation, joined([train, validation])).validation.shared_documents == 1
    assert overlap(validation, train).validation.shared_documents == 0
    short = overlap(np.arange(2, 9, dtype=np.uint16), np.arange(1, 9, dtype=np.uint16))
    assert (short.validation.shingles, short.validation.identical_documents) == (0, 1)


def test_bad_input_is_told(overlap, tmp_path):
    validation, train = joined(text(5)), joined(text(50, seed=1))
    with pytest.raises(DataError, match="validation stream is empty"):
        overlap(validation[:0], train)
    with pytest.raises(DataError, match="no training shards"):
        overlap_of(validation, [], bos_id=BOS)
    with pytest.raises(ConfigError, match="of 4 tokens"):
        overlap(validation, train, length=4)
    path = tmp_path / "fineweb_train_000000.bin"
    path.write_bytes(path.read_bytes()[:-2] if path.exists() else b"")
    with pytest.raises(ShardError, match="truncated"):
        overlap_of(validation, [path], bos_id=BOS)


def test_a_shard_that_shrinks_while_it_is_read_ends_in_one_sentence(tmp_path):
    path = tmp_path / "fineweb_train_000000.bin"
    write_shard(path, joined(text(50, seed=1)))
    stream = overlap_scan.TrainStream([path])
    with path.open("r+b") as file:
        file.truncate(HEADER_BYTES + 200)
    with pytest.raises(ShardError, match=r"fineweb_train_000000.bin: ends at token 100 of the [\d,]+ that it had"):
        stream.read(50, 150)


def test_an_error_in_one_thread_ends_the_others(overlap, monkeypatch):
    monkeypatch.setattr(overlap_scan, "UNIT_TOKENS", 100)
    looks = []

    def fail_once(done, total):
        looks.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        overlap(joined(text(5)), joined(text(500, seed=1)), progress=fail_once)
    assert len(looks) <= 2


def test_equal_shingles_have_one_entry_and_parts_do_not_run_into_each_other():
    part = np.arange(20, dtype=np.uint16)
    index = ShingleIndex.of([part, part], length=16, least_distinct=4)
    assert index.entries == 5
    assert index.classes.tolist() == 2 * [*range(5), *[NO_CLASS] * 15]


def test_an_honest_split_of_real_text_repeats_pages_as_training_does(real_data, tmp_path):
    """FineWeb shares nothing with the other corpus; a random split of that corpus shares pages, and passes."""
    paths = []
    for name in ("corpus_train_000004", "corpus_val_000000"):
        content = (real_data / "gpu_corpus" / f"{name}.bin.zst").read_bytes()
        paths.append(tmp_path / f"{name}.bin")
        paths[-1].write_bytes(zstandard.ZstdDecompressor().decompress(content))
    fineweb = np.fromfile(real_data / "fineweb" / "fineweb_val_prefix_sp1024.bin", "<u2", offset=HEADER_BYTES)
    apart = overlap_of(fineweb, paths, bos_id=BOS)
    assert apart.validation.covered_tokens == 0
    assert apart.validation.trivial_shingles < 1e-3 * apart.validation.shingles
    tokens = np.fromfile(paths[0], "<u2", offset=HEADER_BYTES)
    split = overlap_of(tokens[:400_000], [paths[1]], bos_id=BOS)
    assert 0 < split.validation.covered_tokens < 0.02 * split.validation.tokens
    assert min(split.identical_p, split.shared_p, split.consecutive_p) > 0.01
    leak = joined([tokens[:200_000], np.fromfile(paths[1], "<u2", offset=HEADER_BYTES)])
    write_shard(tmp_path / "leak.bin", leak)
    leaked = overlap_of(tokens[:400_000], [tmp_path / "leak.bin"], bos_id=BOS)
    assert max(leaked.identical_p, leaked.shared_p) < 1e-6
    assert leaked.consecutive_documents > 50
    assert leaked.consecutive_p < 0.01
    assert leaked.longest_run.tokens >= 200_000
