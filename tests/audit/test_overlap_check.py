"""B17: a leaked split is told from what training repeats of itself."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from pgolf.audit.overlap import Coverage
from pgolf.audit.overlap_check import find, judged
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import made_text
from pgolf.audit.subject import Subject, Whole
from pgolf.audit.trial import Trial

TEXT = made_text(7, targets=1200)
ELSE = made_text(8, targets=12_000).tokens


def found(*shards, text=TEXT, whole=None):
    scorer = CallableScorer(lambda tokens: 0, text.vocab_size)
    subject = Subject(name="x", scorer=scorer, trained_on=shards, whole=whole)
    return find(Trial(subject, text))


def test_the_whole_text_among_ten_times_as_much_is_a_leak_wherever_it_stands():
    for shards in ((ELSE, TEXT.tokens), (np.concatenate([ELSE[:6000], TEXT.tokens]), ELSE[6000:])):
        seen = found(*shards)
        assert seen.outcome == "fail", seen.because
        assert seen.evidence[0].values["covered_tokens"] > 0


def test_what_leaked_behind_the_text_of_the_trial_is_found_in_the_whole_one():
    short = made_text(9, targets=60)
    whole = Whole(tokens=np.concatenate([short.tokens, TEXT.tokens]), bos_id=short.bos_id)
    assert found(ELSE, TEXT.tokens, text=short).outcome != "fail"
    assert found(ELSE, TEXT.tokens, text=short, whole=whole).outcome == "fail"
    assert found(ELSE, text=short, whole=whole).outcome == "pass"


def test_other_text_is_no_leak_and_neither_is_what_training_repeats_itself():
    assert found(ELSE).outcome == "pass"
    # Every document of training twice, and the text among them: repeating says nothing of a leak.
    seen = found(np.concatenate([ELSE, TEXT.tokens, TEXT.tokens]), np.concatenate([ELSE, TEXT.tokens])[::1])
    assert seen.outcome != "pass", seen.because


def coverage(documents, shared):
    zero = dict.fromkeys((field.name for field in fields(Coverage)), 0)
    return Coverage(**{**zero, "tokens": 100 * documents, "documents": documents, "shared_documents": shared})


@pytest.mark.parametrize(
    ("repeated", "says", "settles"),
    [
        (0, "more than training repeats of itself (0 of 22 training documents", "without these documents, or more"),
        (9, "training repeats itself as much (9 of 22 training documents", "without repeats"),
    ],
)
def test_what_cannot_be_told_from_repeats_says_what_was_found_and_what_would_settle_it(repeated, says, settles):
    overlap = SimpleNamespace(
        validation=coverage(20, 2), control=coverage(22, repeated), train_tokens=2200, shards=("one",), examples=(),
        longest_run=None, identical_p=0.2, shared_p=0.1, consecutive_p=1.0,
    )  # fmt: skip
    seen = judged(overlap)
    assert (seen.outcome, says in seen.because, settles in seen.settles) == ("inconclusive", True, True), seen


def test_without_shards_there_is_nothing_to_compare_and_a_few_documents_show_nothing():
    assert found().outcome == "not applicable"
    few = made_text(7, targets=40)
    assert found(ELSE[:200], text=few).outcome == "inconclusive"


@pytest.mark.parametrize("share", [0.5])
def test_half_of_the_text_is_enough(share):
    part = TEXT.tokens[: int(share * len(TEXT.tokens))]
    assert found(ELSE, part).outcome == "fail"
