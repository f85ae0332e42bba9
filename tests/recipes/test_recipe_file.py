"""Recipes in files of one's own: what they say is what runs, and what is wrong in them is said with file and field."""

import re
from pathlib import Path

import pytest

from flows.commands.cli import main
from pgolf.errors import ConfigError
from pgolf.pipeline.graph import pipeline
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.grid_text import with_grid
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import find_recipe, recipe_from_file
from pgolf.recipes.recipe_text import recipe_text
from tests.tiny import TINY

SMALL_1493 = Path(__file__).parents[2] / "docs/examples/small1493.toml"


def named(recipe: Recipe, name: str) -> Recipe:
    return recipe.model_copy(update={"name": name})


def test_a_file_changes_what_it_names_and_leaves_the_rest(tmp_path):
    (tmp_path / "My Wide_one.toml").write_text(
        """
base = "pr792-tiny"
seeds = [1, 2]
description = "none"
[train]
steps = 12
clock_limit_s = "none"
[mix]
alphas = "0:0.2:0.1"
[hint]
orders = "3..5"
"""
    )
    expected = apply_overrides(
        recipe_named("pr792-tiny"),
        ["seeds=1,2", "description=none", "train.steps=12", "train.clock_limit_s=null", "mix.alphas=0,0.1,0.2"],
    )
    window = {name: getattr(expected.score, name) for name in ("window", "stride", "tail")}
    found = find_recipe(str(tmp_path / "My Wide_one.toml"))
    assert found.hint is not None
    assert found.hint.model_dump(include=window.keys()) == window
    assert found.hint.orders == (3, 4, 5)
    assert found == named(expected, "my-wide-one").model_copy(update={"hint": found.hint})


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_of_a_recipe_is_read_back_whole(name, tmp_path):
    recipe = recipe_named(name)
    text = recipe_text(recipe, recipe, "my.toml")
    (tmp_path / "my.toml").write_text(text)
    assert recipe_from_file(tmp_path / "my.toml") == named(recipe, "my")
    # Every comment that sets something, taken in: each value has a form that is read as itself.
    (tmp_path / "all.toml").write_text(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    assert recipe_from_file(tmp_path / "all.toml") == named(recipe, "all")


@pytest.mark.parametrize(
    "override",
    [
        *("notes=hello", 'notes=a\nb \x7f 😀 "', "tags=a,b", "run_name=mine", "name=other", "description=d"),
        *("seeds=7", "estimators=exact", "hint=null", "score.ttt=null", "train.clock_limit_s=null", "hint.orders=3"),
    ],
)
def test_new_writes_whatever_is_set(override, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for base in ("demo", "pr745-tiny", "pr761-tiny"):
        assert main(["new", f"{base}.x.toml", "--from", base, "--set", override]) == 0
        found, asked = recipe_from_file(tmp_path / f"{base}.x.toml"), apply_overrides(recipe_named(base), [override])
        assert named(found, "x") == named(asked, "x")
        assert (found.name == "other") == override.startswith("name=")


def test_a_file_can_be_what_a_new_one_stands_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    assert main(["new", "deep/one.toml", "--set", "train.steps=7"]) == 0
    assert main(["new", "two.toml", "--from", "deep/one.toml", "--set", "seeds=3"]) == 0
    assert main(["new", "deep/three.toml", "--from", "two.toml"]) == 0
    found = recipe_from_file(tmp_path / "deep/three.toml")
    assert (found.name, found.train.steps, found.seeds) == ("three", 7, (3,))
    assert main(["new", "hinted.toml", "--set", "hint.orders=3"]) == 0
    assert main(["new", "plain.toml", "--from", "hinted.toml", "--set", "hint=null"]) == 0
    assert (find_recipe("hinted.toml").hint is None, find_recipe("plain.toml").hint is None) == (False, True)
    assert 'base = "../two.toml"' in (tmp_path / "deep/three.toml").read_text()
    capsys.readouterr()
    assert main(["new", "four.toml", "--set", "base=pr715"]) == 2
    assert "chosen with --from pr715" in capsys.readouterr().err
    assert not (tmp_path / "four.toml").exists()


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "bom.toml").write_bytes(b'\xef\xbb\xbfbase = "demo"\n')
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbffrom pgolf.recipes.catalog import demo as recipe\n")
    (tmp_path / "grid.toml").write_bytes(b'\xef\xbb\xbf[[product]]\nalpha = "0:0.5:0.5"\norder = 3\n')
    assert recipe_from_file(tmp_path / "bom.toml").name == "bom"
    assert recipe_from_file(tmp_path / "bom.py").name == "demo"
    assert with_grid(recipe_named("demo"), [], tmp_path / "grid.toml")[0].mix.alphas == (0.0, 0.5)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        *(
            ("Ünï", "uni"),
            ("Crème brûlée", "creme-brulee"),
            ("x_2", "x-2"),
            ("日本", None),
            ("demo 日本", None),
            ("7", None),
        )
    ],
)
def test_a_file_s_name_keeps_its_letters_or_is_refused(stem, name, tmp_path):
    path = tmp_path / f"{stem}.toml"
    path.write_text('base = "demo"\n')
    if name is not None:
        assert recipe_from_file(path).name == name
        return
    with pytest.raises(ConfigError, match=r'a to z, 0 to 9 and -, a letter first; add name = "my-'):
        recipe_from_file(path)
    path.write_text('base = "demo"\nname = "my-own"\n')
    assert recipe_from_file(path).name == "my-own"


