"""A submission's folder on trial: what it reports, counted by two rule sets, and every way in which it can be odd."""

import json
import os
import random
from decimal import Decimal

import numpy as np
import pytest

from pgolf.audit import coverage_check, decodability_check, text_bytes_check
from pgolf.audit.audit_text import AuditText
from pgolf.audit.dossier import Dossier
from pgolf.audit.ruleset import DEFAULT, ruleset
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.subject import Subject, Whole
from pgolf.audit.submitted import Submitted, submitted
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Cost, Verdict, passed
from pgolf.budget import BUDGET_BYTES
from pgolf.errors import ConfigError
from pgolf.pipeline.program_trial import OF_DOSSIER
from tests.submission.test_folder_check import in_json, in_seed, with_seeds, write

STRICT = "strict-code-bytes"
# Of the size of #1855's: 158,429 bytes as shipped, of which 31,999 were counted.
SHIPPED, PACKED = 158_429, 31_999


def script_of(size_bytes: int, first: str = "pass") -> str:
    """A program of so many bytes, which packs to about half of them."""
    drawn = random.Random(5)
    text = f"{first}\n"
    while len(text) < size_bytes:
        text += f"# {drawn.getrandbits(400):x}\n"
    return text[:size_bytes]


def folder_of(path, *, model: int, code: int, script: str, **files: str):
    """A folder of three seeds in order; code: bytes of it by its author's count."""
    seeds = {seed: (f"2.79{seed}80191", f"1.08{seed}79352", model) for seed in (42, 77, 13)}
    return write(path, {**with_seeds(seeds, script, code), **files})


def outcomes(folder) -> dict[str, str]:
    """Rule set -> outcome, of a program whose scores pass every check."""
    told = submitted(folder)
    dossier = Dossier(folder=told.findings, folder_seeds=told.seeds, room=passed("alone"))
    verdicts = [check.verdict(dossier) for check in OF_DOSSIER]
    cost = Cost(calls=0, targets=0, wall_s=0.0)
    numbers = {*ruleset(DEFAULT).requires, "B17"}
    verdicts += [Verdict(number=one, name="", rule="", finding=passed("fine"), cost=cost) for one in numbers]
    assert told.is_record
    return {name: ruleset(name).outcome(verdicts, record=told.is_record) for name in (DEFAULT, STRICT, "c1-c4")}


@pytest.mark.parametrize(
    ("shipped", "counted", "model", "helpers", "expected"),
    [
        (SHIPPED, PACKED, BUDGET_BYTES - PACKED, {}, ("pass", "fail")),
        (SHIPPED, PACKED, BUDGET_BYTES - SHIPPED, {}, ("pass", "pass")),
        (SHIPPED, PACKED, BUDGET_BYTES - SHIPPED + 1, {}, ("pass", "fail")),
        (SHIPPED, SHIPPED, BUDGET_BYTES - SHIPPED, {}, ("pass", "pass")),
        (SHIPPED, SHIPPED, BUDGET_BYTES - SHIPPED + 1, {}, ("fail", "fail")),
        (SHIPPED, PACKED, BUDGET_BYTES - PACKED + 1, {}, ("fail", "fail")),
        (30_000, 30_000, BUDGET_BYTES - 50_000, {"ngrams.py": "#" * 20_000}, ("pass", "pass")),
        (30_000, 30_000, BUDGET_BYTES - 50_000, {"ngrams.py": "#" * 20_001}, ("pass", "fail")),
        (30_000, 30_000, BUDGET_BYTES - 50_000, {"unused.py": "#" * 20_001}, ("pass", "pass")),
    ],
)
def test_one_rule_set_counts_what_the_author_counts_the_other_what_is_shipped(
    tmp_path, shipped, counted, model, helpers, expected
):
    script = script_of(shipped, "import ngrams" if "ngrams.py" in helpers else "pass")
    folder = folder_of(tmp_path / "theirs", model=model, code=counted, script=script, **helpers)
    found = outcomes(folder)
    assert (found[DEFAULT], found[STRICT]) == expected
    assert found["c1-c4"] == "pass"


def test_a_model_on_disk_is_counted_with_either_count_of_the_code(tmp_path):
    model = BUDGET_BYTES - PACKED - 10
    script = script_of(SHIPPED, "import ngrams")
    folder = folder_of(tmp_path / "theirs", model=model, code=PACKED, script=script, **{"ngrams.py": "#" * 5000})
    for seed in (42, 77, 13):
        with (folder / f"model_seed{seed}.pgolf").open("wb") as file:
            file.truncate(model)
    said = {one.name: one.said for one in submitted(folder).findings if "bytes" in one.name}
    assert said["reported bytes"].startswith(f"at most {BUDGET_BYTES - 10:,}, 10 under")
    assert f" {model + SHIPPED + 5000:,} bytes, {model + SHIPPED + 5000 - BUDGET_BYTES:,} over" in said["bytes"]


