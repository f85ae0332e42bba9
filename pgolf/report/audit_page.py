"""The verdicts about scorers as one self-contained HTML page; a function of what the audit wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

from pgolf.report.markup import Markup, tag
from pgolf.report.page import document
from pgolf.report.page_parts import Num, fold, table

_WORDS = {
    "pass": ("✓ pass", "yes"),
    "fail": ("✗ fail", "no"),
    "inconclusive": ("? inconclusive", "soft"),
    "not applicable": ("– not applicable", "soft"),
}
_LEADS = {
    "pass": "no check found anything wrong",
    "fail": "not a code length",
    "inconclusive": "nothing wrong was found, and not everything could be decided",
}

Trial = Mapping[str, Any]


def audit_page(trials: Sequence[Trial], *, facts: Mapping[str, str]) -> str:
    """One section per trial: `name`, `outcome`, and `verdicts` as the audit's JSON has them.

    facts: what the trials share, in words: the text, the rules, the machine.
    """
    assert trials, "a page is of at least one trial"
    lead = _lead(trials)
    body = [
        tag("p", "pgolf audit", class_="kicker"),
        tag("h1", lead),
        tag("p", " · ".join(f"{name}: {value}" for name, value in facts.items()), class_="note"),
    ]
    if len(trials) > 1:
        rows = [[one["name"], outcome(one["outcome"]), _failed(one)] for one in trials]
        summary = table(["scorer", "verdict", "fails"], rows, label="scorers and their verdicts")
        body.append(tag("section", tag("h2", "Scorers", id="scorers"), summary, aria_labelledby="scorers"))
    body += [_trial(number, one) for number, one in enumerate(trials, 1)]
    return document(f"{trials[0]['name']} – pgolf audit", lead, body)


def outcome(word: str) -> Markup:
    """A verdict, told by word and not by colour alone."""
    text, kind = _WORDS[word]
    return tag("span", text, class_=kind)


def _lead(trials: Sequence[Trial]) -> str:
    if len(trials) == 1:
        return f"{trials[0]['name']}: {_LEADS[trials[0]['outcome']]}"
    counts = [(word, sum(one["outcome"] == word for one in trials)) for word in ("pass", "fail", "inconclusive")]
    return f"{len(trials)} scorers: {', '.join(f'{count} {word}' for word, count in counts if count)}"


def _failed(one: Trial) -> str:
    failing = [f"{each['number']} {each['name']}" for each in one["verdicts"] if each["outcome"] == "fail"]
    return ", ".join(failing) or "–"


def _trial(number: int, one: Trial) -> Markup:
    heading = f"t{number}"
    rows = [
        [f"{each['number']} {each['name']}", outcome(each["outcome"]), _because(each), Num(f"{_wall_s(each):.1f}")]
        for each in one["verdicts"]
    ]
    verdicts = table(["check", "verdict", "because", "s"], rows, label=f"verdicts about {one['name']}")
    rules = [[f"{each['number']} {each['name']}", each["rule"]] for each in one["verdicts"]]
    evidence = [
        [each["number"], "–" if seen["target"] is None else f"{seen['target']:,}", seen["what"], _values(seen)]
        for each in one["verdicts"]
        for seen in each["evidence"]
    ]
    parts = [verdicts]
    if evidence:
        headings = ["check", "target", "what", "values"]
        parts.append(fold("evidence", table(headings, evidence, label=f"evidence about {one['name']}")))
    parts.append(fold("the rules", table(["check", "rule"], rules, label="what each check stands for")))
    return tag("section", tag("h2", one["name"], id=heading), *parts, aria_labelledby=heading)


def _because(each: Mapping[str, Any]) -> str:
    settles = each.get("settles")
    return f"{each['because']}; what would settle it: {settles}" if settles else str(each["because"])


def _wall_s(each: Mapping[str, Any]) -> float:
    return float(each["cost"]["wall_s"])


def _values(seen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in seen["values"].items()) or "–"
