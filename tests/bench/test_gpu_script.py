"""bench/gpu.sh: its parts and their limits with a stand-in for Python, its commands at toy size, and what is filed."""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import filed, score_speed, train_step
from bench.measured import Line, Report
from bench.timing import Spread
from flows.commands.cli import main as pgolf

SCRIPT = Path(bench.ROOT) / "bench/gpu.sh"
RESULT = Report(
    title="training step, pr792",
    about="whole steps",
    command="python -m bench train_step --recipe pr792 --json",
    device="NVIDIA H100, torch 2.13.0",
    date="2026-01-02",
    lines=(Line("step", "ms", Spread(20, 1.0, 2.0, 3.0)),),
)
SELFTEST = {
    "device": "1 × NVIDIA H100, torch 2.13.0",
    "date": "2026-01-02",
    "toy": False,
    "wall_s": 61.0,
    "findings": [
        {"name": "attention", "passed": True, "said": "flash"},
        {"name": "collectives", "passed": None, "said": "skipped: one GPU"},
        {"name": "step pr792", "passed": False, "said": "900 ms | slow"},
    ],
}
HERE = {"command": "python -m bench.codecs --json", "device": "another CPU"}
# Notes what it is asked for, and answers as the part's own environment variable says.
STAND_IN = """#!/bin/bash
if [ "$1" = - ]; then exec {python} "$@"; fi
if [ "$2" = json.tool ]; then exec {python} "$@"; fi
echo "$PYTHONPATH | $*" >> {asked}
case "$*" in
    *selftest*) echo '{selftest}'; exit 1;;
    *pr715*score*|*score*pr715*) echo 'no JSON'; exit 0;;
    *pr745*) echo '{{"half'; sleep 60;;
    *) echo '{{"whole": 1}}';;
esac
"""


