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
from pgolf.audit.tried_program import declared_by, shard_text, tried_program
from pgolf.audit.verdict import Cost, Verdict, failed, inconclusive, not_applicable, passed
from pgolf.corpus.shards import write_shard
from tests.data_folder import VOCAB_SIZE, write_data_folder

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


def test_a_program_passes_and_reads_no_copy_of_the_text(shard, folder, toy_tokenizer, capsys):
    shutil.copy(shard, folder / "looks like weights.pt")
    words = ["audit", "--exec", "python scorer.py", "--folder", str(folder), "--tokens", str(shard), "--targets", "48"]
    exit_code = main([*words, "--tokenizer", str(toy_tokenizer), "--json"])
    output, errors = capsys.readouterr()
    found = json.loads(output)
    assert (exit_code, found["outcome"]) == (0, "pass"), [one for one in found["verdicts"] if one["outcome"] == "fail"]
    assert {one["number"] for one in found["verdicts"]} >= {f"B{number}" for number in range(12)}
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
    monkeypatch.setattr(audit_command, "audit", lambda *_, **__: undecided)
    words = ["audit", "--exec", "python scorer.py", "--folder", str(folder), "--tokens", str(shard)]
    assert main([*words, "--tokenizer", str(toy_tokenizer)]) == 3
    assert "what would settle it: more" in capsys.readouterr().out


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
    ],
)
def test_misuse_ends_with_one_line_before_anything_runs(shard, folder, toy_tokenizer, capsys, change, said):
    given = {"--exec": "python scorer.py", "--folder": folder, "--tokens": shard, "--tokenizer": toy_tokenizer}
    words = [str(word) for pair in {**given, change[0]: change[1]}.items() for word in pair]
    assert main(["audit", *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


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
