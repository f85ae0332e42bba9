"""Small programs as scorers: what honest ones are told, what bad ones do, and that nothing of them is left."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pgolf.audit.audit import CHECKS, audit
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import Effort
from pgolf.audit.program_process import Limits, Program, room_allowed
from pgolf.audit.program_scorer import MOST_FAULTS, ProgramScorer
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import CallableScorer, ScorerFault
from pgolf.audit.small_network import made_text
from pgolf.audit.subject import Subject
from pgolf.audit.trial import Trial
from tests.processes import command_of, descendants

EXAMPLE = Path(__file__).parents[2] / "docs/examples/audited_scorer.py"
ROOMS = [True, False] if room_allowed() is None else [False]
TEXT = made_text(5, targets=90, vocab_size=12)
# Every question may start a program anew, a tenth of a second of CPU.
SMALL = Effort(
    wide_cuts=2, cuts=8, tries=4, screened=8, candidates=3, moved=2, documents=2, coded=4,
    runs=2, noisy_runs=8, fresh=2, starts=3,
)  # fmt: skip

# Answers evenly, in lines that `body` may spoil: it stands in the loop, before the answer is printed.
PROGRAM = """
import json, math, os, signal, subprocess, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"ready": True, "offers": OFFERS}
    if "tokens" in asked:
        answer = {"loss_nats": [math.log(12)] * len(asked["tokens"])}
    if "distribution" in asked:
        answer = {"logp": [-math.log(12)] * 12}
    # body
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(autouse=True)
def rooms(tmp_path, monkeypatch) -> Path:
    """Where rooms are made; empty again after each test, with no process left that knows the place."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = descendants(os.getpid())
    yield folder
    assert list(folder.iterdir()) == []
    assert [command for pid in descendants(os.getpid()) - before if (command := command_of(pid))] == []


def written(folder: Path, text: str) -> Program:
    folder.mkdir(exist_ok=True)
    (folder / "scorer.py").write_text(text)
    return Program(words=("python", "scorer.py"), folder=folder)


def spoilt(folder: Path, body: str, *, when: str = '"tokens" in asked', offers: str = "[]") -> Program:
    lines = [f"    if {when}:", *(f"        {line}" for line in body.splitlines())]
    return written(folder, PROGRAM.replace("    # body", "\n".join(lines)).replace("OFFERS", offers))


def tried(program: Program, **options: object) -> tuple[ProgramScorer, Trial]:
    scorer = ProgramScorer(program, vocab_size=12, **{"limits": Limits(answer_s=60, start_s=60), **options})
    return scorer, Trial(Subject(name="a program", scorer=scorer), TEXT, effort=SMALL)


def checks_of(*numbers: str) -> list[RuleCheck]:
    return [check for check in CHECKS if check.number in numbers]


def outcomes(program: Program, text: AuditText, *numbers: str) -> dict[str, str]:
    with ProgramScorer(program, vocab_size=text.vocab_size) as scorer:
        found = audit(Subject(name="a program", scorer=scorer), text, effort=SMALL, checks=checks_of(*numbers))
    return {verdict.number: verdict.outcome for verdict in found.verdicts}


BY_TOKENS = ("B3", "B4", "B8")


@pytest.mark.parametrize(
    ("offers", "numbers", "undecided"),
    [
        ('["distribution", "mark"]', ("B1", "B2", "B5", "B6"), set()),
        ('["mark"]', BY_TOKENS, set()),
        ("[]", BY_TOKENS, {"B3", "B8"}),
    ],
)
def test_the_example_passes_with_all_that_it_offers_and_with_less_what_cannot_be_decided_is_said(
    tmp_path, offers, numbers, undecided
):
    assert len(EXAMPLE.read_text().splitlines()) < 40
    program = written(tmp_path / "own", EXAMPLE.read_text().replace('["distribution", "mark"]', offers))
    found = outcomes(program, made_text(5, targets=60, vocab_size=16), *numbers)
    assert found == {number: "inconclusive" if number in undecided else "pass" for number in ("B0", *numbers)}


PEEKS = "ahead = asked['tokens'][1:] + [0]\nanswer['loss_nats'] = [2.4 + 0.01 * (a % 2) for a in ahead]"
# The loss of a token depends on it alone, as the count of a hashed key does, and nobody sees to it that they sum to 1.
UNSUMMED = "answer['loss_nats'] = [1.0 if t < 9 else 3.0 for t in asked['tokens']]"
# What is told is a distribution, what is scored is another.
OTHERWISE = "answer['loss_nats'] = [0.5 for t in asked['tokens']]"


@pytest.mark.parametrize(
    ("body", "offers", "convicted"),
    [
        (PEEKS, "[]", {"B1", "B2", "B6"}),
        (UNSUMMED, "[]", {"B4"}),
        (OTHERWISE, '["distribution"]', {"B3", "B5"}),
    ],
)
def test_a_program_that_cheats_is_convicted(tmp_path, body, offers, convicted):
    found = outcomes(spoilt(tmp_path / "own", body, offers=offers), TEXT, *convicted)
    assert {number for number, outcome in found.items() if outcome == "fail"} == convicted


# As a network in float32, which adds up in another order where more tokens are scored at once.
ROUNDS = "answer['loss_nats'] = [n + 1e-6 * math.sin(len(asked['tokens'])) for n in answer['loss_nats']]"


def test_one_that_rounds_otherwise_where_pieces_are_longer_is_not_accused(tmp_path):
    numbers = ("B1", "B2", "B3", "B5", "B6")
    found = outcomes(spoilt(tmp_path / "own", ROUNDS, offers='["distribution"]'), TEXT, *numbers)
    assert found == dict.fromkeys(("B0", *numbers), "pass")


def test_one_that_scores_quite_otherwise_in_pieces_and_does_not_look_ahead_stays_undecided(tmp_path):
    body = ROUNDS.replace("1e-6", "1e-2")
    assert outcomes(spoilt(tmp_path / "own", body), TEXT, "B6") == {"B0": "pass", "B6": "inconclusive"}


# One that knows its own run: a little less for each target than is told, where the text comes in one piece.
def test_what_every_target_of_the_whole_text_is_cheaper_by_is_no_rounding_however_little_it_is(tmp_path):
    body = "if len(asked['tokens']) == 90: answer['loss_nats'] = [n - 0.004 for n in answer['loss_nats']]"
    numbers = ("B1", "B2", "B3", "B5", "B6")
    found = outcomes(spoilt(tmp_path / "own", body, offers='["distribution"]'), TEXT, *numbers)
    assert {number for number, outcome in found.items() if outcome == "inconclusive"} == {"B1", "B2", "B6"}


# Told and scored alike, with probabilities that sum to 1.2 at one target in eight.
SELDOM_UNSUMMED = """
fed = globals().get("fed", 0)
nats = [math.log(12 / (1.2 if number < 60 and number % 8 == 5 else 1)) for number in range(fed, 91)]
if "tokens" in asked:
    answer = {"loss_nats": nats[: len(asked["tokens"])]}
    fed += len(asked["tokens"])
