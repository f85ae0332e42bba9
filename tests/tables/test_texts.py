"""Scores of several validation texts are never in one list, mean or test; one text under several tokenizers is told."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pgolf.errors import ResultsError
from pgolf.tables.parquet import read, rows_to_arrow
from pgolf.tables.ranked import (
    NEURAL,
    found_by_looking,
    gains,
    legacy_scores,
    means,
    ranking,
    same_text,
    scorer_means,
    scorer_results,
    seeds_side_by_side,
)
from pgolf.tables.schema import SCORES
from pgolf.tables.texts import TEXT_COLUMNS, by_text, text_of
from tests.score_rows import score_row

UNKNOWN = dict.fromkeys(TEXT_COLUMNS)
EXACT = {"estimator": "exact", "counts": "exact", "mixer": "backoff", "order": 5, "alpha": 0.2}


def table_of(*rows):
    """Each row under a run of its own, unless it names one."""
    tables = [rows_to_arrow(SCORES, [{"run_key": f"run-{number}", **row}]) for number, row in enumerate(rows)]
    return pa.concat_tables([rows_to_arrow(SCORES, []), *tables])


def records(sheet):
    return [dict(zip((column.name for column in sheet.columns), row)) for row in sheet.rows]


APART = {
    "other tokens": ({}, {"val_sha256": "9" * 64}),
    "other tokens of one name and recipe key": ({"data_name": "a"}, {"data_name": "a", "val_sha256": "9" * 64}),
    "same tokens, other tokenizer": ({}, {"tokenizer_sha256": "9" * 64}),
    "same tokens, other raw text": ({}, {"text_sha256": "9" * 64}),
    "same tokens, other bytes": ({}, {"bytes": 2500}),
    "same tokens, a raw text and none, other bytes": ({}, {"text_sha256": None, "bytes": 2500}),
    "same tokens without raw texts, other bytes": ({"text_sha256": None}, {"text_sha256": None, "bytes": 2500}),
    "same tokens, bytes not recorded": ({}, {"bytes": None}),
    "an older row of other bytes": ({}, {**UNKNOWN, "bytes": 2500}),
    "not recorded, other recipe key": (UNKNOWN, {**UNKNOWN, "recipe_key": "b" * 64}),
    "recorded and not, other recipe key": ({}, {**UNKNOWN, "recipe_key": "b" * 64}),
    "nothing recorded, other run": ({**UNKNOWN, "recipe_key": None}, {**UNKNOWN, "recipe_key": None}),
}


@pytest.mark.parametrize("case", APART)
def test_scores_of_two_texts_are_refused_by_every_list_mean_and_test(case):
    table = table_of(*(score_row(seed=seed, **changes) for seed, changes in enumerate(APART[case])))
    two = {"neural": NEURAL}
    for of in (
        ranking,
        found_by_looking,
        legacy_scores,
        scorer_means,
        scorer_results,
        gains,
        lambda scores: means(scores, two),
        lambda scores: seeds_side_by_side(scores, two),
    ):
        with pytest.raises(ResultsError, match="2 validation texts or tokenizations"):
            of(table)
    texts = by_text(table)
    assert [of.num_rows for _, of in texts] == [1, 1]
    for _, of in texts:
        assert ranking(of).rows[0][0] == 1


TOGETHER = {
    "the same": ({}, {}),
    "one text called by two names": ({"data_name": "a"}, {"data_name": "b"}),
    "same tokens and bytes, one raw text and none": ({}, {"text_sha256": None}),
    "not recorded, one recipe key": (UNKNOWN, UNKNOWN),
    "an older row learns from a newer one of its recipe key": ({}, UNKNOWN),
    "nothing recorded, one run": (
        {**UNKNOWN, "recipe_key": None, "run_key": "r"},
        {**UNKNOWN, "recipe_key": None, "run_key": "r"},
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_scores_of_one_text_share_a_mean(case):
    table = table_of(*(score_row(seed=seed, **changes) for seed, changes in enumerate(TOGETHER[case])))
    assert [row["n"] for row in records(ranking(table))] == [2]
    assert len(by_text(table)) == 1


def test_rows_without_a_raw_text_are_never_said_to_be_of_one():
    known, without = score_row(recipe="known"), score_row(recipe="without", recipe_key="b" * 64, text_sha256=None)
    mixed = [score_row(recipe="mixed", seed=seed, text_sha256=raw) for seed, raw in ((1, None), (2, "3" * 64))]
    rows = records(ranking(table_of(known, without, *mixed)))
    assert {row["recipe"]: row["text_sha256"] for row in rows} == {"known": "3" * 64, "without": None, "mixed": None}
    rows = records(seeds_side_by_side(table_of(*mixed), {"neural": NEURAL}))
    assert [row["text_sha256"] for row in rows] == [None, "3" * 64]


def test_rows_without_a_raw_text_join_none_of_several():
    rows = [score_row(text_sha256=raw, bytes=n) for raw, n in (("3" * 64, 9), ("4" * 64, 9), (None, 9), (None, 8))]
    texts = by_text(table_of(*rows))
    assert sorted((text.raw_sha256 or "", text.bytes, of.num_rows) for text, of in texts) == [
        ("", 8, 1),
        ("", 9, 1),
        ("3" * 64, 9, 1),
        ("4" * 64, 9, 1),
    ]
    for text, of in texts:
        assert [row["text_sha256"] for row in records(ranking(of))] == [text.raw_sha256]
    assert len({str(text) for text, _ in texts}) == 4


def test_a_text_names_all_that_tells_it_apart():
    ((text, _),) = by_text(table_of(score_row()))
    assert str(text) == f"builtin-512 (text {'3' * 12}, tokens {'1' * 12}, tokenizer {'2' * 12}, 2,400 bytes)"


def test_rows_that_learned_their_text_are_ranked_when_what_they_learned_it_from_is_not():
    rows = [score_row(causal=False, cell="x"), score_row(**UNKNOWN), score_row(recipe="other", recipe_key="b" * 64)]
    assert sorted(row["recipe"] for row in records(ranking(table_of(*rows)))) == ["demo", "other"]


def test_a_recipe_key_of_two_texts_teaches_nothing():
    table = table_of(score_row(), score_row(val_sha256="9" * 64), score_row(**UNKNOWN))
    assert [text.is_known for text, _ in by_text(table)] == [True, True, False]


def test_tables_of_earlier_versions_are_read_and_kept_within_their_recipe_key(tmp_path):
    """Files that have none of the new columns at all."""
    older = [name for name in SCORES.arrow.names if name not in (*TEXT_COLUMNS, *DECLARATION, "ruleset")]
    (tmp_path / "scores").mkdir()
    for number, key in enumerate("abb"):
        row = score_row(seed=number, recipe_key=key * 64)
        mixture = row | {**EXACT, "bpb": 1.1}
        table = rows_to_arrow(SCORES, [{"run_key": f"run-{number}", **each} for each in (row, mixture)])
        pq.write_table(table.select(older), tmp_path / "scores" / f"run-{number}.parquet")
    texts = by_text(read(tmp_path, SCORES))
    assert sorted(str(text) for text, _ in texts) == [
        f"not recorded; compared within recipe key {key * 12} alone (2,400 bytes)" for key in "ab"
    ]
    for _, of in texts:
        assert [row["estimator"] for row in records(ranking(of))] == ["neural"], "nobody knows what was declared"
        (found,) = records(found_by_looking(of))
        assert (found["estimator"], found["declared"], found["ruleset"]) == ("exact", None, None)
        assert any("rules that were not recorded" in note for note in ranking(of).notes)


DECLARATION = ("declared", "declared_utc", "declared_before_scoring")


def test_every_row_is_of_exactly_one_text_as_pairs_of_rows_say():
    """Against the definition, over all combinations of what can be recorded."""
    values = itertools.product(("1" * 64, "2" * 64, None), ("3" * 64, None), ("a" * 64, "b" * 64, None))
    rows = [
        score_row(val_sha256=val, tokenizer_sha256=tokenizer, recipe_key=key, seed=seed, cell=str(seed))
        for seed, (val, tokenizer, key) in enumerate(values)
        if not (val is None and tokenizer)
    ]
    of_seed = {}
    for number, (_, of) in enumerate(by_text(table_of(*rows))):
        of_seed |= dict.fromkeys(of.column("seed").to_pylist(), number)
    assert sorted(of_seed) == sorted(row["seed"] for row in rows)
    for one, two in itertools.combinations(rows, 2):
        if one["val_sha256"] and two["val_sha256"]:
            same = all(one[name] == two[name] for name in ("val_sha256", "tokenizer_sha256"))
        elif one["val_sha256"] or two["val_sha256"]:
            same = False  # every key has several texts here
        else:
            same = one["recipe_key"] is not None and one["recipe_key"] == two["recipe_key"]
        assert (of_seed[one["seed"]] == of_seed[two["seed"]]) is same


def test_no_scores_are_of_no_text():
    assert text_of(table_of()) is None
    assert by_text(table_of()) == []
    assert same_text([]) == []


def under_two_tokenizers(**other):
    rows = [score_row(seed=seed, bpb=1.3, run_key="x") for seed in (1, 2)]
    rows += [
        score_row(
            seed=seed,
            bpb=1.2,
            run_key="y",
            recipe_key="b" * 64,
            **{"val_sha256": "8" * 64, "tokenizer_sha256": "9" * 64} | other,
        )
        for seed in (1, 2)
    ]
    return by_text(table_of(*rows))


def test_the_same_bytes_under_two_tokenizers_are_compared_in_bits_per_byte_alone():
    (sheet,) = same_text(under_two_tokenizers())
    assert [(row["rank"], row["mean_bpb"], row["tokenizer_sha256"][0], row["n"]) for row in records(sheet)] == [
        (1, 1.2, "9", 2),
        (2, 1.3, "2", 2),
    ]
    assert not any("nats" in column.name for column in sheet.columns)
    assert sheet.notes == (
        "bits per byte of the same 2,400 raw bytes may be compared across tokenizers; nats per token may not",
    )


def test_scores_over_another_number_of_bytes_of_the_same_text_are_not_compared():
    (sheet,) = same_text(under_two_tokenizers(bytes=2500))
    assert sheet.rows == ()
    assert sheet.notes == (
        "not compared: their scored targets stand for 2,400 and 2,500 bytes, which must be the same",
    )


def test_two_windows_of_one_tokenization_are_no_two_tokenizers():
    assert same_text(by_text(table_of(score_row(), score_row(recipe="other", bytes=2300)))) == []


def test_a_row_without_a_raw_text_is_not_compared_across_tokenizers_as_of_one():
    known = [score_row(), score_row(recipe="b", val_sha256="8" * 64, tokenizer_sha256="9" * 64)]
    tables = by_text(table_of(*known, score_row(recipe="without", text_sha256=None)))
    assert [of.num_rows for _, of in tables] == [2, 1]
    (sheet,) = same_text(tables)
    assert sorted(row["recipe"] for row in records(sheet)) == ["b", "demo"]


def test_a_tokenizer_that_was_not_recorded_is_not_another_one():
    assert same_text(by_text(table_of(score_row(), score_row(seed=42, tokenizer_sha256=None)))) == []


@pytest.mark.parametrize("raw", [None, "7" * 64])
def test_what_is_not_known_to_be_the_same_text_is_not_compared(raw):
    assert same_text(under_two_tokenizers(text_sha256=raw)) == []


def test_what_fails_a_gate_is_not_compared_across_tokenizers_either():
    assert same_text(under_two_tokenizers(causal=False)) == []


def test_arrow_tables_without_chunks_have_no_texts():
    empty = table_of(score_row()).filter(pa.array([False]))
    assert by_text(empty) == []
