"""The page of an audit: every verdict in words, and nothing that a scorer said as markup."""

from pgolf.report.audit_page import audit_page

FACTS = {"text": "320 targets"}


def verdict(number, outcome, because="because", **fields):
    return {
        "number": number,
        "name": "check",
        "rule": f"rule of {number}",
        "outcome": outcome,
        "because": because,
        "settles": "",
        "evidence": [],
        "cost": {"calls": 1, "targets": 1, "wall_s": 1.25},
        **fields,
    }


def trial(name="mine", outcome="pass", *verdicts):
    return {"name": name, "outcome": outcome, "verdicts": verdicts or [verdict("B1", "pass")]}


def test_every_verdict_is_told_in_words_with_its_reason_rule_and_evidence():
    seen = {"what": "total mass", "target": 1234, "values": {"mass": 10.76}}
    checks = [
        verdict("B1", "pass"),
        verdict("B3", "fail", "sums to 10.76", evidence=[seen]),
        verdict("B5", "not applicable"),
        verdict("B11", "inconclusive", settles="a fixed seed"),
    ]
    page = audit_page([trial("mine", "fail", *checks)], facts=FACTS)
    for text in ("✓ pass", "✗ fail", "– not applicable", "? inconclusive", "mine: not a code length", "sums to 10.76"):
        assert text in page
    for text in ("what would settle it: a fixed seed", "1,234", "mass 10.76", "rule of B3", "320 targets"):
        assert text in page


def test_several_scorers_are_counted_and_each_names_what_it_fails():
    page = audit_page([trial("a"), trial("b", "fail", verdict("B3", "fail"))], facts=FACTS)
    assert "2 scorers: 1 pass, 1 fail" in page
    assert ">B3 check<" in page


def test_what_a_scorer_says_is_never_markup():
    nasty = "<script>alert(1)</script>\x1b"
    page = audit_page([trial(nasty, "fail", verdict("B0", "fail", nasty))], facts={"text": nasty})
    assert "<script" not in page
    assert "\x1b" not in page
