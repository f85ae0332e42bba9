"""What a user meets on the first day: files of one's own, places by the environment, mistakes, completion."""

import csv
import json
import shutil
import subprocess

import pytest

from flows.commands.arguments import recipe_of
from flows.commands.cli import COMMANDS, main, parser
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.store.artifact import Store
from pgolf.tables.named_runs import Run, name_run, runs_in
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row
from tests.tiny import write_documents

# Small enough to tokenize in a moment.
SMALL = ["--vocab-size", "300", "--val-documents", "5"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PGOLF_STORE", "PGOLF_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    write_documents(tmp_path, 20)
    return tmp_path


def recipe(*words, of="demo"):
    words = ("plan", of, *words)
    return recipe_of(parser(words).parse_args(words))


def action_of_data(capsys, *words):
    assert main(["plan", "demo", *words, "--json"]) == 0
    (data,) = [step for step in json.loads(capsys.readouterr().out)["steps"] if step["node"] == "data"]
    return data["action"]


def test_what_tokenize_makes_is_the_data_of_the_next_run_without_any_set(here, capsys):
    assert main(["tokenize", "--documents", "docs.jsonl", "--vocab-size", "600", "--val-documents", "5"]) == 0
    (made,) = Store(here / "artifacts").artifacts()
    assert f"go on with: pgolf run RECIPE --data artifacts/{made.name}" in capsys.readouterr().err
    assert recipe("--data", f"artifacts/{made.name}").model.vocab_size == 600, "the demo's 512 are too few"
    assert "model.vocab_size is 600 instead of 512" in capsys.readouterr().err
    by_hand = ["--set", "model.vocab_size=520"]
    assert recipe("--data", f"artifacts/{made.name}", *by_hand).model.vocab_size == 520, "set by hand it stays"
    assert action_of_data(capsys, "--data", f"artifacts/{made.name}") == "run"


def test_a_recipe_s_own_tokenization_is_reused_by_its_runs_on_the_same_documents(here, capsys):
    own = ["--documents", "docs.jsonl", "--set", "tokenize.vocab_size=300"]
    assert main(["tokenize", "--recipe", "demo", *own]) == 0
    capsys.readouterr()
    assert action_of_data(capsys, *own) == "reuse"


def test_a_tokenizer_that_is_given_sets_its_own_size(here):
    assert main(["tokenize", "--documents", "docs.jsonl", *SMALL]) == 0
    (model,) = (here / "artifacts").glob("*/tokenizers/*.model")
    shutil.copy(model, "own.model")
    given = ["--documents", "docs.jsonl", "--tokenizer", "own.model"]
    made = recipe(*given).tokenize
    assert (made.source, made.tokenizer, made.vocab_size) == ("documents", "given", 300)
    assert recipe(*given, "--set", "tokenize.vocab_size=400").tokenize.vocab_size == 400, "set by hand it stays"


def test_documents_take_the_place_of_what_would_be_fetched(here):
    made = recipe("--documents", "docs.jsonl", of="pr715")
    assert made.fetch is None
    assert made.tokenize.vocab_size == made.model.vocab_size == 1024


def test_a_setting_is_spelled_alike_in_every_command(here, capsys):
    words = ["tokenize", "--documents", "docs.jsonl", "--val-documents", "5", "--set"]
    for setting in ("vocab_size=300", "tokenize.vocab_size=300"):
        assert main([*words, setting]) == 0
        assert "vocabulary 300" in capsys.readouterr().out
    assert main([*words, "vocab_szie=3"]) == 2
    assert "no field tokenize.vocab_szie; did you mean tokenize.vocab_size?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["1", "2", "3"], ["1,2,3"], ["1..3"], ["1,2", "3"]])
def test_seeds_in_one_word_or_several(words):
    assert recipe("--seeds", *words).seeds == (1, 2, 3)


@pytest.mark.parametrize("word", ["a", "1.5", "true", "1,b", "3..1", ""])
def test_what_is_no_seed_is_refused(word, capsys):
    with pytest.raises(SystemExit) as ended:
        recipe("--seeds", word)
    assert ended.value.code == 2
    assert "argument --seeds" in capsys.readouterr().err


def test_the_environment_names_store_and_results_and_the_help_says_so(here, monkeypatch, capsys):
    def help_of_run():
        with pytest.raises(SystemExit):
            main(["run", "--help"])
        return "".join(capsys.readouterr().out.split())  # paths are broken at their hyphens

    assert "(default:artifacts;PGOLF_STOREsetsanother)" in help_of_run()
    assert "(default:results;PGOLF_RESULTSsetsanother)" in help_of_run()
    monkeypatch.setenv("PGOLF_STORE", str(here / "elsewhere"))
    monkeypatch.setenv("PGOLF_RESULTS", str(here / "tables"))
    assert f"(default:{here / 'elsewhere'}byPGOLF_STORE)" in help_of_run()
    assert main(["tokenize", "--documents", "docs.jsonl", *SMALL]) == 0
    assert len(list(Store(here / "elsewhere").artifacts())) == 1
    assert not (here / "artifacts").exists()
    assert f"--data {here}/elsewhere/tokenize-" in capsys.readouterr().err
    assert main(["results"]) == 2
    assert f"there are no results at {here / 'tables'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *(["verify"], ["watch", "--once"], ["gc"], ["adopt", "demo", "train", "--why", "x"]),
        *(["export", "demo", "--out", "x"], ["results"], ["rename", "a", "b"], ["figures", "demo"], ["rm", "a"]),
        *(["compare", "a", "b"], ["report", "a"]),
    ],
    ids=" ".join,
)
def test_a_store_or_results_that_are_not_there_are_said_to_be(here, words, capsys):
    assert main([*words, *(["--store", "nope"] if words[0] == "gc" else [])]) == 2
    told = capsys.readouterr()
    assert "there is no store at" in told.err or "there are no results at results" in told.err
    assert told.out == ""
    assert not list(here.glob("*/")), "nothing is made"


