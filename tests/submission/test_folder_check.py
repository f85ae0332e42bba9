"""Invented folders of both shapes that are published, consistent and with each thing wrong that has been seen."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, stdev
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


def with_seeds(
    seeds: Mapping[int, tuple[str, str, int]] = SEEDS, script: str = SCRIPT, code: int | None = None
) -> Folder:
    """As the packed ones: results per seed, a table, exact numbers. code: bytes of it as its author counts them."""
    code = len(script) if code is None else code
    loss_of, bpb_of = ([float(one[column]) for one in seeds.values()] for column in (0, 1))
    results = {
        str(seed): {
            "val_loss": float(loss),
            "val_bpb": float(bpb),
            "artifact_bytes": model,
            "code_bytes": code,
            "total_bytes": model + code,
            "steps": 4550 + seed,
            "step_avg_ms": 129.2,
            "train_time_s": 588.05,
            "eval_time_s": 487.5,
        }
        for seed, (loss, bpb, model) in seeds.items()
    }
    rows = "\n".join(
        f"| {seed} | {float(loss):.4f} | 1.0886 | **{float(bpb):.5f}** | {model + code:,} | {4550 + seed:,} |"
        for seed, (loss, bpb, model) in seeds.items()
    )
    return {
        "train_gpt.py": script,
        "submission.json": {
            "author": "A. Nobody",
            "github_id": "anobody",
            "name": "Invented",
            "date": "2026-04-01",
            "val_bpb": round(mean(bpb_of), 5),
            "val_bpb_std": round(stdev(bpb_of), 8),
            "seeds": list(seeds),
            "seed_results": results,
            "bytes_total": max(model for _, _, model in seeds.values()) + code,
            "bytes_code": code,
        },
        "README.md": f"# Invented\n\n**val_bpb = {mean(bpb_of):.4f}** (mean of {len(seeds)} seeds)\n\n"
        "| Seed | Loss (nats) | Sliding BPP | **BPB** | Total bytes | Steps |\n|---|---|---|---|---|---|\n"
        f"{rows}\n| **Mean** | {mean(loss_of):.4f} | | **{mean(bpb_of):.5f}** | | |\n",
        **{
            f"train_seed{seed}.log": f"  seed: {seed}\nstep:100/20000 val_loss:3.1234 val_bpb:1.2345\n"
            f"step:{4550 + seed}/20000 val_loss:2.81 val_bpb:1.0886 train_time:588047ms step_avg:129.24ms\n"
            f"stopping_early: wallclock_cap train_time:588047ms step:{4550 + seed}/20000\n"
            "quantized_sliding val_loss:2.8119 val_bpb:1.08860300 eval_time:121000ms\n"
            f"Serialized model: {model:,} bytes\nCode size: {code} bytes\n"
            f"Total submission size: {model + code:,} bytes\n"
            f"quantized_ttt val_loss:{loss} val_bpb:{bpb} eval_time:366500ms\n"
            for seed, (loss, bpb, model) in seeds.items()
        },
    }


def single() -> Folder:
    """As the older ones: one result, rounded, and nothing per seed."""
    made = with_seeds()
    about = made["submission.json"]
    made["README.md"] = made["README.md"].replace("val_bpb = 1.0809", "val_bpb: 1.0808")
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
        (folder / name).parent.mkdir(exist_ok=True)
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
        "code bytes",
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


def in_package(made: Folder) -> None:
    made["train_gpt.py"] += "from tables.ngrams import look_up\n"
    made["tables/ngrams.so"] = "#" * 30_000


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
    "steps": (in_seed(steps=4593), ["seed_results[42].steps says 4,593, train_seed42.log 4,592"]),
    "a digit of a step": (in_seed(step_avg_ms=129.3), ["[42].step_avg_ms says 129.3, train_seed42.log 129.24"]),
    "seconds of training": (in_seed(train_time_s=588.06), ["says 588.06, train_seed42.log 588.047"]),
    "seconds of evaluation": (in_seed(eval_time_s=366.4), ["eval_time_s says 366.4, train_seed42.log 366.500"]),
    "bytes of a model": (
        in_seed(artifact_bytes=15_975_200, code_bytes=CODE + 100),
        ["artifact_bytes says 15,975,200", f"code_bytes says {CODE + 100:,}, train_seed42.log {CODE:,}"],
    ),
    "another score of the seed": (
        in_seed(sliding_val_bpb=1.08861),
        ["seed_results[42].sliding_val_bpb says 1.08861, train_seed42.log 1.08860300"],
    ),
    "steps in the README": (
        replaced("README.md", "4,592", "4,591"),
        ["seed_results[42].steps says 4,592, README.md, row of seed 42, 4,591"],
    ),
    "a column of the README": (
        replaced("README.md", "2.7918 | 1.0886", "2.7918 | 1.0885"),
        ["README.md, row of seed 42, sliding bpp, says 1.0885, submission.json and log 1.0886"],
    ),
    "a mean in the README": (
        replaced("README.md", "**1.08091**", "**1.08093**"),
        ["README.md, bpb, has mean 1.08093, that of its 2 seeds is 1.08091"],
    ),
    "what the README begins with": (
        replaced("README.md", "1.0809**", "1.0808**"),
        ["val_bpb says 1.08091, README.md begins with 1.0808"],
    ),
    "the log of another seed": (
        lambda made: made.update({"train_seed7.log": made["train_seed42.log"]}),
        ["train_seed7.log is of seed 42, as it says itself", "is the same text as train_seed7.log"],
    ),
    "a slow training": (
        in_seed(train_time_s=607.1),
        ["seed 42: training took 607.1 s of 600"],
    ),
    "evaluations that are slow together": (
        replaced("train_seed7.log", "eval_time:121000ms", "eval_time:321000ms"),
        ["seed 7: evaluation took 687.500 s of 600"],
    ),
    "a score that is no code length": (
        replaced("train_seed42.log", "quantized_ttt ", "hashed  legacy: no code length  "),
        ["seed 42: val_bpb 1.08079352 is of a scorer that train_seed42.log calls no code length"],
    ),
    "a seed named twice": (in_json(seeds=[42, 7, 7]), ["seeds names 7 2 times"]),
    "a seed that is not named": (in_json(seeds=[42]), ["seed 7 has seed_results and is not among seeds"]),
    "seeds without results": (in_json(seed_results={}), ["seed 42 is declared and has no seed_results"]),
    "a result without a score": (in_seed(val_bpb=None), ["seed_results[42] has no val_bpb"]),
    "its own word that it breaks a rule": (
        in_json(track="10min_16mb", compliance={"causal": False}),
        ["compliance.causal is false, and track does not say that it is no record"],
    ),
    "a package that is not counted": (
        in_package,
        ["over 16,000,000, tables/ngrams.so counted (30,000 bytes)"],
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
        lambda made: made.update({"train_seed7.log": "step:100/20000 val_loss:3.1 val_bpb:1.2\ndone\n"}),
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
    "a field twice": (
        lambda made: made.update({"submission.json": '{"val_bpb": 1.0, "val_bpb": 1.1}'}),
        ["'val_bpb' stands twice in one object"],
    ),
    **{
        f"a number like {text[:9]}": (
            lambda made, text=text: made.update({"submission.json": f'{{"val_bpb": {text}}}'}),
            ["is a number out of all proportion"],
        )
        for text in ("1e999999999", "1e-400000", "9" * 5000, "1." + "0" * 5000)
    },
    "seeds in other digits": (
        in_json(seed_results={"²": {"val_bpb": 1.0}, "01": {"val_bpb": 1.0}}),
        ["seed_results has '²'", "seed_results has '01'"],
    ),
    "no day": (in_json(date="2026-13-45"), ["date is '2026-13-45', YYYY-MM-DD is expected"]),
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


LONG = {
    "train_seed42.log": [
        *("step" + " " * 300_000, f"bytes {'1' * 300_000}x1", f"size {'9,' * 100_000}", f"val_bpb:1.{'1' * 300_000}"),
        "val_bpb:1.0e-99999999999999999999",
    ],
    "README.md": [f"|{' ' * 300_000}1 |", "|---|", f"| 42 | {'1' * 300_000}x1 |", "<<FILL IN: " * 100_000],
}


@pytest.mark.parametrize("name", LONG)
def test_no_line_of_others_is_too_long_to_be_read(tmp_path, name):
    made = with_seeds()
    made[name] = "\n".join([*LONG[name], made[name]])
    assert wrong_in(write(tmp_path / "one", made)) == []


def test_what_others_shells_write_is_read_as_it_is_meant(tmp_path):
    made = with_seeds()
    folder = write(tmp_path / "one", made)
    (folder / "train_seed42.log").write_text(made["train_seed42.log"].replace("\n", "\r\n"), encoding="utf-16")
    (folder / "train_seed7.log").write_text(made["train_seed7.log"], encoding="utf-8-sig")
    assert wrong_in(folder) == []


def test_a_result_that_is_not_the_last_of_its_log_is_said(tmp_path):
    made = with_seeds()
    made["train_seed42.log"] += "diagnostic val_loss:2.9 val_bpb:1.2\n"
    [found] = [one for one in check_folder(read_folder(write(tmp_path / "one", made))) if one.name == "score"]
    assert found.passed is None
    assert found.said == "seed 42: val_bpb 1.08079352 is not the last score of train_seed42.log, which is 1.2"


def test_who_says_that_it_is_no_record_may_break_its_rules(tmp_path):
    made = with_seeds()
    made["train_seed7.log"] = made["train_seed7.log"].replace("eval_time:121000ms", "eval_time:321000ms")
    in_json(track="track_non_record_16mb", compliance={"eval_within_600_s": False})(made)
    made["submission.json"]["seed_results"]["7"]["eval_time_s"] = 687.5
    assert wrong_in(write(tmp_path / "one", made)) == []


def test_a_single_result_is_held_against_its_logs(tmp_path):
    made = single()
    made["submission.json"]["val_bpb"] = 1.0807
    assert wrong_in(write(tmp_path / "one", made)) == [
        "submission.json val_bpb says 1.0807, README.md begins with 1.0808",
        "submission.json val_bpb says 1.0807, the logs' 1.08079352",
    ]


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


def test_a_tokenizer_that_the_script_names_is_data_and_what_only_bears_its_name_is_code(tmp_path, toy_tokenizer):
    made = with_seeds()
    made["train_gpt.py"] += '\nMODEL = "data/own.model"\n'
    about = made["submission.json"]
    about["bytes_code"] += len('\nMODEL = "data/own.model"\n')
    folder = write(tmp_path / "one", made)
    (folder / "own.model").write_bytes(Path(toy_tokenizer).read_bytes())
    size = (folder / "own.model").stat().st_size
    (found,) = (one for one in check_folder(read_folder(folder)) if one.name == "bytes")
    assert (found.passed, f"tokenizer own.model not counted ({size:,} bytes)" in found.said) == (True, True), found.said
    (folder / "own.model").write_bytes(b"weights" * 100_000)
    found = [one for one in check_folder(read_folder(folder)) if one.name == "bytes"]
    assert all("own.model counted (700,000 bytes)" in one.said and not one.passed for one in found), found


def test_the_command_says_by_its_exit_code_what_it_found(tmp_path, capsys):
    folder = write(tmp_path / "one", with_seeds())
    assert cli.main(["check-submission", str(folder)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "- clean room    not run: --data DIR names the shards to evaluate on" in shown
    assert shown[-1] == "9 checks passed, 0 things wrong, 1 not judged"
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