else:
    answer = {"logp": [-nats[0]] * 12}
"""


def test_a_sum_that_is_seldom_broken_shows_where_many_distributions_are_told(tmp_path):
    program = spoilt(tmp_path / "own", SELDOM_UNSUMMED, when='"start" not in asked', offers='["distribution"]')
    with ProgramScorer(program, vocab_size=12) as scorer:
        effort = replace(SMALL, screened=40)
        found = audit(Subject(name="seldom", scorer=scorer), TEXT, effort=effort, checks=checks_of("B3", "B4", "B5"))
    assert [verdict.number for verdict in found.of("fail")] == ["B3"]
    assert "sum to 1.2" in found.of("fail")[0].finding.because


def test_a_program_that_offers_marks_and_does_not_go_back_is_found_out(tmp_path):
    text = EXAMPLE.read_text().replace('state = copy.deepcopy(marks[asked["back"]])', "pass")
    program = written(tmp_path / "own", text.replace('"distribution", ', ""))
    found = outcomes(program, made_text(5, targets=60, vocab_size=16), "B3")
    assert found["B3"] == "fail"


def test_forks_of_one_process_go_on_from_where_each_of_them_is(tmp_path):
    program = written(tmp_path / "own", EXAMPLE.read_text())
    tokens = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3], dtype=np.uint16)
    with ProgramScorer(program, vocab_size=16) as scorer:
        whole, other = scorer.score(tokens), scorer.score(np.array([1, 2, 3, 7, 8], dtype=np.uint16))
        session = scorer.start(1, 8)
        session.feed(tokens[1:3])
        fork = session.fork()
        assert fork.feed(np.array([7], dtype=np.uint16)) == other[2:3]
        assert session.feed(tokens[3:5]).tolist() == whole[2:4].tolist()
        again = session.fork().fork()
        assert fork.feed(np.array([8], dtype=np.uint16)) == other[3:4]
        assert again.feed(tokens[5:]).tolist() == session.feed(tokens[5:]).tolist() == whole[4:].tolist()


BAD_ANSWERS = {
    "lies to its witness": (
        r"open('../witness/seen', 'wb', 0).write(b'read\t\\x\nread\t\\ \n' + b'a' * 9999); sys.exit(3)",
        "died",
        "exit code 3",
    ),
    "dies": ("sys.exit('no weights here')", "died", "exit code 1.*'no weights here'"),
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", "died", "SIGSEGV"),
    "no end of line": ("while True: sys.stdout.write('1' * 65536)", "garbage", "without ending the line"),
    "half a line": ("sys.stdout.write('{')\nsys.stdout.flush()\ntime.sleep(1000)", "late", "within 0.5 s"),
    # At once: a line that comes later is found at the end, as conduct.
    "two lines": (
        "os.write(1, (json.dumps(answer) + '\\nmore\\n').encode())\ntime.sleep(9)",
        "unasked",
        "and then said",
    ),
    "closes its output": ("os.close(1); time.sleep(1000)", "closed", "closed its output"),
    "stderr": ("while True: sys.stderr.write('x' * 65536)", "output", "more than 100,000 bytes to standard error"),
    "memory": ("held = [bytearray(b'x' * 1_000_000) for _ in range(10 ** 6)]", "memory", "bytes of memory, over"),
    "disk": (
        "try: open(os.environ['TMPDIR'] + '/big', 'wb', 0).write(bytes(1 << 24))\nexcept OSError: pass\ntime.sleep(9)",
        "disk",
        "bytes of files, over",
    ),
    "processes": (
        "for _ in range(99): subprocess.Popen(['/bin/sleep', '1000'])\ntime.sleep(1000)",
        "processes",
        "more than 20 processes",
    ),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_what_is_no_answer_is_told_in_words(tmp_path, name):
    body, kind, said = BAD_ANSWERS[name]
    limits = Limits(
        answer_s=0.5 if name == "half a line" else 60,
        errors_bytes=100_000,
        memory_bytes=120_000_000,
        disk_bytes=8_000_000,
        processes=20,
    )
    scorer, trial = tried(spoilt(tmp_path / "own", body), limits=limits)
    with scorer, pytest.raises(ScorerFault, match=said) as told:
        _ = trial.base
    assert told.value.kind == kind


@dataclass
class Speaking:
    """In the place of a process: it answers with these lines."""

    lines: list[bytes]

    def ask(self, *_question: object, **_limits: object) -> bytes:
        return self.lines.pop(0)

    def end(self) -> list:
        return []


def losses_line(*values: object) -> bytes:
    return json.dumps({"loss_nats": [*values, *[1.5] * (3 - len(values))]}).encode()


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        (b'{"loss_nats": [1.5, 1.5]}', "wrong number", "answered 2 numbers for 3"),
        (losses_line(math.nan), "not finite", "target 1"),
        (losses_line(1.5, math.inf), "not finite", "target 2"),
        (losses_line(10**400), "not finite", "beyond all floats"),
        (losses_line(1.5, -0.5), "probability above 1", "target 2"),
        (losses_line("1.5"), "garbage", "no list of numbers"),
        (losses_line(True), "garbage", "no list of numbers"),
        (b'{"loss_nats": 1.5}', "garbage", "no list of numbers"),
        (b'{"losses": []}', "garbage", 'instead of {"loss_nats": …} on one line'),
        (b"[1.5, 1.5, 1.5]", "garbage", "instead of"),
        (b"", "garbage", "instead of"),
        (b"\xff\x00\x1b[2J", "garbage", "instead of"),
        (b"[" * 4000, "garbage", "instead of"),
        (b'{"loss_nats": ' + b"9" * 4400 + b"}", "garbage", "instead of"),
    ],
)
def test_a_line_that_is_no_answer_is_told_in_words(tmp_path, line, kind, said, monkeypatch):
    ready = b'{"ready": true}'
    monkeypatch.setattr("pgolf.audit.program_scorer.ProgramProcess", lambda *_, **__: Speaking([ready, line]))
    scorer = ProgramScorer(Program(words=("any",), folder=tmp_path), vocab_size=12, isolate=False)
    text = replace(TEXT, tokens=TEXT.tokens[:4])
    with pytest.raises(ScorerFault) as told:
        _ = Trial(Subject(name="a program", scorer=scorer), text).base
    assert told.value.kind == kind
    assert said in str(told.value)
    assert "\x1b" not in str(told.value)


@pytest.mark.parametrize(("value", "kind"), [(math.nan, "not finite"), (-0.5, "probability above 1")])
def test_what_a_later_piece_is_answered_wrongly_is_told_of_the_texts_target(tmp_path, value, kind, monkeypatch):
    lines = [b'{"ready": true}', losses_line(), losses_line(1.5, value)]
    monkeypatch.setattr("pgolf.audit.program_scorer.ProgramProcess", lambda *_, **__: Speaking(lines))
    scorer = ProgramScorer(Program(words=("any",), folder=tmp_path), vocab_size=12, isolate=False)
    trial = Trial(Subject(name="a program", scorer=scorer), TEXT)
    with trial.evaluation() as session:
        trial.feed(session, TEXT.tokens[1:4])
        with pytest.raises(ScorerFault, match="for target 5, which") as told:
            trial.feed(session, TEXT.tokens[4:7])
    assert (told.value.kind, told.value.target) == (kind, 5)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"ready": 1}',
        b'{"ready": true, "offers": 3}',
        b'{"ready": true, "offers": ["x"]}',
        b'{"ready": true, "offers": {"mark": 1}}',
    ],
)
def test_what_it_offers_is_known_or_a_fault(tmp_path, line, monkeypatch):
    monkeypatch.setattr("pgolf.audit.program_scorer.ProgramProcess", lambda *_, **__: Speaking([line]))
    scorer = ProgramScorer(Program(words=("any",), folder=tmp_path), vocab_size=12, isolate=False)
    with pytest.raises(ScorerFault, match="its start with"):
        scorer.start(1, 3)


@pytest.mark.parametrize("offer", ["distribution", "mark"])
def test_what_is_offered_at_the_first_start_alone_is_a_fault_and_no_crash(tmp_path, offer, monkeypatch):
    starts = [Speaking([json.dumps({"ready": True, "offers": offers}).encode()]) for offers in ([offer], [])]
    monkeypatch.setattr("pgolf.audit.program_scorer.ProgramProcess", lambda *_, **__: starts.pop(0))
    scorer = ProgramScorer(Program(words=("any",), folder=tmp_path), vocab_size=12, isolate=False)
    trial = Trial(Subject(name="a program", scorer=scorer), TEXT)
    assert (trial.forks, trial.tells_distributions) == (offer == "mark", offer == "distribution")
    with trial.evaluation() as session, pytest.raises(ScorerFault, match="in one evaluation and not in another"):
        trial.fork(session) if offer == "mark" else trial.distribution(session)
    assert [fault.kind for fault in trial.faults] == ["offers changed"]


def test_logarithms_of_probabilities_above_1_are_a_fault(tmp_path, monkeypatch):
    lines = [b'{"ready": true, "offers": ["distribution"]}', json.dumps({"logp": [-9.0, 0.1] + [-9.0] * 10}).encode()]
    monkeypatch.setattr("pgolf.audit.program_scorer.ProgramProcess", lambda *_, **__: Speaking(lines))
    scorer = ProgramScorer(Program(words=("any",), folder=tmp_path), vocab_size=12, isolate=False)
    trial = Trial(Subject(name="a program", scorer=scorer), TEXT)
    with trial.evaluation() as session, pytest.raises(ScorerFault, match=r"-0.1 nats for token 1, .* above 1") as told:
        trial.distribution(session)
    assert told.value.target is None


DEAF = "for number in range(1, 32):\n    if number not in (9, 17, 19): signal.signal(number, signal.SIG_IGN)\n"


@pytest.mark.parametrize(
    ("body", "when", "said"),
    [
        ("time.sleep(1000)", '"start" in asked', "no answer about its start within 0.3 s"),
        (DEAF + "while True: pass", '"tokens" in asked', "no answer about targets 1 to 90 within 0.3 s"),
    ],
)
def test_a_program_that_hangs_is_ended_and_not_started_for_ever(tmp_path, body, when, said):
    program = spoilt(tmp_path / "own", body, when=when)
    slow = '"start" in asked' not in when
    limits = Limits(answer_s=0.3, start_s=60 if slow else 0.3)
    with ProgramScorer(program, vocab_size=12, limits=limits) as scorer:
        found = audit(
            Subject(name="hangs", scorer=scorer), TEXT, effort=SMALL, checks=CHECKS if slow else checks_of("B3")
        )
    conduct = found.verdicts[0]
    assert (conduct.number, conduct.outcome) == ("B0", "fail")
    assert said in conduct.finding.because
    assert scorer.starts <= MOST_FAULTS + 1
    assert {verdict.outcome for verdict in found.verdicts[1:]} <= {"inconclusive", "not applicable"}


def test_a_program_that_does_not_read_or_is_over_its_time_is_ended(tmp_path):
    long = np.zeros(40_000, dtype=np.uint16)
    program = spoilt(tmp_path / "own", "print(json.dumps(answer), flush=True); time.sleep(1000)", when="True")
    for limits, text, said in (
        (Limits(answer_s=0.3), long, "had not read [0-9,]+ bytes of the question"),
        (Limits(evaluation_s=0.3), long[:4], "more than 0.3 s for one evaluation"),
    ):
        with ProgramScorer(program, vocab_size=12, limits=limits) as scorer, pytest.raises(ScorerFault, match=said):
            scorer.score(text)


@pytest.mark.parametrize("text", ["print('loading')\nimport time\ntime.sleep(1000)", "import nowhere"])
def test_what_is_said_instead_of_ready_is_told(tmp_path, text):
    scorer, trial = tried(written(tmp_path / "own", text))
    with scorer, pytest.raises(ScorerFault) as told:
        _ = trial.base
    assert "'loading'" in str(told.value) or "No module named 'nowhere'" in str(told.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere-to-be-found",), "there is no program 'nowhere-to-be-found'"),
        (("./scorer.py",), "could not be started: .*Permission denied"),
        (("./other.sh",), "other.sh is no file"),
        (("/nowhere/python", "scorer.py"), "/nowhere/python is no file"),
        (("python", "nowhere.py"), "can't open file"),
    ],
)
def test_a_program_that_cannot_be_started_is_a_fault_and_no_crash(tmp_path, words, said):
    program = spoilt(tmp_path / "own", "pass")
    scorer, trial = tried(Program(words=words, folder=program.folder))
    with scorer, pytest.raises(ScorerFault, match=said):
        _ = trial.base


@pytest.mark.parametrize("isolate", ROOMS)
def test_what_a_program_does_besides_answering_is_told_and_leaves_nothing(tmp_path, isolate):
    text = tmp_path / "text.bin"
    text.write_bytes(b"tokens")
    mark = f"sleeping-for-{tmp_path.name}"
    outside = Path("/pgolf-nobody-has-written-this") if isolate else tmp_path / "written.txt"
    body = f"""
