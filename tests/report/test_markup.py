"""What is data stays data, whatever it says."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.report.markup import Markup, join, number, tag, void


class Read(HTMLParser):
    """Tags, attributes and text of a fragment, as a browser would see them."""

    def __init__(self, fragment: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(fragment)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes.update(attributes)

    def handle_data(self, data):
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back_as_it_was_and_makes_no_element(text):
    read = Read(tag("p", text, title=text))
    assert (read.tags, read.text, read.attributes) == (["p"], text, {"title": text})


@pytest.mark.parametrize("text", ["\0", "\x1b[2J", "\ud800", "\x7f", "\x9b"])
def test_what_no_page_may_hold_is_replaced(text):
    assert tag("p", f"a{text}b", title=text).encode().decode().count("\N{REPLACEMENT CHARACTER}") >= 2


def test_markup_stays_as_it_is_and_nothing_else_does():
    inner = tag("b", "<i>")
    assert inner == "<b>&lt;i&gt;</b>"
    assert tag("p", inner, None, ["x", Markup("<br>")]) == "<p><b>&lt;i&gt;</b>x<br></p>"
    assert join("<", inner) == "&lt;<b>&lt;i&gt;</b>"


def test_attributes_are_named_as_in_svg():
    assert void("rect", class_="bar", stroke_width=1.50, hidden=None, open=True) == (
        '<rect class="bar" stroke-width="1.5" open/>'
    )


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (-0.001, "0"), (0.126, "0.13"), (1234.5, "1234.5")])
def test_coordinates_are_short(value, text):
    assert number(value) == text