@pytest.fixture
def stand_in(tmp_path):
    """Runs the script with a stand-in for Python, and returns what it said, its exit code and what was asked for."""
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(STAND_IN.format(python=sys.executable, asked=asked, selftest='{"findings": []}'))
    python.chmod(0o755)

    def run(*options: str, script: Path = SCRIPT) -> tuple[str, int, list[str]]:
        asked.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "out")}
        done = subprocess.run(
            ["bash", str(script), *options], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stderr, done.returncode, asked.read_text().splitlines() if asked.exists() else []

    return run


def test_every_part_has_its_own_time_and_all_of_them_eight_minutes(stand_in, tmp_path):
    short = tmp_path / "bench" / "gpu.sh"
    short.parent.mkdir()
    text = SCRIPT.read_text()
    parts = [line.split() for line in text.splitlines() if line.strip().startswith("part ")]
    limits_s = {words[1].strip('"'): int(words[2]) for words in parts}
    assert sum(limits_s[name] for name in ("selftest", "score_pr715")) + 3 * limits_s["train_step_$recipe"] + 25 <= 480
    short.write_text(text.replace(f' {limits_s["train_step_$recipe"]} "$python"', ' 1 "$python"'))
    said, code, asked = stand_in(script=short)
    assert code == 1
    assert "train_step_pr745 took longer than 1 s" in said
    assert "not all parts passed: selftest train_step_pr745 score_pr715" in said
    written = {path.name for path in (tmp_path / "out").iterdir()}
    results = {name for name in written if name.endswith(".json")}
    # A selftest that found something, and the parts after the one that hung; no half of a result.
    assert results == {"selftest.json", "train_step_pr715.json", "train_step_pr792.json"}
    assert {name.removesuffix(".log") for name in written - results} == set(limits_s) - {"train_step_$recipe"} | {
        f"train_step_{name}" for name in ("pr715", "pr745", "pr792")
    }
    assert len(asked) == 5


def test_packages_that_this_python_lacks_come_from_wheels_and_all_others_stay(stand_in, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("not_here_at_all-1.0", "pydantic-99.0"):
        with zipfile.ZipFile(wheels / f"{name}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name.partition('-')[0]}/__init__.py", "")
    said, _, asked = stand_in("--toy", "--wheels", str(wheels))
    assert "unpacked not_here_at_all-1.0-py3-none-any.whl" in said
    assert "has pydantic 2." in said
    path = asked[0].partition(" | ")[0]
    assert path.startswith(f"{bench.ROOT}")
    assert path.endswith("/packages"), "behind all else"
    (wheels / "not_here_at_all-1.0-py3-none-any.whl").unlink()
    (wheels / "pydantic-99.0-py3-none-any.whl").unlink()
    said, code, asked = stand_in("--wheels", str(wheels))
    assert (code, asked) == (2, [])
    assert "no wheels in" in said


def test_an_option_that_is_none_is_misuse(stand_in):
    said, code, asked = stand_in("--tiny")
    assert (code, asked) == (2, [])
    assert "no option --tiny; there are --out DIR, --wheels DIR and --toy" in said


def test_at_toy_size_every_command_of_the_script_gives_its_result(stand_in, capsys):
    _, _, asked = stand_in("--toy")
    mains = {"flows.commands.cli": pgolf, "bench.train_step": train_step.main, "bench.score_speed": score_speed.main}
    ran = []
    for line in asked:
        _, module, *arguments = shlex.split(line.partition(" | ")[2])
        if module == "flows.commands.cli":  # names of checks lost their quotes on the way
            arguments = [*arguments[: arguments.index("--only")], "--only", "calibration", "step pr792-tiny"]
        assert mains[module](arguments) == 0
        ran.append(module)
        result = json.loads(capsys.readouterr().out)
        assert result["device"]
        assert result.get("findings") or result["lines"]
    assert set(ran) == set(mains)


def test_results_of_a_gpu_are_filed_with_device_and_date_behind_those_of_this_machine(tmp_path, capsys, monkeypatch):
    page, folder = tmp_path / "page.md", tmp_path / "out"
    folder.mkdir()
    page.write_text(f"{bench.HEAD}\n## of here\n\n`python -m bench.codecs --json` on a CPU, 2026-01-01\n\nrows\n")
    (folder / "train_step_pr792.json").write_text(RESULT.to_json())
    (folder / "selftest.json").write_text(json.dumps(SELFTEST))
    arguments = ["--file", str(folder), "--out", str(page)]
    assert bench.main(arguments) == 0
    text = page.read_text()
    before, sections = filed.split(text)
    assert before.endswith("rows\n")
    assert [*bench.sections_of(before)] == ["codecs"]
    assert [*sections] == [
        "`pgolf selftest` on 1 × NVIDIA H100, torch 2.13.0",
        "`python -m bench train_step --recipe pr792 --json` on NVIDIA H100, torch 2.13.0",
    ]
    assert "| step pr792 | **failed** | 900 ms / slow |" in text
    assert "| collectives | not judged | skipped: one GPU |" in text
    assert "torch 2.13.0, 2026-01-02" in text
    assert bench.main(arguments) == 0
    assert page.read_text() == text, "filed twice is filed once"
    newer = {**SELFTEST, "date": "2026-03-04", "findings": []}
    (folder / "selftest.json").write_text(json.dumps(newer))
    assert bench.main(arguments) == 0
    assert page.read_text().count("## selftest") == 1
    assert "2026-03-04" in page.read_text()
    of_here = Report(**{**{name: getattr(RESULT, name) for name in ("title", "about", "date", "lines")}, **HERE})
    monkeypatch.setattr(bench, "section_of", lambda _name: of_here)
    assert bench.main(["--out", str(page), "--only", "codecs"]) == 0
    after, still = filed.split(page.read_text())
    assert "on another CPU" in after
    assert [*still] == [*sections], "measuring here leaves what was filed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({**SELFTEST, "toy": True}), "of --toy, which measures nothing"),
        ("{}", "no result of bench/gpu.sh"),
        (None, "no results in"),
    ],
)
def test_what_is_no_measurement_is_not_filed(tmp_path, capsys, text, said):
    if text is not None:
        (tmp_path / "selftest.json").write_text(text)
    page = tmp_path / "page.md"
    page.write_text(bench.HEAD)
    assert bench.main(["--file", str(tmp_path), "--out", str(page)]) == 2
    assert said in capsys.readouterr().err
    assert page.read_text() == bench.HEAD


def test_a_page_without_filed_results_stays_as_it_was():
    assert filed.split(bench.HEAD) == (bench.HEAD, {})
    assert filed.joined(bench.HEAD, {}) == bench.HEAD