for path, mode in (({str(outside)!r}, "w"), ({str(text)!r}, "r"), (os.path.expanduser("~/mine"), "w")):
    try: open(path, mode).close()
    except OSError: pass
import socket
try: socket.create_connection(("192.0.2.1", 9), 0.01)
except OSError: pass
sleeps = "import os, time; os.setsid(); time.sleep(1000) # {mark}"
for _ in range(9): subprocess.Popen([sys.executable, "-S", "-c", sleeps])
"""
    program = spoilt(tmp_path / "own", body)
    program = Program(words=program.words, folder=program.folder, hidden=(text,))
    scorer, trial = tried(program, isolate=isolate)
    with scorer:
        assert trial.base.tolist() == [np.log(12)] * 90
    told = {fault.kind: str(fault) for fault in scorer.conduct}
    assert told.keys() == {"outside", "reads the text", "network", "left running"}
    assert str(outside) in told["outside"]
    assert mark in told["left running"]
    assert "left at least 8 processes behind" in told["left running"]
    assert outside.exists() is not isolate
    assert [pid for pid in os.listdir("/proc") if pid.isdigit() and mark in command_of(int(pid))] == []


@pytest.mark.parametrize("isolate", ROOMS)
def test_what_programs_do_with_their_own_places_is_no_fault(tmp_path, isolate):
    # A temporary file without a name is its folder, opened for writing; a folder is opened for fsync.
    body = """
