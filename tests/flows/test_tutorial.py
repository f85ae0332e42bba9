"""Every command of docs/tutorial.md, in its order, in one folder; the demo is a tiny one, and runs without Prefect."""

import re
import shlex
from pathlib import Path

from flows.commands.cli import COMMANDS, main
from pgolf.recipes.catalog import RECIPES
from tests.tiny import tiny_recipe, write_documents

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial.md"
# As the demo's grid: its largest weight is the best, and larger ones are better.
LIKE_THE_DEMO = ("seeds=1,2,3", "count.orders=2,3,4,5", "mix.alphas=0.2,0.4", "mix.orders=[5]", "headline.order=5")
RUNS_STAGES = ("run", "sweep", "plan")


def commands():
    blocks = re.findall(r"```console\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_command_of_the_tutorial_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = tiny_recipe(*LIKE_THE_DEMO)
    monkeypatch.setitem(RECIPES, "demo", lambda: small)
    monkeypatch.setattr("pgolf.pipeline.pages.draw_run", lambda *_, **__: None)  # pictures: tests/report
    write_documents(tmp_path, count=90)
    said = {}
    for command in commands():
        program, *words = shlex.split(command)
        assert program == "pgolf"
        more = ["--documents", "docs.jsonl"] if words[0] in RUNS_STAGES else []
        more += ["--no-prefect"] if words[0] in ("run", "sweep") else []
        assert main([*words, *more]) == 0, command
        said[command] = capsys.readouterr().out
    answers = [out.splitlines()[0] for command, out in said.items() if command.startswith("pgolf compare")]
    assert [answer.split(" by ")[0] for answer in answers] == [
        "wider is better than demo",
        "mine is better than demo",
        "mine-5 is better than base-5",
    ]
    assert all(float(re.search(r"p\(gain > 0\.005\) = ([\d.e-]+)", answer)[1]) < 0.01 for answer in answers)
    assert "mine-5 is better than base-5" in (tmp_path / "decision.html").read_text()
    assert "mine" in said["pgolf results --tag idea"]
    assert "headline.alpha" in said["pgolf show heavier-counts"]


def test_the_tutorial_names_commands_that_there_are():
    assert {command.split()[1] for command in commands()} <= set(COMMANDS)
