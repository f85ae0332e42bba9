"""Comparisons: what may be compared, which test answers, and what is said."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pgolf.compare.arms import Arm, Score
from pgolf.compare.compared import Compared
from pgolf.compare.comparison import ByDocument, check_comparable, compare_arms
from pgolf.compare.forest import forest
from pgolf.compare.sentence import sentence
from pgolf.compare.shared_documents import DocumentLosses, on_shared_documents
from pgolf.compare.sheets import seeds_sheet, settings_sheet, verdicts_sheet
from pgolf.errors import ResultsError
from pgolf.pipeline.by_document import compare_runs
from pgolf.stats.compare import CHRONOLOGICAL_RULE, RECORD_RULE
from pgolf.tables.named_runs import Run
from pgolf.tables.ranked import ScorerResult
from pgolf.tables.schema import SCORER
from pgolf.tables.text import to_text, wrapped
from pgolf.tables.texts import Text

TEXT = Text(
    names=("fineweb",),
    val_sha256="1" * 64,
    tokenizer_sha256="2" * 64,
    raw_sha256="3" * 64,
    bytes=151_080_363,
)
# submission.json of openai/parameter-golf PR #1019, and the row before it: val_bpb of three seeds each.
RECORD = {1: 1.11508120, 2: 1.11437394, 3: 1.11475014}
BEFORE = {1: 1.11922988, 2: 1.12002032, 3: 1.11888882}
# Tokens and bytes of the challenge's validation text.
NATS_PER_BPB = 151_080_363 / 62_021_632 * math.log(2)


def arm(name, bpb, *, text=TEXT, networks=None, config=None, verified=True, scorer="neural"):
    run = Run(key=f"{name}-0", recipe="demo", recipe_key=None, name=name, config=config or {})
    scores = {seed: Score(value * NATS_PER_BPB, value) for seed, value in bpb.items()}
    rows = {seed: {"run_key": run.key, "bytes_verified": verified} for seed in bpb}
    settings = dict.fromkeys(SCORER) | {"estimator": scorer}
    result = ScorerResult("demo", None, tuple(settings.values()), rows)
    return Arm(
        name=name, runs=(run,), result=result, text=text, by_seed=scores, networks=networks or dict.fromkeys(bpb)
    )


def compared(*arms, rule=RECORD_RULE, documents=None):
    return compare_arms(arms[:-1], arms[-1], rule, documents or {})


def test_the_published_record_is_better_in_its_published_numbers():
    (gain,) = compared(arm("record", RECORD), arm("before", BEFORE))
    assert (round(gain.welch.df, 3), gain.same_networks) == (3.306, False)
    rule = replace(RECORD_RULE, margin_nats=0.0)
    (without,) = compared(arm("record", RECORD), arm("before", BEFORE), rule=rule)
    assert round(without.welch.t, 3) == -11.834
    assert gain.gain_bpb == pytest.approx(0.00464458)
    assert sentence(gain) == (
        "record is better than before by 0.0078 nats per token (95 % 0.0058 … 0.0098), p(gain > 0.005) = 0.0095, n = 3"
    )


@pytest.mark.parametrize(
    ("config", "first"), [({"seeds": [42, 7, 1337]}, 42), ({"seeds": [5, 1337, 7]}, 1337), ({}, 7)]
)
def test_the_first_seed_is_the_recipes_first_that_was_run(config, first):
    assert arm("x", {7: 1.0, 42: 1.1, 1337: 1.2}, config=config).first_seed == first


def test_the_chronological_rule_lets_a_smaller_gain_pass():
    barely = {seed: value - 0.0008 for seed, value in BEFORE.items()}
    (gain,) = compared(arm("next", barely), arm("before", BEFORE), rule=CHRONOLOGICAL_RULE)
    assert gain.passes
    (gain,) = compared(arm("next", barely), arm("before", BEFORE))
    assert not gain.passes
    assert "not shown at p < 0.01; the gain is within the margin of 0.005, which more seeds do not change" in sentence(
        gain
    )


def test_a_gain_that_is_not_shown_says_how_many_seeds_would():
    noisy = {1: 1.112, 2: 1.116, 3: 1.114}
    (gain,) = compared(arm("noisy", noisy), arm("before", BEFORE))
    assert gain.passes is False
    assert f"would be shown by {gain.seeds_wanted} seeds a side, {gain.seeds_wanted - 3} more" in sentence(gain)


def test_who_is_behind_is_said_to_be():
    (gain,) = compared(arm("worse", BEFORE), arm("base", RECORD))
    assert sentence(gain).startswith("worse is behind base by 0.0078 nats per token (gain, 95 % −0.0098 … −0.0058)")


def test_one_seed_is_no_statistics_and_says_so():
    (gain,) = compared(arm("one", {1: 1.11}), arm("before", {1: 1.12}))
    assert (gain.p_value, gain.passes) == (None, None)
    assert sentence(gain).endswith("n = 1: one seed says nothing of others; run more (--seeds)")
    assert "n = 1 and 3" in sentence(compared(arm("one", {1: 1.11}), arm("before", BEFORE))[0])


def test_equal_runs_are_said_to_be_equal():
    (gain,) = compared(arm("same", RECORD), arm("base", RECORD))
    assert sentence(gain).startswith("same equals base at 0.0000 nats per token")


def test_scorers_of_the_same_networks_are_compared_in_pairs():
    networks = {1: "a", 2: "b", 3: "c"}
    better = {seed: value - 0.004 - seed * 1e-5 for seed, value in BEFORE.items()}
    (pairs,) = compared(arm("mixed", better, networks=networks), arm("alone", BEFORE, networks=networks))
    assert pairs.over_seeds.test == "paired"
    others = networks | {3: "d"}
    (apart,) = compared(arm("mixed", better, networks=others), arm("alone", BEFORE, networks=networks))
    assert apart.over_seeds.test == "welch"
    (unknown,) = compared(arm("mixed", better), arm("alone", BEFORE))
    assert unknown.over_seeds.test == "welch"
    assert pairs.p_value < apart.p_value


def test_several_arms_are_adjusted_by_holm():
    gains = compared(arm("a", RECORD), arm("b", {seed: v - 0.001 for seed, v in RECORD.items()}), arm("z", BEFORE))
    raw = [gain.over_seeds.p for gain in gains]
    assert gains[1].p_value == pytest.approx(2 * raw[1])
    assert gains[0].p_value == pytest.approx(max(raw[0], 2 * raw[1]))
    assert "(Holm, 2 comparisons)" in sentence(gains[0])


def test_other_texts_are_refused():
    other = replace(TEXT, names=("other",), val_sha256="8" * 64, raw_sha256="9" * 64)
    with pytest.raises(ResultsError, match=r"validated on different texts, so neither is better.*run both on one text"):
        check_comparable([arm("a", RECORD), arm("b", BEFORE, text=other)])
    unknown = replace(other, raw_sha256=None)
    with pytest.raises(ResultsError, match="different texts"):
        check_comparable([arm("a", RECORD, text=replace(TEXT, raw_sha256=None)), arm("b", BEFORE, text=unknown)])


def test_other_tokens_of_the_same_bytes_are_compared_per_byte_if_those_are_verified():
    other = replace(TEXT, val_sha256="8" * 64, tokenizer_sha256="9" * 64)
    assert check_comparable([arm("a", RECORD), arm("b", BEFORE)]) == "token"
    assert check_comparable([arm("a", RECORD), arm("b", BEFORE, text=other)]) == "byte"
    with pytest.raises(ResultsError, match="the bytes of b are not verified"):
        check_comparable([arm("a", RECORD), arm("b", BEFORE, text=other, verified=None)])


def test_arms_that_end_at_other_places_need_losses_by_document():
    a, b = arm("a", RECORD), arm("b", BEFORE, text=replace(TEXT, bytes=151_000_000))
    with pytest.raises(
        ResultsError, match=r"a 151,080,363 and b 151,000,000 bytes were scored.*there is no store at x"
    ):
        compare_runs([a, b], RECORD_RULE, "there is no store at x")


def test_per_byte_losses_are_bits_per_byte_in_nats():
    (gain,) = compared(arm("a", RECORD), arm("b", BEFORE), rule=replace(RECORD_RULE, per="byte"))
    assert gain.over_seeds.gain_nats == pytest.approx(0.00464458 * math.log(2))
    assert "nats per byte" in sentence(gain)
    nobody_knows = arm("a", RECORD)
    nobody_knows = replace(nobody_knows, by_seed={1: Score(2.0, None), 2: Score(2.0, 1.1), 3: Score(2.0, 1.1)})
    with pytest.raises(ResultsError, match="bits per byte of seed 1 are not known"):
        compared(nobody_knows, arm("b", BEFORE), rule=replace(RECORD_RULE, per="byte"))


def documents(gain_nats, sizes, **fields):
    return ByDocument(loss_nats=(3.0 - gain_nats) * sizes, targets=sizes, bytes=2 * sizes, **fields)


def test_documents_are_tested_where_both_have_them_and_else_the_reason_is_told():
    sizes = np.arange(1, 41)
    both = {"a": documents(0.01, sizes), "b": documents(0.0, sizes)}
    (gain,) = compared(arm("a", RECORD), arm("b", BEFORE), documents=both)
    assert gain.documents.gain_nats == pytest.approx(0.01)
    (per_byte,) = compared(arm("a", RECORD), arm("b", BEFORE), documents=both, rule=replace(RECORD_RULE, per="byte"))
    assert per_byte.documents.gain_nats == pytest.approx(0.005)
    for wrong, said in (
        ({"a": both["a"], "b": ByDocument(why_not="mix-1 is gone")}, "b: mix-1 is gone"),
        ({"a": both["a"]}, "b: not asked for"),
        ({"a": both["a"], "b": documents(0.0, sizes[:-1])}, "a has 40 documents, b 39"),
        ({"a": both["a"], "b": documents(0.0, sizes + 1)}, "scored other tokens"),
        ({"a": documents(0.01, sizes[:5]), "b": documents(0.0, sizes[:5])}, "5 documents were scored"),
    ):
        (gain,) = compared(arm("a", RECORD), arm("b", BEFORE), documents=wrong)
        assert gain.documents is None
        assert said in gain.no_documents


def test_one_seed_with_documents_tells_their_interval():
    sizes = np.arange(1, 41)
    both = {"a": documents(0.01, sizes), "b": documents(0.0, sizes)}
    (gain,) = compared(arm("a", {1: 1.11}), arm("b", {1: 1.12}), documents=both)
    assert "(95 % over documents 0.0100 … 0.0100)" in sentence(gain)


def test_tables_show_every_seed_the_settings_that_differ_and_every_test():
    a = arm("gate", RECORD, config={"model": {"gate": True}})
    b = arm("no gate", {**BEFORE, 4: 1.12}, config={"model": {"gate": False}})
    a = replace(a, runs=(replace(a.runs[0], changed={"model.gate": True}),))
    settings = to_text(settings_sheet([a, b]))
    assert [line.split() for line in settings.splitlines()[2:3]] == [["model.gate", "yes", "no"]]
    seeds = seeds_sheet([a, b], "token")
    assert [row[0] for row in seeds.rows] == ["1", "2", "3", "4", "mean", "std", "n"]
    assert seeds.rows[3][1] is None
    (gain,) = compared(a, b)
    tests = verdicts_sheet([gain])
    assert [row[1] for row in tests.rows] == ["seeds, Welch"]
    assert any("no paired test: gate and no gate have other seeds" in note for note in tests.notes)
    assert any("no test over documents" in note for note in tests.notes)


def test_in_a_narrow_terminal_p_leaves_last():
    # One arm: its gain is alike in every row, which is no reason to leave it out.
    (gain,) = compared(arm("a", RECORD), arm("z", BEFORE))
    names = {"p(gain": 24, "(nats/token)": 36, "interval": 55}  # and the width from which they fit
    for width in range(24, 110):
        lines = to_text(verdicts_sheet([gain]), width).splitlines()
        heading = " ".join(lines[1 : next(k for k, line in enumerate(lines) if line.startswith("seeds, Welch"))])
        assert [name for name in names if name in heading] == [name for name in names if width >= names[name]], width


def test_lines_break_in_no_formula():
    for gain in compared(arm("a", RECORD), arm("b", {s: v - 0.01 for s, v in RECORD.items()}), arm("z", BEFORE)):
        for width in range(30, 130):
            lines = wrapped(sentence(gain), width)
            assert " ".join(line.strip() for line in lines) == sentence(gain)
            assert max(map(len, lines)) <= width
            for formula in ("n = 3", "(95 %", f"p(gain > 0.005) = {gain.p_value:.2g}"):
                assert any(formula in line for line in lines), width


def test_a_formula_wider_than_the_terminal_breaks():
    assert max(map(len, wrapped("that p(gain > 0.005) = 0.00012", 16))) <= 16


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_figure_fits_the_terminal_and_places_marks_in_order(width):
    gains = compared(arm("a", RECORD), arm("better", {s: v - 0.01 for s, v in RECORD.items()}), arm("z", BEFORE))
    lines = forest(gains, width)
    assert max(map(len, lines)) <= width
    first, second = lines[0], lines[2]
    assert first.startswith("a: seeds, Welch")
    assert first.index("├") < first.index("●") < first.index("┤")
    assert first.index("│") < first.index("┊") < second.index("●")
    assert first.index("●") < second.index("●")
    assert lines[-2].index("0") == first.index("│")
    assert lines[-1].startswith("gain in nats per token, to the right is better")


def test_without_an_interval_there_is_no_figure():
    assert forest(compared(arm("a", {1: 1.1}), arm("b", {1: 1.2})), 80) == []


def test_holm_counts_the_comparisons_that_have_a_p():
    gains = compared(arm("one", {1: 1.1}), arm("a", RECORD), arm("z", BEFORE))
    assert [gain.p_value for gain in gains] == [None, gains[1].over_seeds.p]
    assert "Holm" not in sentence(gains[1])


def test_trainings_that_both_arms_have_are_told():
    ours, theirs = {1: "a", 2: "b", 3: "c"}, {1: "a", 2: "b", 4: "d"}
    base = arm("z", {1: 1.2, 2: 1.21, 4: 1.22}, networks=theirs)
    (gain,) = compared(arm("a", RECORD, networks=ours), base)
    assert gain.shared_networks == 2
    assert any("2 of the trained networks are in a and in z" in note for note in verdicts_sheet([gain]).notes)
    (apart,) = compared(arm("a", RECORD, networks=ours), arm("z", BEFORE, networks={1: "x", 2: "y", 3: None}))
    assert apart.shared_networks == 0


def test_settings_differ_whether_or_not_anybody_changed_them_of_a_base():
    a = arm("a", RECORD, config={"train": {"muon_lr": 0.09}, "name": "a"})
    b = arm("b", BEFORE, config={"train": {"muon_lr": 0.04}, "name": "b"})
    assert [row[:3] for row in settings_sheet([a, b]).rows] == [("train.muon_lr", 0.09, 0.04)]


def losses_of(numbers, sizes, *, whole=None, nats=3.0):
    sizes = np.array(sizes)
    of_seed = {seed: (nats + 0.01 * seed) * sizes for seed in (1, 2)}
    whole = np.ones(len(sizes), bool) if whole is None else np.array(whole)
    return DocumentLosses(by_seed=of_seed, targets=sizes, bytes=2 * sizes, numbers=np.array(numbers), whole=whole)


def test_arms_are_compared_over_the_documents_that_all_scored_wholly():
    arms = [arm("a", RECORD), arm("b", BEFORE), arm("c", BEFORE)]
    found = [
        losses_of(range(5), [10, 20, 30, 40, 7], whole=[True] * 4 + [False]),
        losses_of(range(1, 5), [20, 30, 40, 50], whole=[True, False, True, True]),
        losses_of(range(6), [10, 20, 30, 40, 50, 60]),
    ]
    cut, common, said = on_shared_documents(arms, found, "byte")
    assert [of_arm.numbers.tolist() for of_arm in common] == [[1, 3]] * 3
    assert [of_arm.bytes.tolist() for of_arm in common] == [[40, 80]] * 3
    assert [one.by_seed[2].loss_nats for one in cut] == pytest.approx([3.02] * 3)
    assert cut[0].by_seed[1].bpb == pytest.approx(3.01 / 2 / math.log(2))
    assert said == (
        "compared over the 2 documents (120 bytes) that all arms scored wholly",
        "left out: 3 documents (94 bytes) of a, 2 documents (160 bytes) of b, 4 documents (300 bytes) of c",
    )


def test_arms_that_scored_the_same_keep_all_of_it():
    whole = [True, True, False]
    arms, found = [arm("a", RECORD), arm("b", BEFORE)], [losses_of(range(3), [10, 20, 5], whole=whole)] * 2
    assert on_shared_documents(arms, found, "token") == (arms, found, ())


def test_documents_of_other_bytes_and_none_in_common_are_refused():
    arms = [arm("a", RECORD), arm("b", BEFORE)]
    with pytest.raises(ResultsError, match="document 2 of the text has 40 bytes for a and 42 for b"):
        on_shared_documents(arms, [losses_of(range(3), [10, 20, 30]), losses_of(range(2), [10, 21])], "byte")
    with pytest.raises(ResultsError, match="no document of the text was scored wholly by all of a, b"):
        on_shared_documents(arms, [losses_of([0], [10]), losses_of([1, 2], [10, 20])], "byte")


def test_many_settings_are_counted_and_data_has_all():
    many = {f"s{k}": k for k in range(50)}
    a = arm("a", RECORD, config={"model": many})
    b = arm("b", BEFORE, config={"model": {name: value + 1 for name, value in many.items()}})
    shown = settings_sheet([a, b])
    assert len(shown.rows) == 30
    assert "and 20 settings more; --json has all" in shown.notes
    assert len(Compared([a, b], compared(a, b), RECORD_RULE).data()["settings"]) == 50
