"""What a page says of a run: everything it has, nothing it has not, and nobody else's markup."""

import html
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.commands.arguments import recipe_of
from flows.commands.cli import main, parser
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.changed import changed_settings, differing_settings
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe_file import recipe_from_file
from pgolf.report.gantt import StageTime, working_s
from pgolf.report.page import page
from pgolf.report.plot import Scale, around
from pgolf.report.sentences import sentence_of
from tests.report.conftest import grid_rows, table_of
from tests.report.pages import bare, score_rows, tables

FIGURES = [
    "Training loss by step", "Training loss by training clock", "By position in the window", "By place in the document",
    "By length of the document", "By kind of token", "Bytes of seed 3, the largest", "Packings tried",
    "Size against loss", "Honest: exact fixed", "Legacy, not a result: hashed fixed", "Total mass: hashed fixed",
    "Stages over time",
]  # fmt: skip


class Outline(HTMLParser):
    """Headings, text alternatives of figures, and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.headings: dict[str, list[str]] = {"h1": [], "h2": [], "h3": []}
        self.alternatives: list[tuple[str, str]] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.open.append(name)
        self.scripts += name == "script" or any(key.startswith("on") for key, _ in attributes)
        self.loads += [value for key, value in attributes if key in ("src", "href")]
        if name in self.headings:
            self.headings[name].append("")

    def handle_startendtag(self, name, attributes):
        self.loads += [value for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] in self.headings:
            self.headings[self.open[-1]][-1] += data
        if self.open[-2:] in (["svg", "title"], ["svg", "desc"]):
            if self.open[-1] == "title":
                self.alternatives.append((data, ""))
            else:
                self.alternatives[-1] = (self.alternatives[-1][0], data)
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def whole():
    return page([tables()])


def test_a_whole_run_has_every_section_and_figure_each_with_a_text_alternative(whole):
    outline = Outline(whole)
    assert outline.open == []
    assert outline.headings["h2"] == [
        "Seed by seed", "Gates and verdicts", "Training", "Where the bits go", "Where the bytes go",
        "The grid of mixtures", "Time", "Text, token by token", "Provenance, and how to reproduce it",
    ]  # fmt: skip
    assert [title for title, _ in outline.alternatives] == FIGURES
    assert all(len(said) > 20 and re.search(r"\d", said) for _, said in outline.alternatives)
    assert whole.count('role="img"') == len(FIGURES)


def test_it_needs_no_network_and_no_script(whole):
    outline = Outline(whole)
    assert outline.scripts == 0
    assert outline.loads
    assert all(address.startswith(("#", "data:")) for address in outline.loads)
    assert not re.search(r"url\(|@import|https?:", whole.replace("http://www.w3.org", ""))


def test_equal_rows_give_equal_bytes(whole):
    assert page([tables()]) == whole


def test_the_first_sentence_has_the_headline_the_bytes_and_the_gates():
    run = tables()
    honest = run.headline[1].summary("bpb")
    assert sentence_of([run]) == (
        f"demo: {honest.mean:.4f} ± {honest.std:.4f} bits per byte (exact fixed, order 3, alpha 0.2; n = 3), "
        "at most 89,003 bytes of 100,000, every gate passed."
    )
    assert Outline(page([run], sentence="A is better than B.")).headings["h1"] == ["A is better than B."]


def test_a_gate_that_fails_or_was_never_judged_is_told():
    over = tables(fits_budget=False, total_bytes=100_001)
    assert sentence_of([over]).endswith("100,001 bytes of 100,000, not within budget.")
    assert "✗ failed" in page([over])
    both = tables(fits_budget=False, bytes_verified=None, causal=None)
    assert '<dt>gates</dt><dd><b><span class="no">✗ failed</span></b>' in page([both])
    unjudged = tables(fits_budget=None, total_bytes=None)
    assert sentence_of([unjudged]).endswith("size not recorded of 100,000, not judged: within budget.")


def test_one_seed_has_no_deviation_and_the_page_says_so():
    outline = Outline(page([tables(seeds=(5,))]))
    assert "one seed, so no standard deviation" in outline.headings["h1"][0]
    assert "one seed: there is no standard deviation, and nothing can be tested" in outline.text
    assert "±" not in outline.text.replace("± std over seeds", "")


def test_of_a_run_without_outputs_the_scores_are_shown_and_the_rest_is_missed_aloud():
    outline = Outline(page([bare(tables())]))
    assert "no losses by step: gone" in outline.text
    assert "Training" not in outline.headings["h2"]
    assert "Time" not in outline.headings["h2"]
    assert "Seed by seed" in outline.headings["h2"]
    assert [title for title, _ in outline.alternatives] == [FIGURES[6], *FIGURES[9:12]]
    assert "an earlier version filed it, which kept no settings" in outline.text


def test_rows_of_an_early_version_have_a_page_of_what_they_say():
    late = ("declared", "declared_before_scoring", "declared_utc", "bytes_verified", "interrupted", "val_sha256",
            "tokenizer_sha256", "text_sha256", "data_name", "ruleset", "budget_bytes", "eval_clock_s")  # fmt: skip
    rows = [{name: value for name, value in row.items() if name not in late} for row in score_rows()]
    outline = Outline(page([bare(tables(), scores=table_of(rows))]))
    assert "network alone; n = 3" in outline.headings["h1"][0]
    assert "bytes not verified" in outline.headings["h1"][0]
    assert "rule set not recorded" in outline.text


def test_what_runs_and_texts_say_is_never_markup(whole):
    evil = '<script>alert("1")</script>'
    run = tables()
    named = replace(run.run, name=evil, note=evil, tags=(evil,), changed={evil: evil})
    outline = Outline(page([replace(run, run=named, missing=(evil,))]))
    assert outline.scripts == 0
    assert outline.text.count(evil) > 4
    assert "<b>bold</b>" in Outline(whole).text  # a sample's text


def test_every_token_of_a_sample_has_its_loss_and_a_colour_that_grows_with_it(whole):
    tokens = re.findall(r"<i(?: class=\"l(\d)\")? title=\"([\d.]+)\">", whole)
    assert len(tokens) == 18
    assert [float(loss) for _, loss in tokens[:9]] == pytest.approx([0.9 * k for k in range(9)])
    steps = [int(step or 0) for step, _ in tokens[:9]]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 8)


def test_what_was_reused_is_hollow_and_takes_the_time_of_the_run_that_built_it(whole):
    assert "data: 8.0 s, reused" in whole
    assert whole.count(", built by this run</title>") == 15
    (bars,) = re.findall(r"<svg[^>]*><title>Stages over time.*?</svg>", whole)
    assert len(re.findall(r'<rect class="hollow', bars)) == 1
    assert len(re.findall(r'<rect class="bar', bars)) == 15
    assert "1 h 59 min later" in bars
    assert "15 built by this run and 1 reused" in bars


def test_a_price_per_hour_says_what_the_machine_cost():
    outline = Outline(page([tables()], price_per_hour=36.0))
    assert "Time and money" in outline.headings["h2"]
    assert re.search(r"built by this run15 stages294\.02\.94", outline.text)  # 3 × 98 s at a cent a second
    assert ">cost</th>" not in page([tables()])


def test_machine_time_counts_what_ran_side_by_side_once():
    stages = [StageTime(f"s{k}", "score", True, start, took) for k, (start, took) in
              enumerate([(0.0, 10.0), (5.0, 10.0), (20.0, 1.0), (30.0, None)])]  # fmt: skip
    assert working_s(stages) == 16.0


def test_several_runs_stand_side_by_side_under_one_sentence():
    one = tables()
    other = tables(key="demo-ba9876543210", recipe_key="b" * 64)
    other = replace(other, run=replace(other.run, name="no-gate", config={"train": {"steps": 80}}))
    outline = Outline(page([one, other]))
    assert outline.headings["h1"][0].endswith("No test has been made of the differences.")
    assert outline.headings["h2"][0] == "The runs side by side"
    assert [h for h in outline.headings["h2"] if h[1:2] == "."] == ["1. demo", "2. no-gate"]
    assert "train.steps" in outline.text
    anchors = re.findall(r' id="([^"]+)"', page([one, other]))
    assert len(anchors) == len(set(anchors))


def test_a_run_with_one_of_everything_has_a_page():
    """One step, one packing, one part of each kind, one token, one stage that took no time."""
    run = tables(seeds=(5,))
    details = {name: table.slice(0, 1) for name, table in run.details.items()}
    stages = [{**run.stages[1], "wall_s": 0.0}]
    found = page(
        [replace(run, details=details, stages=stages, made=[], attempts=run.attempts[-1:])], price_per_hour=0.0
    )
    outline = Outline(found)
    assert outline.open == []
    assert not re.search(r"\bnan\b|\binf\b", found)
    assert "Training loss by step" in [title for title, _ in outline.alternatives]


def test_losses_of_a_loss_that_falls_far_start_where_the_axis_does():
    run = tables(seeds=(5,))
    (curve,) = re.findall(r"<svg[^>]*><title>Training loss by step.*?</svg>", page([run]))
    (path,) = re.findall(r'class="line c1" d="M([^"]+)"', curve)
    heights = [float(point.split(",")[1]) for point in path.split("L")]
    assert min(heights) > 24.0  # none is pressed against the top
    assert "the first steps lie above" in page([run])


def test_the_commands_make_the_run_again():
    def commands(**columns):
        found = page([tables(**columns)])
        return re.search(r"<pre>(.*?)</pre>", found, re.DOTALL)[1].splitlines()

    commit = "c0ffee" * 6 + "abcd"
    again = ["pgolf run demo --set train.steps=40 --seeds 1 2 3", "pgolf report demo-0123456789ab"]
    assert commands() == [f"git checkout {commit}", *again]
    assert commands(git_commit=None) == ["# the commit of its code was not recorded", *again]
    changed = commands(git_commit=f"{commit}+")
    assert changed == [f"git checkout {commit}   # with changes that were not committed", *again]


OWN = {
    "own.toml": 'base = "demo"\nseeds = [5, 6]\n[train]\nsteps = 40\nclock_limit_s = "none"\n[mix]\nalphas = [0.5]\n',
    "its name is another.toml": 'base = "demo"\nname = "a--b-"\nseeds = [5, 6]\n[model]\ngated_attention = false\n',
    "with-a-section.toml": 'base = "pr792-tiny"\nseeds = [5, 6]\n[score]\ntail = "once"\nbatch_means = "none"\n'
    '[count]\ntail = "once"\n[score.ttt]\nkind = "lora"\nrank = 2\n',
}


@pytest.mark.parametrize("file", OWN)
def test_the_commands_make_the_run_of_a_recipe_file_again_under_its_own_key(file, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / file).write_text(OWN[file])
    recipe = recipe_from_file(tmp_path / "there" / file)
    known = {"recipe": recipe.name, "base": recipe.base, "changed": changed_settings(recipe)}
    run = tables(recipe.seeds, key=f"{recipe.name}-0123456789ab")
    found = page([replace(run, run=replace(run.run, **known))])
    commands = html.unescape(re.search(r"<pre>(.*?)</pre>", found, re.DOTALL)[1]).splitlines()[1:]
    monkeypatch.chdir(tmp_path)
    for command in commands:
        if command.startswith("# put in "):
            name, line = command.removeprefix("# put in ").split(" as its first line: ")
            Path(name).write_text(f"{line}\n{Path(name).read_text()}")
        elif (words := shlex.split(command))[1] == "run":
            again = recipe_of(parser(words[1:]).parse_args(words[1:]))
        else:
            assert words[:2] == ["pgolf", "new"] or words == ["pgolf", "report", run.run.key]
            assert words[1] == "report" or main(words[1:]) == 0
    assert (again.name, again.seeds, differing_settings(again, recipe)) == (recipe.name, recipe.seeds, {})


GIVEN = {
    "documents": (("--documents", "DOCUMENTS"), ["tokenize.source=documents"], ()),
    "a tokenizer": (
        ("--documents", "DOCUMENTS", "--tokenizer", "TOKENIZER"),
        ["tokenize.source=documents", "tokenize.tokenizer=given"],
        (),
    ),
    "shards": (("--data", "DATA"), [], ("shards",)),
    "shards, whatever the recipe would have read": (("--data", "DATA"), ["tokenize.source=documents"], ("shards",)),
    "weights": (("--checkpoint", "5=CHECKPOINT-5", "--checkpoint", "6=CHECKPOINT-6"), [], ("import",)),
    "nothing": ((), [], ()),
}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("name", ["demo", "mine"])
def test_the_commands_name_every_file_that_the_run_was_given(kind, name):
    options, overrides, stages = GIVEN[kind]
    recipe = apply_overrides(recipe_named("demo"), overrides).model_copy(update={"name": name})
    run = tables((5, 6))
    data = [{**run.stages[0], "stage": stage} for stage in stages or ("tokenize",)]
    changed = dict(text.split("=", 1) for text in overrides)
    known = {"recipe": name, "base": "demo", "changed": changed, "config": recipe.model_dump(mode="json")}
    told = page([replace(run, run=replace(run.run, **known), stages=[*data, *run.stages[1:]])])
    commands = html.unescape(re.search(r"<pre>(.*?)</pre>", told, re.DOTALL)[1]).splitlines()
    [command] = [shlex.split(line) for line in commands if line.startswith("pgolf run ")]
    asked = parser(command[1:]).parse_args(command[1:])
    given = [str(part) for part in command[command.index("6") + 1 :]]
    assert given == list(options)
    assert [asked.documents, asked.tokenizer, asked.data] == [
        Path(word) if word in options else None for word in ("DOCUMENTS", "TOKENIZER", "DATA")
    ]
    [*said] = [line for line in commands if line.endswith(": what was given to it, as the text's digest tells")]
    names = ", ".join(word.rpartition("=")[2] for word in options[1::2])
    assert [line.partition(":")[0] for line in said] == ([f"# {names}"] if options else [])


def test_one_text_under_two_names_is_one_text():
    other = tables(key="demo-ba9876543210", recipe_key="b" * 64, data_name="called otherwise")
    assert "No test has been made of the differences." in page([tables(), other])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"val_sha256": "9" * 64}, "one text in several tokenizations: only bits per byte compare"),
        ({"val_sha256": "9" * 64, "bytes": 56_000}, "of one text and end at other places of it"),
        ({"bytes": 56_000}, "of one text and end at other places of it"),
        ({"text_sha256": "9" * 64}, "not known to be of one text, so their scores cannot be compared"),
        ({"text_sha256": None, "val_sha256": None}, "not known to be of one text"),
    ],
)
def test_runs_on_different_texts_are_not_compared_in_silence(columns, said):
    other = tables(key="demo-ba9876543210", recipe_key="b" * 64, **columns)
    outline = Outline(page([tables(), other]))
    assert said in outline.headings["h1"][0]
    assert outline.text.count(said) == 2


def test_a_page_of_three_seeds_and_ten_thousand_cells_is_small():
    rows = score_rows()
    network = [row for row in rows if row["estimator"] == "neural"]
    grid = grid_rows(seeds=(1,), alphas=tuple(k / 200 for k in range(1, 101)), orders=tuple(range(2, 52)))
    cells = [{**row, "declared": False} for row in grid if row["estimator"] != "neural"]
    assert len(cells) == 10_000
    found = page([bare(tables(), scores=table_of([*network[:1], *cells]))])
    assert len(found) < 500_000
    assert found.count("data:image/png;base64,") == 3


def test_a_page_of_a_long_training_is_small():
    assert len(tables().detail("losses")) == 1200
    (curve,) = re.findall(r"<svg[^>]*><title>Training loss by step.*?</svg>", page([tables()]))
    assert max(path.count("L") for path in re.findall(r'd="([^"]+)"', curve)) <= 350  # of 400 steps


def test_ticks_are_round_and_inside():
    for low, high in ((0.0, 1.0), (1.07, 1.1), (3.0, 970_000.0), (2.0, 2.0)):
        ticks = Scale(low, high, 0.0, 100.0).ticks(5)
        assert 1 <= len(ticks) <= 7
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert Scale(0.0, 10.0, 0.0, 100.0).ticks(5) == [0, 2, 4, 6, 8, 10]
    assert around([2.0]) < (2.0, 2.0) < (2.0, 9.0)
    assert around([2.0])[1] > 2.0
