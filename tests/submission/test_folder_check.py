"""Invented folders of both shapes that are published, consistent and with each thing wrong that has been seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.commands import cli
from pgolf.errors import ConfigError
from pgolf.submission.folder_check import check_folder
from pgolf.submission.folder_files import read_folder

# seed -> val_loss, val_bpb, model bytes
SEEDS = {42: ("2.79180191", "1.08079352", 15_975_300), 7: ("2.79241542", "1.08103103", 15_976_325)}
SCRIPT = "import os\nimport torch\n" + "# padding\n" * 100
CODE = len(SCRIPT)

Folder = dict[str, Any]


def with_seeds() -> Folder:
    """As the packed ones: results per seed, a table, exact numbers."""
    results = {
        str(seed): {
            "val_loss": float(loss),
            "val_bpb": float(bpb),
            "artifact_bytes": model,
            "code_bytes": CODE,
            "total_bytes": model + CODE,
        }
        for seed, (loss, bpb, model) in SEEDS.items()
    }
    rows = "\n".join(
        f"| {seed} | {float(loss):.4f} | **{float(bpb):.5f}** | {model + CODE:,} |"
        for seed, (loss, bpb, model) in SEEDS.items()
    )
    return {
        "train_gpt.py": SCRIPT,
        "submission.json": {
            "author": "A. Nobody",
            "github_id": "anobody",
            "name": "Invented",
            "date": "2026-04-01",
            "val_bpb": 1.08091,
            "val_bpb_std": 0.00016794,
            "seeds": [42, 7],
            "seed_results": results,
            "bytes_total": 15_976_325 + CODE,
            "bytes_code": CODE,
        },
        "README.md": f"# Invented\n\n| Seed | Loss (nats) | **BPB** | Total bytes |\n|---|---|---|---|\n{rows}\n",
        **{
            f"train_seed{seed}.log": "step:100/4550 val_loss:3.1234 val_bpb:1.2345\n"
            f"Serialized model: {model:,} bytes\nCode size: {CODE} bytes\n"
            f"Total submission size: {model + CODE:,} bytes\n"
            f"quantized_ttt val_loss:{loss} val_bpb:{bpb} eval_time:1ms\n"
            for seed, (loss, bpb, model) in SEEDS.items()
        },
    }


def single() -> Folder:
    """As the older ones: one result, rounded, and nothing per seed."""
    made = with_seeds()
    about = made["submission.json"]
    made["submission.json"] = {
        **{name: about[name] for name in ("author", "github_id", "name", "date")},
        "val_bpb": 1.0808,
        "bytes_total": 15_975_300 + CODE,
        "bytes_code": CODE,
    }
    return made


def write(folder: Path, made: Folder) -> Path:
    folder.mkdir()
    for name, content in made.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def wrong_in(folder: Path) -> list[str]:
    return [one.said for one in check_folder(read_folder(folder)) if one.passed is False]


@pytest.mark.parametrize("shape", [with_seeds, single])
def test_a_consistent_folder_of_either_shape_has_nothing_wrong(tmp_path, shape):
    found = check_folder(read_folder(write(tmp_path / "one", shape())))
    assert [one.said for one in found if not one.passed] == []
    assert {one.name for one in found} == {
        "files",
        "json",
        "script",
        "seeds",
        "numbers",
        "clocks",
        "bytes",
        "requirements",
    }


def in_json(**fields: Any) -> Callable[[Folder], None]:
    return lambda made: made["submission.json"].update(fields)


def in_seed(**fields: Any) -> Callable[[Folder], None]:
    return lambda made: made["submission.json"]["seed_results"]["42"].update(fields)


def replaced(name: str, old: str, new: str) -> Callable[[Folder], None]:
    def spoil(made: Folder) -> None:
        assert old in made[name]
        made[name] = made[name].replace(old, new)

    return spoil


def without(*names: str) -> Callable[[Folder], None]:
    def spoil(made: Folder) -> None:
        for name in names:
            made.pop(name)

    return spoil


def helper(made: Folder) -> None:
    made["train_gpt.py"] += "import ngrams\n"
    made["ngrams.py"] = "#" * 30_000


# What is spoiled, and what must be said, with both numbers where there are two.
WRONG: dict[str, tuple[Callable[[Folder], None], list[str]]] = {
    "a digit of a seed's bpb": (
        in_seed(val_bpb=1.08079353),
        ["seed_results[42].val_bpb says 1.08079353, train_seed42.log 1.08079352"],
    ),
    "a digit of a seed's loss": (
        in_seed(val_loss=2.79180291),
        ["seed_results[42].val_loss says 2.79180291, train_seed42.log 2.79180191"],
    ),
    "a digit of the mean": (in_json(val_bpb=1.08092), ["val_bpb says 1.08092, the mean of its 2 seeds is 1.08091228"]),
    "a digit of the deviation": (
        in_json(val_bpb_std=0.00011876),  # the population's
        ["val_bpb_std says 0.00011876, the sample standard deviation of its seeds is 0.00016794"],
    ),
    "a digit in the README": (
        replaced("README.md", "1.08079", "1.08078"),
        ["seed_results[42].val_bpb says 1.08079352, README.md, row of seed 42, 1.08078"],
    ),
    "bytes in the README": (
        replaced("README.md", f"{15_976_325 + CODE:,}", "15,977,000"),
        ["README.md, row of seed 7, says 15,977,000 bytes"],
    ),
    "bytes in the log": (
        replaced("train_seed7.log", f"{15_976_325 + CODE:,}", f"{15_976_325 + CODE + 36:,}"),
        [f"bytes together, says {15_976_325 + CODE:,}, train_seed7.log {15_976_325 + CODE + 36:,}"],
    ),
    "bytes of the script": (
        in_json(bytes_code=CODE - 831),
        [f"bytes_code says {CODE - 831:,}, train_gpt.py has {CODE:,} bytes on disk"],
    ),
    "the largest seed": (in_json(bytes_total=15_975_300 + CODE), ["bytes_total says", "its largest seed, 7,"]),
    "a sum": (in_seed(total_bytes=15_975_301 + CODE), [f"total_bytes says {15_975_301 + CODE:,}, its code and model"]),
    "over the cap": (
        in_seed(artifact_bytes=16_300_000, total_bytes=16_300_000 + CODE),
        [f"seed 42: {16_300_000 + CODE:,} bytes, {300_000 + CODE:,} over 16,000,000"],
    ),
    "a helper that is not counted": (
        helper,
        ["seed 7: 16,007,", "over 16,000,000, ngrams.py counted (30,000 bytes)"],
    ),
    "no logs": (without("train_seed42.log", "train_seed7.log"), ["no log of a seed", "no train_seed42.log of seed 42"]),
    "a log missing": (without("train_seed7.log"), ["no train_seed7.log of seed 7"]),
    "a seed dropped": (in_json(seeds=[42, 7, 1337]), ["seed 1337 is declared and has no seed_results"]),
    "a seed not named": (
        lambda made: made.update({"train_seed99.log": "val_bpb:1.05\n"}),
        ["train_seed99.log is of a seed that submission.json does not name"],
    ),
    "a log without a score": (
        replaced("train_seed7.log", "val_bpb:1.08103103", "done"),
        ["train_seed7.log has no val_bpb"],
    ),
    "no JSON": (without("submission.json"), ["no submission.json"]),
    "half a JSON": (
        lambda made: made.update({"submission.json": '{"author": '}),
        ["submission.json cannot be read as JSON"],
    ),
    "a list": (lambda made: made.update({"submission.json": "[1]"}), ["holds no object"]),
    "not a number": (lambda made: made.update({"submission.json": '{"val_bpb": NaN}'}), ["NaN is no number of JSON"]),
    "text for a number": (in_json(val_bpb="1.08"), ["val_bpb is '1.08', a number is expected"]),
    "no author": (lambda made: made["submission.json"].pop("author"), ["no field author"]),
    "another date": (in_json(date="April"), ["date is 'April', YYYY-MM-DD is expected"]),
    "results as a list": (in_json(seed_results=[1]), ["seed_results is [1], an object is expected"]),
    "no program": (
        lambda made: made.update({"train_gpt.py": "def broken(:\n"}),
        ["train_gpt.py, line 1 does not compile"],
    ),
    "an import that is not named": (
        lambda made: made.update({"train_gpt.py": SCRIPT + "import zstandard\n"}),
        ["imports zstandard, which no requirements.txt names"],
    ),
}


def test_what_a_packed_script_imports_is_not_judged_unless_it_runs(tmp_path):
    made = with_seeds()
    code = 'import bz2\nexec(bz2.decompress(b""))\n'
    made["train_gpt.py"] = code + "#" * (CODE - len(code))
    found = {one.name: one for one in check_folder(read_folder(write(tmp_path / "folder", made)))}
    assert found["requirements"].passed is None
    assert "seen where it runs (--data)" in found["requirements"].said


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found_and_both_numbers_are_said(tmp_path, what):
    spoil, says = WRONG[what]
    made = with_seeds()
    spoil(made)
    said = "\n".join(wrong_in(write(tmp_path / "one", made)))
    for part in says:
        assert part in said


def test_a_single_result_is_held_against_its_logs(tmp_path):
    made = single()
    made["submission.json"]["val_bpb"] = 1.0807
    assert wrong_in(write(tmp_path / "one", made)) == ["submission.json val_bpb says 1.0807, the logs' 1.08079352"]


def test_gaps_are_named_and_are_no_fault(tmp_path):
    made = with_seeds()
    made["submission.json"]["author"] = "<<FILL IN: author>>"
    made["README.md"] += "\n<<FILL IN: what is new>>\n"
    (gap,) = (one for one in check_folder(read_folder(write(tmp_path / "one", made))) if one.passed is not True)
    assert (gap.name, gap.passed, gap.said) == ("gaps", None, "left to the author: author, 1 in README.md")


def test_a_model_on_disk_counts_and_is_held_against_the_json(tmp_path):
    folder = write(tmp_path / "one", with_seeds())
    models = tmp_path / "one.models"
    models.mkdir()
    with (models / "model_seed42.pgolf").open("wb") as file:
        file.truncate(15_999_999)
    assert wrong_in(folder) == [
        "submission.json seed_results[42].artifact_bytes says 15,975,300, model_seed42.pgolf has 15,999,999 bytes on "
        "disk",
        f"seed 42: {15_999_999 + CODE:,} bytes, {CODE - 1:,} over 16,000,000",
    ]


def test_the_command_says_by_its_exit_code_what_it_found(tmp_path, capsys):
    folder = write(tmp_path / "one", with_seeds())
    assert cli.main(["check-submission", str(folder)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "- clean room    not run: --data DIR names the shards to evaluate on" in shown
    assert shown[-1] == "8 checks passed, 0 things wrong, 1 not judged"
    (folder / "train_seed7.log").unlink()
    assert cli.main(["check-submission", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["failed"], [one["said"] for one in told["findings"] if one["passed"] is False]) == (
        1,
        ["no train_seed7.log of seed 7"],
    )
    (folder / "train_seed7.log").symlink_to("/etc/passwd")
    assert cli.main(["check-submission", str(folder)]) == 2
    assert "train_seed7.log is a symbolic link to /etc/passwd" in capsys.readouterr().err
    assert cli.main(["check-submission", str(tmp_path / "none")]) == 2


def test_a_folder_of_more_files_than_a_submission_has_is_not_read_to_its_end(tmp_path):
    folder = write(tmp_path / "one", with_seeds())
    for number in range(1001):
        (folder / f"{number}.txt").touch()
    with pytest.raises(ConfigError, match="more than 1,000 files"):
        read_folder(folder)
