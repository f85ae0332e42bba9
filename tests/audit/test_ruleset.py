"""Rule sets: dated files that say which checks must pass."""

import pytest

from pgolf.audit.ruleset import DEFAULT, ruleset, shipped
from pgolf.audit.verdict import Cost, Finding, Verdict
from pgolf.errors import ConfigError


def verdicts(**outcomes):
    cost = Cost(calls=0, targets=0, wall_s=0.0)
    return [
        Verdict(number=number, name="", rule="", finding=Finding(outcome=outcome, because=""), cost=cost)
        for number, outcome in outcomes.items()
    ]


def test_every_rule_set_that_comes_with_pgolf_is_one_and_is_dated():
    assert DEFAULT in shipped()
    assert [ruleset(name).name for name in shipped()] == shipped()


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({}, "pass"),
        ({"B3": "fail"}, "fail"),
        ({"B3": "inconclusive"}, "inconclusive"),
        ({"B3": "inconclusive", "B1": "fail"}, "fail"),
        ({"B5": "not applicable"}, "pass"),
        ({"B13": "fail", "B11": "fail"}, "pass"),  # not asked for by c1-c4
    ],
)
def test_what_the_rules_ask_for_decides_and_nothing_else(outcomes, expected):
    rules = ruleset("c1-c4")
    assert rules.outcome(verdicts(**{**dict.fromkeys(rules.requires, "pass"), **outcomes})) == expected


@pytest.mark.parametrize("number", ["B13", "B14", "B17", "B18"])
def test_what_breaks_a_rule_of_records_fails_whether_or_not_it_is_to_be_one(number):
    rules = ruleset(DEFAULT)
    passing = dict.fromkeys(rules.requires, "pass")
    for record in (False, True):
        assert rules.outcome(verdicts(**passing, **{number: "fail"}), record=record) == "fail"
    assert rules.outcome(verdicts(**passing, **{number: "inconclusive"})) == "pass"


def test_a_check_that_was_not_made_is_no_pass():
    assert ruleset("c1-c4").outcome(verdicts(B1="pass")) == "inconclusive"
    rules = ruleset(DEFAULT)
    assert rules.outcome(verdicts(**dict.fromkeys(rules.requires, "pass"))) == "pass"
    assert rules.outcome(verdicts(**dict.fromkeys(rules.requires, "pass")), record=True) == "inconclusive"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "Field required"),
        ('name = "x"\ndated = 2026-01-01\nabout = "y"\nrequires = ["B3", "B20"]', "requires has 'B20'"),
        ('name = "x"\ndated = 2026-01-01\nabout = "y"\nrequires = ["B3"]\nmore = 1', "more"),
        ("name = ", "not TOML"),
        ("\udcff", "not TOML"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_is_wrong(tmp_path, text, said):
    (tmp_path / "mine.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=said):
        ruleset(str(tmp_path / "mine.toml"))


def test_a_name_that_is_nearly_one_is_named_and_a_file_of_ones_own_is_read(tmp_path):
    with pytest.raises(ConfigError, match="did you mean c1-c4"):
        ruleset("c1c4")
    (tmp_path / "mine.toml").write_text('name = "mine"\ndated = 2026-11-30\nabout = "only sums"\nrequires = ["B3"]\n')
    assert ruleset(str(tmp_path / "mine.toml")).outcome(verdicts(B3="pass")) == "pass"