def test_a_program_that_says_no_name_is_named_after_its_file(tmp_path):
    code = "import pgolf\ndef recipe(): return pgolf.apply_overrides(pgolf.recipe_named('demo'), {})\n"
    for name, made in (("own.py", "own"), ("pr715.py", None)):
        (tmp_path / name).write_text(code.format(["seeds=5"]))
        if made is not None:
            assert recipe_from_file(tmp_path / name).name == made
            continue
        with pytest.raises(ConfigError, match=r'model_copy\(update={"name": "my-pr715"}\)'):
            recipe_from_file(tmp_path / name)
    (tmp_path / "same.py").write_text(code.format([]))
    assert recipe_from_file(tmp_path / "same.py").name == "demo", "it is that"


def test_new_writes_what_differs_and_refuses_to_overwrite(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my.toml", "--from", "pr745-tiny", "--set", "train.steps=7", "--set", "hint.orders=3"]) == 0
    set_here = [line for line in (tmp_path / "my.toml").read_text().splitlines() if re.match(r"\w+ =", line)]
    assert [line.split("  ")[0].strip() for line in set_here][:2] == ['base = "pr745-tiny"', "steps = 7"]
    recipe = apply_overrides(recipe_named("pr745-tiny"), ["train.steps=7", "hint.orders=3"])
    assert recipe_from_file(tmp_path / "my.toml") == named(recipe, "my")
    assert main(["new", "my.toml"]) == 2
    assert main(["new", "my.json"]) == 2
    assert main(["new", "pr715.toml", "--from", "demo"]) == 2
    told = capsys.readouterr().err
    assert "my.toml is there already" in told
    assert "write my.json" not in told
    assert "write my.toml" in told
    assert 'add name = "my-pr715"' in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.toml"]


def test_a_program_is_a_recipe_and_its_code_is_in_no_key(tmp_path):
    body = "def recipe():\n    return apply_overrides(recipe_named('demo'), ['train.steps=7', f'name={NAME}'])\n"
    for text in ("NAME = 'mine'\n", "# another comment, and a helper beside it\nfrom helper_of_recipe import NAME\n"):
        (tmp_path / "helper_of_recipe.py").write_text("NAME = 'other'\n")
        (tmp_path / "my.py").write_text(f"from pgolf import apply_overrides, recipe_named\n{text}{body}")
        found = find_recipe(str(tmp_path / "my.py"))
        same = apply_overrides(recipe_named("demo"), ["train.steps=7"])
        assert named(found, "demo") == same
        assert [node.config for node in pipeline(found)] == [node.config for node in pipeline(same)]


def test_bases_follow_one_another_and_not_in_a_circle(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.toml").write_text('base = "deep/two.toml"\n[train]\nsteps = 5\n')
    (tmp_path / "deep/two.toml").write_text('base = "../three.toml"\n[train]\nsteps = 6\nmuon_lr = 0.5\n')
    (tmp_path / "three.toml").write_text('base = "demo"\nseeds = 3\n')
    found = recipe_from_file(tmp_path / "one.toml")
    assert (found.name, found.train.steps, found.train.muon_lr, found.seeds) == ("one", 5, 0.5, (3,))
    (tmp_path / "three.toml").write_text('base = "./one.toml"\n')
    with pytest.raises(ConfigError, match=r"in a circle \(one\.toml → two\.toml → three\.toml → one\.toml\)"):
        recipe_from_file(tmp_path / "one.toml")


def test_a_circle_through_a_program_is_called_one(tmp_path):
    (tmp_path / "one.toml").write_text('base = "two.py"\n')
    (tmp_path / "two.py").write_text(
        "from pathlib import Path\n"
        "from pgolf.recipes.recipe_file import recipe_from_file\n"
        "def recipe():\n"
        "    return recipe_from_file(Path(__file__).with_name('one.toml'))\n"
    )
    for name, circle in (("one.toml", "one.toml → two.py → one.toml"), ("two.py", "two.py → one.toml → two.py")):
        with pytest.raises(ConfigError, match=rf"in a circle \({circle}\)") as refused:
            recipe_from_file(tmp_path / name)
        assert len(str(refused.value)) < 400 + 2 * len(str(tmp_path))
    (tmp_path / "one.toml").write_text('base = "demo"\n')  # nothing is under way any more
    assert recipe_from_file(tmp_path / "two.py").name == "one"


def test_what_a_program_prints_is_no_output_of_a_command(tmp_path, capsys):
    (tmp_path / "loud.py").write_text(
        "from pgolf.recipes.catalog import demo\nprint('reading')\n"
        "def recipe():\n    print('making')\n    return demo()\n"
    )
    recipe_from_file(tmp_path / "loud.py")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "reading\nmaking\n")


WRONG = {
    "no base": ("seeds = [1]", r'has no base; begin with base = "NAME", one of demo'),
    "an unknown base": ('base = "dmeo"', r"no recipe dmeo; did you mean demo\?"),
    "a base that is no text": ("base = 3", r"base is 3; begin with"),
    "an unknown field": ('base = "demo"\n[train]\nstpes = 3', r"no field train\.stpes; did you mean train\.steps\?"),
    "a field of another section": ('base = "demo"\nsteps = 3', r"no field steps; did you mean train\.steps\?"),
    "a wrong type": ('base = "demo"\n[train]\nsteps = "many"', r"train\.steps: Input should be a valid integer"),
    "a table for a number": ('base = "demo"\n[train.steps]\na = 1', r"train\.steps: Input should be a valid integer"),
    "a number for a section": ('base = "demo"\ntrain = 1', r"train: this is a section \(optim.* \(got 1\)"),
    "yes for a number": ('base = "demo"\n[train]\nsteps = true', r"train\.steps is 120, not yes or no"),
    "a number as text": (
        'base = "demo"\ntrain.steps = "20"',
        r'steps = "20" is text; write steps = 20 without the quo',
    ),
    "numbers as text": ('base = "demo"\nmix.alphas = "0.4,1"', r"write alphas = \[0\.4, 1\] without the quotes"),
    "yes for a seed": ('base = "demo"\nseeds = [true]', r"seeds\.0: Input should be a valid integer \(got True\)"),
    "no seed": ('base = "demo"\nseeds = []', r"seeds: this list has 0 values, and needs at least 1"),
    "seeds twice": ('base = "demo"\nseeds = [1, 1]', r"toml: seeds repeat"),
    "no TOML": ("base = demo", r"is not TOML: Invalid value.*; `pgolf new my-wrong\.toml` writes one that is"),
    "depth": ("a = " + "[" * 5000, r"is not TOML"),
    "no text": (b"base = '\xff'", r"is not TOML"),
    "a name that none can have": ('base = "demo"\nname = "Ä"', r"name: String should match"),
    "a name of pgolf": ('base = "demo"\nname = "pr715"', r'add name = "my-pr715"'),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_in_a_file_is_said_with_file_and_field(kind, tmp_path):
    content, says = WRONG[kind]
    path = tmp_path / "wrong.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=says) as refused:
        recipe_from_file(path)
    assert all(line.startswith(str(path)) for line in str(refused.value).splitlines())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def recpie(): pass", r"no function recipe\(\) that returns a Recipe; did you mean recpie\(\)"),
        ("def recipe(): return 3", r"recipe\(\) returned a int; return a pgolf Recipe"),
        ("def recipe():\n    return 1 / 0", r"wrong\.py:2: ZeroDivisionError"),
        ("def recipe(:", r"wrong\.py:1: SyntaxError"),
        ("async def recipe(): pass", r"recipe\(\) is async, and nobody waits for it; write def recipe\(\)"),
        ("import sys\nsys.exit(3)", r"wrong\.py:2: SystemExit: 3"),
    ],
)
def test_what_is_wrong_in_a_program_is_said_with_its_line(code, says, tmp_path):
    (tmp_path / "wrong.py").write_text(code)
    with pytest.raises(ConfigError, match=says):
        find_recipe(str(tmp_path / "wrong.py"))


