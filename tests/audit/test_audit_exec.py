"""`pgolf audit --exec`: a program, shards and a tokenizer in; verdicts, and what is wrong with any of them, out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.commands import audit_command
from flows.commands.cli import main
from flows.commands.verdict_lines import verdict_lines
from pgolf.audit.audit import Audit
from pgolf.audit.program_process import Program
from pgolf.audit.program_scorer import ProgramScorer
from pgolf.audit.self_containment_check import of_room
from pgolf.audit.tried_program import declared_by, scored_whole, shard_text, train_shards, tried_program
from pgolf.audit.verdict import Cost, Verdict, failed, inconclusive, not_applicable, passed
from pgolf.corpus.shards import write_shard
from pgolf.errors import DataError, ShardError
from pgolf.pipeline import program_trial
from tests.data_folder import VOCAB_SIZE, write_data_folder
from tests.submission.test_folder_check import with_seeds, write

EXAMPLE = Path(__file__).parents[2] / "docs/examples/audited_scorer.py"
TOKENS = np.concatenate([[1], np.random.default_rng(3).integers(260, VOCAB_SIZE, 59), [1], np.arange(260, 320)])


@pytest.fixture
def shard(tmp_path) -> Path:
    write_shard(tmp_path / "val.bin", TOKENS)
    return tmp_path / "val.bin"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Of the example, which tells what it expects; and a copy of the text lies in it."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "scorer.py").write_text(EXAMPLE.read_text().replace('"distribution", "mark"', '"distribution"'))
    return own


def verdict(finding, number: str = "B3") -> Verdict:
    return Verdict(
        number=number, name="a name", rule="a rule", finding=finding, cost=Cost(calls=1, targets=2, wall_s=0)
    )


def test_a_program_passes_with_what_its_author_reports_and_reads_no_copy_of_the_text(
    shard, folder, toy_tokenizer, capsys
):
    made = with_seeds({seed: (f"2.79{seed}80191", f"1.08{seed}79352", 15_900_000) for seed in (42, 77, 13)})
    write(folder.parent / "theirs", {**made, "scorer.py": (folder / "scorer.py").read_text()})
    folder = folder.parent / "theirs"
    shutil.copy(shard, folder / "looks like weights.pt")
    whole = shard_text(shard, toy_tokenizer).whole
    with ProgramScorer(Program(words=("python", "scorer.py"), folder=folder), vocab_size=VOCAB_SIZE) as scorer:
        scored = scored_whole(whole, scorer)
    loss = scored.loss_sum_nats / whole.targets
    reported = [
        "--reported-loss",
        f"{loss:.6f}",
        "--reported-bpb",
        f"{scored.loss_sum_nats / 0.693147181 / whole.bytes:.6f}",
    ]
    words = ["audit", "--exec", "python scorer.py", "--folder", str(folder), "--tokens", str(shard), "--targets", "48"]
    words += [*reported, "--whole-text", "--ruleset", "strict-code-bytes"]
    exit_code = main([*words, "--tokenizer", str(toy_tokenizer), "--json"])
    output, errors = capsys.readouterr()
    found = json.loads(output)
    assert (exit_code, found["outcome"]) == (0, "pass"), [one for one in found["verdicts"] if one["outcome"] == "fail"]
    numbers = [one["number"] for one in found["verdicts"]]
    assert numbers == [*(f"B{number}" for number in range(14)), "B13s", *(f"B{number}" for number in range(14, 20))]
    outcome_of = {one["number"]: one["outcome"] for one in found["verdicts"]}
    assert {outcome_of[one] for one in ("B12", "B13", "B13s", "B14", "B15", "B16", "B18", "B19")} == {"pass"}
    assert (found["ruleset"], found["ruleset_dated"]) == ("strict-code-bytes", "2026-05-02")
    assert (found["targets"], found["vocab_size"]) == (48, VOCAB_SIZE)
    assert "looks like weights.pt holds the text, so the program does not find it" in errors
    assert "B11 determinism: pass" in errors


def test_a_program_that_is_not_there_fails_and_the_audit_does_not(shard, folder, toy_tokenizer, capsys):
    words = ["audit", "--exec", "pythn scorer.py", "--folder", str(folder), "--tokens", str(shard)]
    assert main([*words, "--tokenizer", str(toy_tokenizer)]) == 1
    assert "there is no program 'pythn'" in capsys.readouterr().out


def test_one_that_no_check_convicts_and_not_every_check_could_judge_has_an_exit_code_of_its_own(
    shard, folder, toy_tokenizer, capsys, monkeypatch
):
    undecided = Audit(
        name="x", verdicts=(verdict(inconclusive("no", "more")),), targets=48, vocab_size=VOCAB_SIZE, seed=0
    )
    monkeypatch.setattr(program_trial, "audit", lambda *_, **__: undecided)
    words = ["audit", "--exec", "python scorer.py", "--folder", str(folder), "--tokens", str(shard)]
    assert main([*words, "--tokenizer", str(toy_tokenizer)]) == 3
    assert "what would settle it: more" in capsys.readouterr().out
    # Where the page cannot be written the verdicts are told nevertheless: they are kept nowhere else.
    assert main([*words, "--tokenizer", str(toy_tokenizer), "--page", "/dev/null/page.html"]) == 2
    output, errors = capsys.readouterr()
    assert "what would settle it: more" in output
    assert "/dev/null/page.html" in errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--exec", ""], "--exec names no program"),
        (["--exec", "python 'x"], "No closing quotation"),
        (["--folder", "nowhere"], "nowhere is no folder"),
        (["--show", "nowhere"], "nowhere is no folder"),
        (["--targets", "3"], "at least 16, got 3"),
        (["--declare", "order=backwards"], "order=file, the only order"),
        (["--declare", "chunk_targets=-1"], "chunk_targets=N"),
        (["--answer-s", "nan"], "--answer-s takes a number above 0"),
        (["--piece-targets", "0"], "--piece-targets is at least 1"),
        (["--seed", "-1"], "--seed is at least 0"),
        (["--tokenizer", "nowhere.model"], "nowhere.model: not a readable SentencePiece model"),
        (["--tokens", "nowhere.bin"], "nowhere.bin: shard is missing"),
        (["--train-shards", "nowhere"], "nowhere: shard is missing"),
        (["--of-seed", "7"], "--of-seed 7: "),
        (["--page", "/"], "--page / is a folder"),
        (["--ruleset", "strict"], "--ruleset strict: no such rule set; "),
        (["--scorer", "network"], "--scorer belongs to `pgolf audit RUN` and means nothing for `pgolf audit --exec"),
        (["--store", "here"], "--store belongs to `pgolf audit RUN`"),
        (["--seeds", "20"], "--seeds belongs to `pgolf audit --self-test`"),
    ],
)
def test_misuse_ends_with_one_line_before_anything_runs(shard, folder, toy_tokenizer, capsys, change, said):
    given = {"--exec": "python scorer.py", "--folder": folder, "--tokens": shard, "--tokenizer": toy_tokenizer}
    words = [str(word) for pair in {**given, change[0]: change[1]}.items() for word in pair]
    assert main(["audit", *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("given", ["nan", "-1", "0", "inf", "1e99", "x", "1" * 50, ""])
def test_a_reported_number_that_is_none_is_refused(given, capsys):
    for option in ("--reported-bpb", "--reported-loss"):
        with pytest.raises(SystemExit) as ended:
            main(["audit", "--exec", "x", f"{option}={given}"])
        assert ended.value.code == 2
        assert "is no score; write a number above 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["audit", "--exec", "x", f"--bytes={given}.5"])
    assert "is no number of bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--tokens", "x"], "--tokens belongs to `pgolf audit --exec COMMAND` and means nothing for"),
        (["demo", "--folder", "x"], "--folder belongs to"),
        (["demo", "--whole-text"], "--whole-text belongs to"),
        (["demo", "--start-s", "300"], "--start-s belongs to"),
        (["demo", "--bytes", "5"], "--bytes belongs to"),
        (["demo", "--zoo", "x"], "--zoo belongs to `pgolf audit --self-test`"),
        (["demo", "--all", "--scorer", "network"], "--all tries every scorer and --scorer one of them"),
        (["--self-test", "--seed", "0"], "--seed belongs to `pgolf audit RUN` or `pgolf audit --exec COMMAND`"),
        (["--self-test", "--thorough"], "--thorough belongs to"),
        (["--self-test", "--ruleset", "c1-c4"], "--ruleset belongs to"),
        (["--self-test", "--tokens", "x"], "--tokens belongs to"),
        (["--exec", "x"], "--exec takes the tokens to try the program on: --tokens FILE_OR_DIR"),
    ],
)
def test_options_of_another_way_are_refused_and_not_passed_over(words, said, capsys, monkeypatch):
    monkeypatch.setattr(audit_command, "self_test", lambda *_, **__: pytest.fail("began to work"))
    assert main(["audit", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_every_option_belongs_to_a_way_and_its_help_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    shown = capsys.readouterr().out
    heads = ["with RUN:", "with --exec:", "with RUN or --exec:", "with --self-test:", "in any case:"]
    assert [line for line in shown.splitlines() if line in heads] == heads
    own = shown.partition("options:")[2].partition("with RUN:")[0].split()
    assert [word for word in own if word.startswith("--")] == ["--help", "--exec", "--self-test"]
    assert "None" not in shown


def test_what_a_program_does_in_its_room_decides_whether_it_is_contained(shard, folder, toy_tokenizer, tmp_path):
    (folder / "curious.py").write_text("import sys\nopen(sys.argv[1]).read()\n")
    train = tmp_path / "shards"
    train.mkdir()
    write_shard(train / "fineweb_train_000000.bin", TOKENS)
    text = shard_text(shard, toy_tokenizer, targets=40)
    kept = {"shown": [train], "trained_on": train_shards(train), "folder": folder}
    found = {}
    for program in ("scorer.py", "curious.py", "nowhere.py"):
        words = ["python", program, str(train / "fineweb_train_000000.bin")]
        with tried_program(words, text, **kept, score_whole=True) as tried:
            found[program] = of_room(tried.scorer)
            assert (tried.subject.whole.loss_sum_nats is None) == (program != "scorer.py")
    assert found["scorer.py"].outcome == "pass", found
    assert found["curious.py"].outcome == found["nowhere.py"].outcome == "inconclusive", found
    (folder / "curious.py").write_text("import sys\nopen(sys.argv[1]).read()\n" + (folder / "scorer.py").read_text())
    with tried_program(["python", "curious.py", words[2]], text, **kept, score_whole=True) as tried:
        peeked = of_room(tried.scorer)
    assert (peeked.outcome, "fineweb_train_000000.bin" in peeked.because) == ("fail", True), peeked


def test_training_shards_are_all_of_one_data_set(tmp_path):
    with pytest.raises(DataError, match=r"no training shard, fineweb_train_000000.bin, at or below it"):
        train_shards(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for number in (1, 0):
        write_shard(tmp_path / f"a/fineweb_train_{number:06d}.bin", TOKENS)
    assert [path.name[-5] for path in train_shards(tmp_path)] == ["0", "1"]
    (tmp_path / "b/fineweb_train_000002.bin").write_bytes(b"none")
    with pytest.raises(ShardError, match="4 bytes"):
        train_shards(tmp_path)
    (tmp_path / "b/fineweb_train_000001.bin").write_bytes(b"none")
    with pytest.raises(DataError, match="name the folder of one data set"):
        train_shards(tmp_path)


@pytest.mark.parametrize("width", [60, 80, 110, None])
def test_verdicts_fit_the_terminal_and_say_all(width):
    long = "the loss of target 12 was 3.5 nats and became 4.25 when 3 later tokens changed " * 3
    findings = [passed("fine"), failed(long), not_applicable("no documents"), inconclusive(long, "a fixed seed")]
    lines = list(verdict_lines([verdict(one, f"B{i}") for i, one in enumerate(findings, 9)], width))
    assert all(len(line) <= (width or 10**6) for line in lines)
    assert [line[:5].split() for line in lines if not line.startswith(" ")] == [
        ["✓", "B9"],
        ["✗", "B10"],
        ["–", "B11"],
        ["?", "B12"],
    ]
    assert "what would settle it: a fixed seed" in " ".join(" ".join(lines).split())


def test_the_text_is_the_beginning_of_the_stream_with_its_bytes_and_another_from_the_end(
    shard, tmp_path, toy_tokenizer
):
    found = shard_text(shard, toy_tokenizer, targets=40)
    assert found.text.tokens.tolist() == TOKENS[:41].tolist()
    assert found.text.other.tolist() == TOKENS[-41:].tolist()
    assert found.text.bos_id == 1
    assert found.text.target_bytes.shape == (40,)
    assert shard_text(shard, toy_tokenizer).text.targets == TOKENS.size // 2 - 1
    data = tmp_path / "data"
    data.mkdir()
    write_data_folder(data, val=[TOKENS[:50], TOKENS[50:]], tokenizer=toy_tokenizer)
    of_folder = shard_text(data, None, targets=60)
    assert of_folder.text.tokens.tolist() == TOKENS[:61].tolist()[: of_folder.text.targets + 1]
    assert {path.name for path in of_folder.files} == {
        "fineweb_val_000000.bin",
        "fineweb_val_000001.bin",
        "fineweb_train_000000.bin",
    }


def test_what_is_declared_reaches_the_subject(shard, folder, toy_tokenizer):
    text = shard_text(shard, toy_tokenizer, targets=40)
    declared = declared_by(["documents_apart=true", "chunk_targets=8", "order=file"])
    with tried_program(["python", "scorer.py"], text, folder=folder, declared=declared) as tried:
        assert (tried.subject.declared.documents_apart, tried.subject.declared.chunk_targets) == (True, 8)
        assert list(tried.subject.variants) == ["PYTHONHASHSEED=1"]