def test_a_run_is_not_named_as_another_run_is_keyed(here, capsys):
    """The key would go on naming the other, and the name nobody."""
    for key in ("demo-111111111111", "demo-222222222222"):
        append(here / "results", SCORES, key, [score_row(seed=1)])
    assert main(["rename", "demo-1", "demo-222222222222"]) == 2
    assert "demo-222222222222 is the key of another run" in capsys.readouterr().err
    assert main(["rename", "demo-1", "demo-111111111111"]) == 0
    assert main(["rename", "demo-1", "first"]) == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["plan", "demo", "--set", "steps=5"], "ConfigError"),
        (["plan", "demo", "--nope"], "Misuse"),
        (["verify"], "StoreError"),
        (["results"], "ResultsError"),
    ],
)
def test_under_json_an_error_is_json_too_and_ends_with_the_same_code(here, words, kind, capsys):
    codes = []
    for also in ([], ["--json"]):
        try:
            codes.append(main([*words, *also]))
        except SystemExit as ended:
            codes.append(ended.code)
        told = capsys.readouterr()
        assert bool(told.out) == bool(also)
    assert codes == [2, 2]
    error = json.loads(told.out)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, 2)
    assert error["message"] in told.err, "people read it there"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["new", "no/x.toml"], "there is no folder no; make it first (mkdir -p no)"),
        (["new", "x.toml", "--from", "dmeo"], "no recipe dmeo; did you mean demo?"),
        (["new", "x.toml", "--from", "y.toml"], "y.toml: the recipe cannot be read (No such file or directory)"),
        (["new", "x"], "a recipe file's name ends in .toml; write x.toml"),
        (["plan", "demo", "--set", "steps=5"], "no field steps; did you mean train.steps?"),
        (["plan", "demo", "--set", "clock_limit=5"], "no field clock_limit; did you mean train.clock_limit_s?"),
        (["plan", "demo", "--set", "fetch.revision=x"], "both: add --set fetch=null or --set tokenize=null"),
        (["tokenize", "--recipe", "pr715"], "pr715 fetches its data; name your own with --documents"),
    ],
)
def test_a_mistake_is_told_with_what_to_type_instead(here, words, says, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told) < 250, "the field in question, not the whole recipe"


COMPLETE = """
source /dev/stdin
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
_shtab_pgolf pgolf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
echo "${COMPREPLY[@]}"
"""


