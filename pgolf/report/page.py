"""A run's report, or several runs' side by side, as one self-contained HTML page; a function of tables alone."""

from collections.abc import Sequence

from pgolf.report.markup import Markup, join, tag, void
from pgolf.report.page_style import STYLE
from pgolf.report.run_tables import RunTables
from pgolf.report.sections import Section, comparison, sections_of
from pgolf.report.sentences import sentence_of


def page(runs: Sequence[RunTables], *, sentence: str | None = None, price_per_hour: float | None = None) -> str:
    """The whole document. The same rows give the same text.

    sentence: what the reader is told first (default: `pgolf.report.sentences.sentence_of`). price_per_hour: of the
    machine, to show what stages cost.
    """
    assert runs, "a report is of at least one run"
    names = " · ".join(run.run.name for run in runs)
    lead = sentence or sentence_of(runs)
    body = [
        tag("p", f"pgolf report · {' · '.join(run.run.key for run in runs)}", class_="kicker"),
        tag("h1", lead),
    ]
    if len(runs) == 1:
        body += _one(runs[0], price_per_hour, prefix="")
    else:
        body += [_section(part) for part in comparison(runs)]
        for number, run in enumerate(runs, 1):
            body.append(
                tag(
                    "article",
                    tag("h2", f"{number}. {run.run.name}", class_="run"),
                    *_one(run, price_per_hour, prefix=f"r{number}-"),
                )
            )
    return document(f"{names} – pgolf report", lead, body)


def document(title: str, about: str, body: Sequence[Markup]) -> str:
    """A page of this style that needs nothing from elsewhere. about: what a search or a link to it shows."""
    head = join(
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        void("meta", name="description", content=about),
        tag("title", title),
        # An icon of its own, or a browser asks the server for one.
        void("link", rel="icon", href="data:,"),
        tag("style", Markup(STYLE)),
    )
    whole = tag("html", tag("head", head), tag("body", tag("main", *body)), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _one(run: RunTables, price_per_hour: float | None, *, prefix: str) -> list[Markup]:
    parts = sections_of(run, price_per_hour)
    links = [tag("a", part.title, href=f"#{prefix}{part.name}") for part in parts if part.title]
    contents = tag("nav", *links, aria_label="sections")
    return [_section(part, prefix) if part.title else join(*part.content, contents) for part in parts]


def _section(part: Section, prefix: str = "") -> Markup:
    heading = f"{prefix}{part.name}"
    return tag("section", tag("h2", part.title, id=heading), *part.content, aria_labelledby=heading)