def test_a_packed_program_that_may_use_other_files_is_undecided_where_they_would_be_too_many(tmp_path):
    script = "exec(__import__('zlib').decompress(b'...'))\n"
    more = {"ngrams.so": "#" * 20_000}
    near = folder_of(tmp_path / "near", model=BUDGET_BYTES - 10_000, code=len(script), script=script, **more)
    far = folder_of(tmp_path / "far", model=BUDGET_BYTES - 30_000, code=len(script), script=script, **more)
    assert outcomes(near) == {DEFAULT: "pass", STRICT: "inconclusive", "c1-c4": "pass"}
    assert outcomes(far) == {DEFAULT: "pass", STRICT: "pass", "c1-c4": "pass"}


def test_no_script_packs_to_as_little_as_one_likes(tmp_path):
    script = script_of(SHIPPED)
    folder = folder_of(tmp_path / "theirs", model=BUDGET_BYTES - 100, code=100, script=script)
    assert outcomes(folder)[DEFAULT] == "fail"
    (said,) = [one.said for one in submitted(folder).findings if one.name == "reported bytes"]
    assert said.startswith("100 bytes of code are reported; train_gpt.py has 158,429, and ")


def test_two_seeds_are_too_few_and_a_folder_that_disagrees_with_itself_is_in_no_order(tmp_path):
    assert outcomes(write(tmp_path / "two", with_seeds()))[DEFAULT] == "inconclusive"
    made = with_seeds()
    in_seed(val_bpb=1.0)(made)
    assert outcomes(write(tmp_path / "odd", made))[DEFAULT] == "fail"


@pytest.mark.parametrize(
    ("fields", "bpb"),
    [
        ({}, Decimal("1.08091")),
        ({"val_bpb": -1}, None),
        ({"val_bpb": 0}, None),
        ({"val_bpb": "1.08"}, None),
        ({"val_bpb": True}, None),
        ({"val_bpb": None}, None),
        ({"val_bpb": [[[]]]}, None),
        ({"val_bpb": 1e39}, Decimal("1E+39")),
        ({"bytes_total": 10**39, "bytes_code": -(10**38)}, Decimal("1.08091")),
        ({"seed_results": {"7": {"val_bpb": 1e39, "total_bytes": -5, "code_bytes": 10**39}}}, Decimal("1E+39")),
        ({"seed_results": {"7": []}, "seeds": "x"}, Decimal("1.08091")),
    ],
)
def test_odd_fields_are_findings_and_no_number_is_made_of_them(tmp_path, fields, bpb):
    made = with_seeds()
    in_json(**fields)(made)
    told = submitted(write(tmp_path / "odd", made))
    assert told.bpb == bpb
    assert (any(one.passed is False for one in told.findings)) == bool(fields)
    whole = Whole(tokens=np.zeros(9, np.uint16), bytes=20)
    reported = told.about(whole)
    assert reported is None or reported.bpb is None or reported.bpb == pytest.approx(float(bpb or 0))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "nan", '{"val_bpb": NaN}', '{"val_bpb": 1e999}', "[" * 10**5, '{"a": 1, "a": 2}', "\x00"]
)
def test_a_json_that_is_none_is_a_finding(tmp_path, text):
    folder = write(tmp_path / "odd", with_seeds())
    (folder / "submission.json").write_text(text)
    told = submitted(folder)
    assert (told.bpb, told.about(Whole(tokens=np.zeros(3, np.uint16)))) == (None, None)
    (said,) = [one.said for one in told.findings if one.name == "json"]
    assert "submission.json" in said


def test_folders_that_must_not_be_looked_into_are_refused_and_one_without_a_submission_says_nothing(tmp_path):
    folder = write(tmp_path / "one", with_seeds())
    (folder / "shadow").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="shadow is a symbolic link to /etc/passwd"):
        submitted(folder)
    (folder / "shadow").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigError, match="pipe is neither a file nor a folder"):
        submitted(folder)
    (folder / "pipe").unlink()
    for number in range(1001):
        (folder / f"{number}.txt").touch()
    (folder / "0").symlink_to("/etc/passwd")  # which is not looked at any more
    with pytest.raises(ConfigError, match="holds more than 1,000 files"):
        submitted(folder)
    other = write(tmp_path / "other", {"scorer.py": "pass\n"})
    (other / "away").symlink_to("/etc")
    assert submitted(other) == Submitted()
    (other / "submission.json").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        submitted(other)


