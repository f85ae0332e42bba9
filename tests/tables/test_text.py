"""A sheet as text, Markdown, CSV and JSON."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import ResultsError
from pgolf.tables.fitting import NOT_LOOKED_FOR, shown_columns, taken
from pgolf.tables.parquet import rows_to_arrow
from pgolf.tables.schema import SCORES, STAGES
from pgolf.tables.sheet import Sheet, SheetColumn, sheet_of
from pgolf.tables.text import LEAST_WIDTH, to_csv, to_json, to_markdown, to_text
from tests.score_rows import score_row

SHEET = Sheet(
    "scores",
    (
        SheetColumn("recipe", "recipe"),
        SheetColumn("n", "n", "d"),
        SheetColumn("mean_bpb", "mean (bpb)", ".4f"),
        SheetColumn("total_bytes", "total (B)", ",d"),
        SheetColumn("fits_budget", "fits"),
    ),
    (("demo", 3, 1.23456789, 15_962_418, True), ("longer name", 1, None, 900, False)),
    ("a note",),
)

words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
numbers = st.one_of(st.none(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("width", [0, 1, 2, 3, 9])
def test_a_terminal_that_is_too_narrow_for_anything_gets_the_narrowest_table(width):
    assert to_text(SHEET, width) == to_text(SHEET, LEAST_WIDTH)


def test_numbers_stand_flush_right_words_flush_left_and_units_in_the_heading():
    assert to_text(SHEET) == (
        "scores\n"
        "recipe       n  mean (bpb)   total (B)  fits\n"
        "demo         3      1.2346  15,962,418  yes\n"
        "longer name  1           –         900  no\n"
        "a note\n"
    )


def test_markdown_escapes_bars_and_aligns_numbers():
    sheet = Sheet("", (SheetColumn("a", "a|b"), SheetColumn("x_bpb", "x", ".2f")), (("p|q", 1.0),), ("note",))
    assert to_markdown(sheet) == "| a\\|b | x |\n| --- | ---: |\n| p\\|q | 1.00 |\n\nnote\n"


def test_csv_keeps_every_digit_and_leaves_missing_values_empty():
    assert to_csv(SHEET) == (
        "recipe,n,mean_bpb,total_bytes,fits_budget\n"
        "demo,3,1.23456789,15962418,true\n"
        "longer name,1,,900,false\n"
    )  # fmt: skip


def test_json_keeps_every_digit_and_says_null():
    assert json.loads(to_json(SHEET))[1] == {
        "recipe": "longer name", "n": 1, "mean_bpb": None, "total_bytes": 900, "fits_budget": False,
    }  # fmt: skip


@given(st.lists(st.tuples(words, numbers), max_size=6))
def test_csv_and_json_give_back_what_the_sheet_holds(rows):
    sheet = Sheet("", (SheetColumn("name", "name"), SheetColumn("value", "value")), tuple(rows))
    parsed = list(csv.reader(io.StringIO(to_csv(sheet))))[1:]
    assert [(name, None if value == "" else float(value)) for name, value in parsed] == rows
    assert [(row["name"], row["value"]) for row in json.loads(to_json(sheet))] == rows


@given(st.lists(st.tuples(words, numbers), min_size=1, max_size=6))
def test_text_has_one_line_per_row(rows):
    sheet = Sheet("title", (SheetColumn("name", "name"), SheetColumn("value", "value")), tuple(rows), ("note",))
    assert len(to_text(sheet).split("\n")) == len(rows) + 4
    assert all(line == line.rstrip(" ") for line in to_text(sheet).split("\n"))


def test_wide_and_combining_characters_keep_the_columns_straight():
    sheet = Sheet("", (SheetColumn("name", "name"), SheetColumn("x", "x")), (("日本", 1), ("e\u0301", 2)))
    lines = to_text(sheet).splitlines()
    assert lines[1] == "日本  1"
    assert lines[2] == "e\u0301     2"


def test_an_empty_sheet_still_shows_its_columns():
    sheet = Sheet("nothing", SHEET.columns, ())
    assert to_text(sheet) == "nothing\nrecipe  n  mean (bpb)  total (B)  fits\n"
    assert to_json(sheet) == "[]\n"


def test_rows_as_stored_show_the_columns_that_hold_anything():
    table = rows_to_arrow(SCORES, [score_row(run_key="r", gpu=None)])
    sheet = sheet_of(table, SCORES)
    names = [column.name for column in sheet.columns]
    assert "gpu" not in names
    assert "loss_nats (nats/token)" in [column.heading for column in sheet.columns]
    row = dict(zip(names, sheet.rows[0]))
    assert row["started_utc"] == datetime(2025, 12, 1, 10, tzinfo=UTC)
    assert '"started_utc": "2025-12-01T10:00:00+00:00"' in to_json(sheet)
    assert "2025-12-01 10:00:00" in to_text(sheet)
    assert "2025-12-01T10:00:00+00:00" in to_csv(sheet)


def test_seconds_by_phase_read_as_words_in_text_and_as_an_object_in_json():
    row = {"run_key": "r", "recipe": "demo", "stage": "train", "node": "train", "key": "k", "built": True}
    table = rows_to_arrow(STAGES, [{**row, "phases_s": {"load": 0.5, "steps": 12.25}}])
    sheet = sheet_of(table, STAGES, columns=["stage", "phases_s", "gpu"])
    assert "load=0.5 steps=12.2" in to_text(sheet)
    assert json.loads(to_json(sheet)) == [{"stage": "train", "phases_s": {"load": 0.5, "steps": 12.25}, "gpu": None}]
    assert '{""load"": 0.5' in to_csv(sheet)


def test_a_column_that_does_not_exist_is_refused():
    with pytest.raises(ResultsError, match="did you mean seed"):
        sheet_of(rows_to_arrow(SCORES, [score_row(run_key="r")]), SCORES, columns=["sed"])


NARROW = Sheet(
    "a title of several words " * 4,
    (
        SheetColumn("name", "name"),
        SheetColumn("host", "host", spare=NOT_LOOKED_FOR),
        SheetColumn("commit", "git commit", spare=NOT_LOOKED_FOR),
        *(SheetColumn(f"c{i}", f"heading number {i} (bpb)", ".4f", spare=9 - i) for i in range(9)),
    ),
    tuple(
        (f"run {row}", "node-1", "0123456789abcdef" * 2, *(row * 10 + i + 0.1234 for i in range(9))) for row in (1, 2)
    ),
    ("a note of several words " * 8,),
)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 110])
def test_a_table_fits_the_terminal_and_says_what_it_leaves_out(width):
    text = to_text(NARROW, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.startswith("run ")]
    assert len(rows) == 2, "no row takes two lines"
    shown = [value for value in rows[0][2:] if value[-5:-4] == "."]
    assert shown == [f"{10 + i + 0.1234:.4f}" for i in range(9)][9 - len(shown) :], "the dearest stay, each whole"
    said = " ".join(text.split())
    if width < 110:
        assert said.endswith("--wide shows all")
        assert "too narrow for host node-1, git commit" in said


def test_columns_that_nobody_looks_for_leave_first_then_those_that_are_alike_then_the_spare_ones():
    widths = [5, 5, 5, 5, 5]
    spare, alike = [0, NOT_LOOKED_FOR, 0, 3, 1], [False, False, True, False, False]
    order = [shown_columns(widths, spare, alike, taken(widths[:left]))[0] for left in (5, 4, 3, 2, 1, 0)]
    assert order == [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 3, 4], [0, 4], [0], [0]]


def test_digests_and_long_texts_are_shortened_only_where_the_table_does_not_fit():
    commit, long = "6207182c752784c92c52e539aec723a57052e193+", "published, downgraded layers: none"
    sheet = Sheet("", (SheetColumn("git_commit", "git_commit"), SheetColumn("rung", "rung")), ((commit, long),))
    assert to_text(sheet, 80).splitlines()[1] == f"{commit}  {long}"
    assert to_text(sheet, 40).splitlines()[1] == "6207182c+   published, downgraded l…"
    assert commit in to_text(sheet)


def test_a_value_wider_than_the_terminal_is_cut_with_a_mark():
    sheet = Sheet("", (SheetColumn("a", "a"), SheetColumn("b", "b")), (("x y z " * 9, "x" * 50),))
    lines = to_text(sheet, 20).splitlines()
    assert max(map(len, lines)) <= 20
    assert lines[1] == "x y z x y z x y z x…"


def test_a_table_that_fits_stays_as_it_is():
    assert to_text(SHEET, 200) == to_text(SHEET)


def test_what_only_machines_need_is_in_json_and_csv_alone():
    sheet = Sheet("", (SheetColumn("a", "a"), SheetColumn("runs", "runs", shown=False)), (("p", {"1": "run-x"}),))
    assert to_text(sheet) == "a\np\n"
    assert "run-x" not in to_markdown(sheet)
    assert json.loads(to_json(sheet)) == [{"a": "p", "runs": {"1": "run-x"}}]
    assert "run-x" in to_csv(sheet)