def test_a_recipe_asked_for_by_half_a_name_is_the_file_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('base = "demo"\n')
    with pytest.raises(ConfigError, match=r"no recipe mine; did you mean the file mine\.toml\?"):
        find_recipe("mine")
    for name in ("gone.toml", "gone.py", "./gone.yaml", "."):
        with pytest.raises(ConfigError, match=r"cannot be read|must end in|no recipe"):
            find_recipe(name)


def test_the_same_configuration_under_another_name_reuses_everything(tmp_path, capsys):
    sections = [text for text in TINY if "documents" not in text]
    tiny = apply_overrides(recipe_named("demo"), sections)
    (tmp_path / "mine.toml").write_text(recipe_text(tiny, recipe_named("demo"), "mine.toml"))
    mine = recipe_from_file(tmp_path / "mine.toml")
    assert [node.config for node in pipeline(mine)] == [node.config for node in pipeline(tiny)]


def test_the_small_network_of_docs_systems_differs_from_1493_in_sizes_alone():
    small, full = recipe_from_file(SMALL_1493), recipe_named("pr1493")

    def changed(section: str) -> set[str]:
        ours, theirs = (getattr(recipe, section).model_dump() for recipe in (small, full))
        return {name for name in ours if ours[name] != theirs[name]}

    assert changed("model") == {"width", "heads", "kv_heads", "mlp_width", "rope_dims", "rope_reference_length"}
    assert small.model.rope_dims / small.model.head_dim == full.model.rope_dims / full.model.head_dim
    assert small.model.mlp_width / small.model.width == full.model.mlp_width / full.model.width
    assert changed("compress") == {"fp16_max_elements"}
    # What it steps by is for short training; what its schedules are shares of, its decays and its rows are #1493's.
    kept = {"batches", "warmdown_share", "recurrence_from", "muon_row_norm", "clip_norm", "embedding_lr", "scalar_lr"}
    kept |= {"muon_weight_decay", "embedding_weight_decay", "scalar_weight_decay"}
    assert not changed("train") & kept
    assert small.hint is not None
    assert small.hint.delay_targets == small.score.window