def test_a_shell_completes_commands_recipes_settings_choices_and_files(here, capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (here / "mine.toml").touch()

    def completed(*words):
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", "pgolf", *words], input=script, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert {"results", "rename", "recipes"} == {*completed("re")} - {"report"}
    assert completed("plan", "pr71") == ["pr715", "pr715-tiny"]
    assert completed("plan", "mi") == ["mine.toml"]
    assert completed("run", "demo", "--set", "train.clock_l") == ["train.clock_limit_s"]
    assert "stages" in completed("results", "--table", "st")
    assert completed("tokenize", "--documents", "do") == ["docs.jsonl"]
    assert main(["completion", "zsh"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("#compdef pgolf")
    assert all(f"    {name}:" in written for name in COMMANDS)


def test_completion_says_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    assert main(["completion", "bash"]) == 2
    assert "shtab is not installed; run `make setup`" in capsys.readouterr().err


def test_optional_sections_come_in_with_their_defaults_whatever_their_kind():
    assert recipe("--set", "hint.orders=3").hint.orders == (3,)
    assert recipe("--set", "score.ttt.epochs=2").score.ttt.kind == "full"
    assert recipe("--set", "score.ttt.rank=8").score.ttt.kind == "lora"
    assert recipe("--set", "score.ttt.kind=lora", "--set", "score.ttt.epochs=2").score.ttt.kind == "lora"
    assert recipe("--set", "score.batch_means.ranks=2").score.batch_means.ranks == 2
    tails = ["--set", "score.tail=once", "--set", "count.tail=once"]
    changed = recipe("--set", "score.ttt.kind=lora", "--set", "score.ttt.rank=8", *tails, of="pr761").score.ttt
    assert (changed.kind, changed.rank, changed.epochs) == ("lora", 8, 1), "another kind begins with its defaults"


@pytest.fixture
def filed(here):
    """Tables of three runs, as far as names and filters need them."""
    base = recipe_named("demo")
    told = {
        "demo-111111111111": (base, "demo", ()),
        "demo-8a4222222222": (apply_overrides(base, ["mix.alphas=0.4,0.51"]), "demo alphas=0.4,0.51", ("grid",)),
        "demo-8a4333333333": (apply_overrides(base, ["train.steps=30", "train.clock_limit_s=600"]), "shört", ()),
    }
    for seed, (key, (made, name, tags)) in enumerate(told.items(), 1):
        append(here / "results", SCORES, key, [score_row(recipe="demo", seed=seed, gpu=None)])
        own = {"config": made.model_dump(mode="json"), "tags": tags, "note": "one\ntwo" if seed == 3 else ""}
        name_run(here / "results", Run(key=key, recipe="demo", recipe_key=None, name=name, base="demo", **own))
    return here


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        *((["train.steps=30"], [3]), (["mix.alphas=0.4,0.51"], [2]), (["mix.alphas=[0.4,0.51]"], [2])),
        *((["train.clock_limit_s=none"], [1, 2]), (["train.clock_limit_s!=null"], [3]), (["hint=null"], [1, 2, 3])),
        *((["estimators=hashed,exact", "seed=1,3"], [1, 3]), (["started_utc>2001-01-01"], [1, 2, 3])),
    ],
)
def test_filters_are_spelled_as_settings_are(filed, words, seeds, capsys):
    where = [part for word in words for part in ("--where", word)]
    assert main(["results", *where, "--csv"]) == 0
    assert sorted(int(row["seed"]) for row in csv.DictReader(capsys.readouterr().out.splitlines())) == seeds


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (
            ["--where", "model.gated_attention=false"],
            1,
            "gated_attention=false fits none: there is model.gated_attention t",
        ),
        (["--where", "mix.alphas=0.9"], 1, "fits none: there is mix.alphas ["),
        (["--where", "train.steps>99999"], 1, "fits none: there is train.steps 30, 120"),
        (["--where", "normalized=false"], 1, "fits none: there is normalized true"),
        (["--where", "gpu=A100"], 1, "gpu=A100 fits none: there is gpu null"),
        (["--where", "seed=1", "--where", "train.steps=30"], 1, "each filter fits some, together they fit none"),
        (["demo", "--table", "attempts"], 1, "demo has rows in other tables only"),
        (["--table", "stages"], 0, "no rows in results/stages\n"),
        (["--where", "steps=30"], 2, "scores has no column steps; did you mean train.steps?"),
        (["--where", "window=30"], 2, "did you mean count.window or score.window?"),
        (["--where", "tags=grid"], 2, "chosen by their tags with --tag grid"),
        (["--where", "name=shört"], 2, "pgolf results 'shört'"),
        (["--where", "sed=3"], 2, "did you mean seed?"),
        (["short"], 2, "no run short; did you mean shört"),
        (["demo-8a4"], 2, "2 runs have keys that begin with demo-8a4:"),
    ],
)
def test_a_filter_that_fits_nothing_is_told_what_there_is(filed, words, exit_code, says, capsys):
    assert main(["results", *words]) == exit_code
    assert says in capsys.readouterr().err


