"""A sheet as text, Markdown, CSV and JSON."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import ResultsError
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


@pytest.mark.parametrize("width", [20, 40, 60, 80, 110])
def test_a_table_fits_the_terminal_and_loses_no_value(width):
    columns = [SheetColumn(f"c{i}", f"heading number {i} (bpb)", ".4f") for i in range(9)]
    rows = tuple(tuple(row * 10 + i + 0.1234 for i in range(9)) for row in range(3))
    sheet = Sheet(
        "a title of several words " * 4, (SheetColumn("name", "name"), *columns), tuple(("x", *r) for r in rows)
    )
    sheet = replace(sheet, notes=("a note of several words " * 8,))
    lines = to_text(sheet, width).splitlines()
    assert max(map(len, lines)) <= width
    found = [word for line in lines for word in line.split()]
    assert [f"{value:.4f}" for row in rows for value in row] == [word for word in found if word[-5:-4] == "."]
    assert all(str(i) in found for i in range(9))


def test_a_value_wider_than_the_terminal_is_cut_into_lines():
    text = "x" * 50
    sheet = Sheet("", (SheetColumn("a", "a"), SheetColumn("b", "b")), (("short", text),))
    lines = to_text(sheet, 20).splitlines()
    assert max(map(len, lines)) <= 20
    assert "".join(line.strip() for line in lines).endswith(text)


def test_a_table_that_fits_stays_as_it_is():
    assert to_text(SHEET, 200) == to_text(SHEET)


def test_what_only_machines_need_is_in_json_and_csv_alone():
    sheet = Sheet("", (SheetColumn("a", "a"), SheetColumn("runs", "runs", shown=False)), (("p", {"1": "run-x"}),))
    assert to_text(sheet) == "a\np\n"
    assert "run-x" not in to_markdown(sheet)
    assert json.loads(to_json(sheet)) == [{"a": "p", "runs": {"1": "run-x"}}]
    assert "run-x" in to_csv(sheet)
