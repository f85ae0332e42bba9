"""What a recipe changes, and what a run is called that nobody named."""

import json

import pytest

from flows.commands.arguments import recipe_of
from flows.commands.cli import parser
from pgolf.errors import ConfigError
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.changed import changed_settings, default_name
from pgolf.recipes.overrides import apply_overrides


def asked(*words):
    return recipe_of(parser(["run", *words]).parse_args(["run", *words]))


@pytest.mark.parametrize(
    ("overrides", "changed", "name"),
    [
        ([], {}, "demo"),
        (["seeds=5", "tags=a,b", "notes=x", "train.steps=120"], {}, "demo"),
        (["model.gated_attention=false"], {"model.gated_attention": False}, "demo gated_attention=false"),
        (["mix.alphas=0,0.5"], {"mix.alphas": [0.0, 0.5]}, "demo alphas=0.0,0.5"),
        (
            ["train.steps=9", "train.warmdown_steps=3"],
            {"train.steps": 9, "train.warmdown_steps": 3},
            "demo steps=9 warmdown_steps=3",
        ),
        (
            ["train.steps=9", "train.warmdown_steps=3", "train.priming_steps=0", "train.muon_lr=0.1"],
            {"train.steps": 9, "train.warmdown_steps": 3, "train.priming_steps": 0, "train.muon_lr": 0.1},
            "demo with 4 settings changed",
        ),
    ],
)
def test_a_run_of_a_recipe_of_pgolf_is_called_by_what_it_changes(overrides, changed, name):
    recipe = apply_overrides(recipe_named("demo"), overrides)
    assert changed_settings(recipe) == changed
    assert default_name(recipe) == name
    words = [word for text in overrides for word in ("--set", text)]
    assert (asked("demo", *words).run_name or "demo") == name


def test_a_section_that_only_one_has_is_one_setting():
    recipe = apply_overrides(recipe_named("demo"), ["hint.orders=3"])
    assert list(changed_settings(recipe)) == ["hint"]
    assert changed_settings(recipe)["hint"]["orders"] == [3]


def test_a_run_of_a_file_is_called_as_the_file_with_what_the_command_changes(tmp_path):
    (tmp_path / "wide.toml").write_text('base = "demo"\n[model]\nwidth = 160\nheads = 4\n')
    file = str(tmp_path / "wide.toml")
    assert default_name(asked(file)) == "wide"
    assert asked(file).base == "demo"
    assert asked(file, "--set", "train.steps=9").run_name == "wide steps=9"
    named = asked(file, "--set", "train.steps=9", "--name", "no gate", "--tag", "a", "--tag", "b", "--note", "why")
    assert (named.run_name, named.tags, named.notes) == ("no gate", ("a", "b"), "why")
    (tmp_path / "wide.toml").write_text('base = "demo"\nrun_name = "mine"\nnotes = "kept"\n')
    assert (asked(file, "--set", "train.steps=9").run_name, asked(file).notes) == ("mine", "kept")


@pytest.mark.parametrize("name", ["-x", " x", "x\x1b[0m", "x" * 201, ""])
def test_a_name_that_nobody_can_type_is_refused(name):
    with pytest.raises(ConfigError, match=r"cannot be typed as a name|a name 200 at most|at least one character"):
        asked("demo", f"--name={name}")


def test_changes_are_plain_data_whatever_they_nest():
    recipe = apply_overrides(recipe_named("demo"), ['mix.bayes=[{"share_rate": 0.01}]', "mix.also=[{}]"])
    changed = changed_settings(recipe)
    assert json.loads(json.dumps(changed)) == changed
    assert changed["mix.bayes"][0]["share_rate"] == 0.01
    assert default_name(recipe)