def test_whose_scores_are_meant_is_a_seed_or_the_mean(tmp_path):
    folder = write(tmp_path / "two", with_seeds())
    assert (submitted(folder).bpb, submitted(folder).of_seeds) == (Decimal("1.08091"), (42, 7))
    assert (submitted(folder, seed=7).bpb, submitted(folder, seed=7).of_seeds) == (Decimal("1.08103103"), (7,))
    with pytest.raises(ConfigError, match=r"--of-seed 5: .* has results those of 42, 7"):
        submitted(folder, seed=5)


# A text of 100 targets, 300 bytes; every token costs 3 nats.
TOKENS = np.concatenate([[1], np.random.default_rng(0).integers(2, 20, 100)]).astype(np.uint16)
LOSS, BPB = Decimal("3.0000"), Decimal("1.44270")


def trial(told: Submitted, *, loss_sum_nats: float | None = None) -> Trial:
    whole = Whole(tokens=TOKENS, bos_id=1, bytes=300, loss_sum_nats=loss_sum_nats)
    text = AuditText(tokens=TOKENS[:33], other=TOKENS[-40:], vocab_size=20, bos_id=1, target_bytes=np.full(32, 3))
    scorer = CallableScorer(lambda tokens: np.full(len(tokens) - 1, 3.0), 20)
    return Trial(Subject(name="x", scorer=scorer, reported=told.about(whole), whole=whole), text)


@pytest.mark.parametrize(
    ("told", "scored_nats", "outcomes"),
    [
        (Submitted(), None, ("not applicable", "not applicable")),
        (Submitted(loss_nats=LOSS, bpb=BPB), None, ("pass", "inconclusive")),
        (Submitted(loss_nats=LOSS, bpb=BPB), 300.0, ("pass", "pass")),
        (Submitted(loss_nats=LOSS, bpb=BPB), 301.0, ("pass", "fail")),
        (Submitted(bpb=BPB), None, ("inconclusive", "not applicable")),
        (Submitted(bpb=BPB), 300.0, ("pass", "not applicable")),
        (Submitted(bpb=BPB), 310.0, ("fail", "not applicable")),
        (Submitted(loss_nats=LOSS, bpb=BPB / Decimal("1.167")), None, ("fail", "inconclusive")),  # #1734
        (Submitted(loss_nats=LOSS, bpb=Decimal("1.4")), None, ("pass", "inconclusive")),  # as it is written
        (Submitted(loss_nats=LOSS, bpb=Decimal("1.40")), None, ("fail", "inconclusive")),
        (Submitted(loss_nats=LOSS, targets=99), 300.0, ("not applicable", "fail")),
        (Submitted(text_bytes=301), None, ("fail", "not applicable")),
        (Submitted(loss_nats=Decimal("1E+39"), bpb=BPB), 300.0, ("fail", "fail")),
    ],
)
def test_reports_of_the_whole_text_are_held_to_its_bytes_and_to_its_score_where_it_was_taken(
    told, scored_nats, outcomes
):
    tried = trial(told, loss_sum_nats=scored_nats)
    found = text_bytes_check.find(tried), coverage_check.find(tried)
    assert tuple(one.outcome for one in found) == outcomes, [one.because for one in found]


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (Submitted(loss_nats=LOSS), "pass"),
        (Submitted(loss_nats=Decimal("2.5000")), "fail"),
        (Submitted(loss_nats=Decimal("2.6000")), "pass"),  # 58 bits for the whole text
        (Submitted(bpb=Decimal("1.2000")), "fail"),
    ],
)
def test_nobody_reports_less_than_the_code_is_long(told, outcome):
    found = decodability_check.find(trial(told, loss_sum_nats=300.0))
    assert found.outcome == outcome, found.because


def test_numbers_given_beside_a_folder_take_the_place_of_its_own(tmp_path):
    folder = write(tmp_path / "two", with_seeds())
    told = submitted(folder).with_numbers(bpb=Decimal("1.05"), loss_nats=None, size_bytes=16_000_001)
    assert (told.bpb, told.loss_nats, told.of_seeds) == (Decimal("1.05"), None, ())
    dossier = Dossier(folder=told.findings)
    by_number = {check.number: check.find(dossier) for check in OF_DOSSIER}
    assert by_number["B13"].because == "16,000,001 bytes are reported, 1 over 16,000,000"
    assert json.dumps([one.because for one in by_number.values()])