import tempfile
tempfile.TemporaryFile().write(b"x")
os.open(os.environ["TMPDIR"], os.O_TMPFILE | os.O_RDWR)
for folder in (".", "/usr", "/proc", os.environ["TMPDIR"], os.path.expanduser("~")):
    os.close(os.open(folder, os.O_RDONLY))
with tempfile.NamedTemporaryFile(dir=os.path.expanduser("~")) as file: file.write(b"x")
"""
    if isolate:
        body += 'os.open("/tmp", os.O_TMPFILE | os.O_RDWR)'
    scorer, trial = tried(spoilt(tmp_path / "own", body), isolate=isolate)
    with scorer:
        assert trial.base.tolist() == [np.log(12)] * 90
    assert [str(fault) for fault in scorer.conduct] == []


@pytest.mark.skipif(len(ROOMS) < 2, reason="this system allows no namespaces to this user")
def test_in_namespaces_a_program_sees_its_folder_without_the_text_and_can_change_nothing(tmp_path):
    body = """
found = sorted(os.listdir("."))
kept = []
for path in ("scorer.py", "text.bin", os.path.expanduser("~/before"), os.environ["TMPDIR"] + "/before"):
    kept.append(os.path.exists(path) and os.path.getsize(path) > 0)
    try: open(path, "a").write("x")
    except OSError as error: kept.append(error.strerror)