def test_rows_come_in_one_form(filed, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["results", "--csv", "--json"])
    assert "argument --json: not allowed with argument --csv" in capsys.readouterr().err


def test_in_a_folder_without_runs_there_are_none(here, capsys):
    (here / "results").mkdir()
    assert main(["results", "--tag", "x"]) == 0
    assert capsys.readouterr().err == "no rows in results/scores; `pgolf run RECIPE` writes some\n"
    assert main(["results", "short"]) == 2
    assert "no run short; there is none here, `pgolf run RECIPE` makes one" in capsys.readouterr().err


def test_of_the_names_of_a_run_one_is_marked_as_current(filed, capsys):
    assert main(["results", "demo alphas=0.4,0.51", "--csv"]) == 0
    assert main(["results", "--table", "runs", "--where", "name=demo alphas=0.4,0.51", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for name in ("first", "second"):
        assert main(["rename", "demo-8a42", name]) == 0
    capsys.readouterr()
    assert main(["results", "--table", "runs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["current"] for row in rows} == {
        "demo": True,
        "shört": True,
        "demo alphas=0.4,0.51": False,
        "first": False,
        "second": True,
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo-8a42", "demo"], "demo is what demo-111111111111 is called; take another name, or first give that one"),
        (["demo-8a42", "demo-8a433"], "demo-8a433 is a beginning of the key of another run, demo-8a4333333333"),
        (["demo-8a42", "8a43"], "8a43 is a beginning of the key"),
        (["demo-8a42", "demo-111111111111"], "is the key of another run"),
        (["demo-8a42", "pr792"], "pr792 is a recipe of pgolf, and `pgolf show pr792` shows that"),
        (["demo-8a42", "my.toml"], "my.toml would be taken for a recipe's file"),
        (["demo-8a42", "a/b"], "a/b would be taken for a recipe's file"),
        (["demo-8a42", "x" * 5000], "has 5,000 characters, and a name 200 at most; shorten it"),
        (["demo-8a42", ""], "a name has at least one character"),
        (["demo-8a42", " x"], "printable, no blanks around it"),
        (["demo-8a42", "x", "--tag", "y" * 201], "has 201 characters"),
    ],
)
def test_a_name_that_means_something_else_is_refused(filed, words, says, capsys):
    assert main(["rename", *words]) == 2
    assert says in capsys.readouterr().err
    if len(words) == 2 and "called" not in says and "key" not in says:
        assert main(["run", "demo", "--name", words[1]]) == 2
        assert says in capsys.readouterr().err


def test_a_name_that_another_run_has_is_refused_by_plan_and_run_before_any_work(filed, capsys):
    (filed / "mine.toml").write_text('base = "demo"\nrun_name = "shört"\nmodel.width = 96\n')
    says = "shört is what demo-8a4333333333 is called; take another name, or first give that one another: pgolf rename"
    assert main(["plan", "mine.toml"]) == 2
    assert f"`pgolf run` would refuse here: {says}" in " ".join(capsys.readouterr().out.split())
    for words in (["mine.toml"], ["demo", "--name", "shört"]):
        assert main(["run", *words]) == 2
        assert says in capsys.readouterr().err
    assert not list((filed / "artifacts").glob("*-*"))


def test_tags_are_cleared_by_an_empty_one_and_own_names_stay_usable(filed, capsys):
    assert main(["rename", "demo-8a42", "demo alphas=0.4,0.51", "--tag", ""]) == 0
    assert main(["rename", "demo-1", "demo"]) == 0
    assert main(["rename", "demo-1", "demo-1111"]) == 0
    assert main(["rename", "demo-1", "demo"]) == 0
    assert [run.tags for run in runs_in(filed / "results")] == [(), (), ()]


def test_a_run_is_shown_in_its_own_letters_and_what_it_says_of_itself_as_a_comment(filed, capsys):
    assert main(["show", "shört", "--set", "notes=Größe"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("# run shört (demo-8a4333333333); one\n# two\n")
    assert '"Größe"' in told.out
