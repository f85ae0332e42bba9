"""The audit on trial: the zoo's cheats are convicted, its honest scorers are not accused, others' zoos are read."""

import json
from dataclasses import replace

import pytest

from flows.commands.cli import main
from flows.commands.self_test_table import table
from pgolf.audit.audit import CHECKS
from pgolf.audit.effort import DEFAULT
from pgolf.audit.self_test import ZOO, Member, Row, load_zoo, self_test, try_member
from pgolf.errors import ConfigError

MEMBERS = load_zoo(ZOO)
CHEATS = [member for member in MEMBERS if member.kind == "cheat" and member.can_be_found]
HONEST = [member for member in MEMBERS if member.kind == "honest"]
# An honest scorer goes through every question of a trial; `pgolf audit --self-test` asks the full number of them.
FEW = replace(DEFAULT, cuts=24, tries=8 * 24, screened=12, coded=4, fresh=4)

# What every token costs the same by, and what is wrong only in what it reports: both are asked in no time.
EVEN = """
import numpy as np
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.subject import Reported, Subject

FAMILY, KIND, CONVICTED_BY = "even", "{kind}", {by}


def subject(text, seed):
    def score(tokens):
        return np.full(len(tokens) - 1, np.log(text.vocab_size))

    return Subject(name="even", scorer=CallableScorer(score, text.vocab_size), reported=Reported(targets={targets}))
"""
HONEST_MEMBER = EVEN.format(kind="honest", by=(), targets="text.targets")
CHEAT_MEMBER = EVEN.format(kind="cheat", by=("B16",), targets="text.targets - 1")


def by_name(member):
    return member.path.stem


@pytest.mark.parametrize("member", CHEATS, ids=by_name)
def test_a_cheat_is_convicted_by_the_check_that_is_to_find_it(member):
    tried = try_member(member, seed=0, at_once=True)
    assert member.convicted_by, "a cheat of the zoo names the checks that find it"
    assert tried.failed[:1] == member.convicted_by[:1]


@pytest.mark.parametrize("member", HONEST, ids=by_name)
def test_an_honest_scorer_is_not_accused(member):
    tried = try_member(member, seed=0, effort=FEW)
    assert tried.failed == ()


def test_every_check_is_the_first_to_name_a_cheat():
    named = {number for member in CHEATS for number in member.convicted_by[:1]}
    # B4 is B3 at more targets, B7, B8 and B9 ask in other ways what B1 and B2 do: they convict with others.
    assert {check.number for check in CHECKS} - named <= {"B4", "B7", "B8", "B9"}


def zoo_of(folder, **written):
    folder.mkdir()
    for name, text in written.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_the_command_tries_the_scorers_of_a_folder(tmp_path, capsys):
    zoo = zoo_of(tmp_path / "zoo", nice_one=HONEST_MEMBER, bad_one=CHEAT_MEMBER)
    assert main(["audit", "--self-test", "--zoo", str(zoo), "--seeds", "2"]) == 0
    shown = capsys.readouterr()
    assert "✓ bad one" in shown.out
    assert "1 of 1 cheats convicted with every seed, 0 of 1 honest scorers accused" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "4 of 4 trials" in shown.err


def test_a_cheat_that_goes_free_and_an_honest_scorer_that_is_accused_are_told(tmp_path, capsys):
    called_honest, called_cheat = CHEAT_MEMBER.replace("cheat", "honest"), HONEST_MEMBER.replace("honest", "cheat")
    zoo = zoo_of(tmp_path / "zoo", called_honest=called_honest, called_cheat=called_cheat)
    assert main(["audit", "--self-test", "--zoo", str(zoo), "--seeds", "1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["failed"], one["by"], one["right"]) for one in found["members"]] == [
        ("called cheat", 0, [], False),
        ("called honest", 1, ["B16"], False),
    ]
    assert found["right"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_at_all", "does not load: line 1, ModuleNotFoundError"),
        ("x = 1 +", "does not load: SyntaxError"),
        ('KIND = "cheat"\ndef subject(text, seed): ...', "FAMILY says what it stands for"),
        ('FAMILY = "f"\nKIND = "nice"\ndef subject(text, seed): ...', 'KIND is "cheat" or "honest", got \'nice\''),
        ('FAMILY = "f"\nKIND = "cheat"', "subject(text, seed) returns the pgolf.audit.subject.Subject to try"),
        (
            'FAMILY = "f"\nKIND = "cheat"\nCONVICTED_BY = "B3"\ndef subject(text, seed): ...',
            "CONVICTED_BY names che",
        ),
        (
            'FAMILY = "f"\nKIND = "cheat"\ndef subject(text, seed): ...',
            "with seed 0: TypeError: subject(text, seed)",
        ),
        (
            'FAMILY = "f"\nKIND = "cheat"\ndef subject(text, seed):\n    return 1 / 0',
            "with seed 0: line 4, ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_file_that_is_no_member_is_named_with_what_it_lacks(tmp_path, text, said):
    with pytest.raises(ConfigError) as refused:
        self_test(load_zoo(zoo_of(tmp_path / "zoo", odd=text)), seeds=1, processes=1)
    assert str(tmp_path / "zoo" / "odd.py") in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--self-test", "--zoo", "nowhere"], "nowhere: it has no file NAME.py of a scorer"),
        (["--self-test", "--seeds", "0"], "--seeds is at least 1, got 0"),
    ],
)
def test_misuse_is_told_in_one_line(words, said, capsys):
    assert main(["audit", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_what_a_scorer_raises_is_a_verdict_and_ends_no_self_test(tmp_path):
    text = (ZOO / "network_alone.py").read_text().replace("return losses_of(", "return 1 / 0 * losses_of(")
    (row,) = self_test(load_zoo(zoo_of(tmp_path / "zoo", breaks=text)), seeds=1, processes=1, effort=FEW)
    assert row.by == ("B0",)


def test_the_table_fits_eighty_columns_whatever_stands_in_it(tmp_path):
    member = Member(name="n" * 99, path=tmp_path, family="f", kind="cheat", convicted_by=("B99",))
    numbers = tuple(check.number for check in CHECKS)
    rows = [
        Row(member=member, seeds=20, failed=20, by=numbers, inconclusive=numbers),
        Row(member=member, seeds=20, failed=0, by=(), inconclusive=()),
    ]
    lines = list(table(rows))
    assert max(map(len, lines)) <= 80
    assert any("B99" in line for line in lines)


def test_the_page_shows_every_scorer_of_the_zoo_and_every_check():
    page = (ZOO.parents[1] / "docs" / "audit.md").read_text()
    assert [member.name for member in MEMBERS if f"| {member.name} |" not in page] == []
    assert [check.number for check in CHECKS if f"| {check.number} {check.name} |" not in page] == []