print([*found, *kept, len(os.listdir("/proc/self/net")) > 0], file=sys.stderr)
sys.exit(str([*found, *kept]))
"""
    program = spoilt(tmp_path / "own", body)
    (program.folder / "text.bin").write_bytes(bytes(range(64)))
    program = Program(words=program.words, folder=program.folder, hidden=(program.folder / "text.bin",))
    says = "['scorer.py', 'text.bin', True, 'Read-only file system', False, 'Read-only file system', False, False]"
    for _ in range(2):  # nothing of a run is there in the next one
        scorer, trial = tried(program)
        with scorer, pytest.raises(ScorerFault) as told:
            _ = trial.base
        assert says in str(told.value)


def test_one_whose_hash_seed_or_memory_of_earlier_runs_decides_is_found(tmp_path):
    program = spoilt(tmp_path / "own", "answer['loss_nats'] = [2.0 + hash('a') % 1000 / 1e4] * len(asked['tokens'])")
    other = Program(words=program.words, folder=program.folder, environment={"PYTHONHASHSEED": "7"})
    with ProgramScorer(program, vocab_size=12) as scorer, ProgramScorer(other, vocab_size=12) as variant:
        subject = Subject(name="a program", scorer=scorer, variants={"PYTHONHASHSEED=7": variant})
        found = audit(subject, TEXT, effort=SMALL, checks=checks_of("B11"))
    assert found.outcome == "fail"
    assert "as PYTHONHASHSEED=7" in found.verdicts[1].finding.because


@pytest.mark.parametrize(("even_nats", "outcome"), [(math.log(12), "pass"), (0.5, "fail")])
def test_losses_that_are_the_same_for_all_tokens_accuse_nobody_who_expects_them_evenly(even_nats, outcome):
    scorer = CallableScorer(lambda tokens: np.full(len(tokens) - 1, even_nats), 12)
    found = audit(Subject(name="even", scorer=scorer), TEXT, effort=SMALL, checks=checks_of("B3", "B7"))
    assert found.outcome == outcome


HANGS = """
import sys, tempfile
from pathlib import Path
import numpy as np
from pgolf.audit.program_scorer import ProgramScorer
from pgolf.audit.program_process import Program
tempfile.tempdir = sys.argv[2]
program = Program(words=("python", "scorer.py"), folder=Path(sys.argv[1]))
with ProgramScorer(program, vocab_size=12, isolate=sys.argv[3] == "True") as scorer:
    scorer.score(np.zeros(9, dtype=np.uint16))
"""


@pytest.mark.parametrize(
    ("number", "isolate"), [*((signal.SIGKILL, isolate) for isolate in ROOMS), (signal.SIGINT, ROOMS[0])]
)
def test_nothing_is_left_when_the_audit_itself_is_killed(tmp_path, rooms, number, isolate):
    mark = f"sleeping-for-{tmp_path.name}"
    body = f"subprocess.run([sys.executable, '-S', '-c', 'import time; time.sleep(1000) # {mark}'])"
    program = spoilt(tmp_path / "own", DEAF + body)
    words = [sys.executable, "-c", HANGS, str(program.folder), str(rooms), str(isolate)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: any(mark in command_of(pid) for pid in descendants(process.pid)))
        below = descendants(process.pid)
    finally:
        process.send_signal(number)
        process.wait(20)
    _until(lambda: not any(Path(f"/proc/{pid}/status").exists() for pid in below) and not list(rooms.iterdir()))


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
