"""The sections of a run's page, each a function of the run's tables; one without anything to show is left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgolf.report.amounts import span, spread
from pgolf.report.families import pictures_of
from pgolf.report.gantt import gantt, working_s
from pgolf.report.grid_maps import grid_figures
from pgolf.report.loss_curves import Training, loss_curves
from pgolf.report.markup import Markup, tag
from pgolf.report.page_parts import Num, charts, table, verdict, whole, yes_no
from pgolf.report.parts_charts import by_kind, by_place
from pgolf.report.provenance_section import provenance_section, setting_text
from pgolf.report.run_tables import MOST_DECLARED, NETWORK, RunTables, kind_of, scorer_label
from pgolf.report.sentences import NOT_JUDGED, failed_gates, texts_differ
from pgolf.report.size_section import size_and_loss_of, size_section
from pgolf.report.text_section import text_section
from pgolf.stats.seeds import SeedSummary, summarize
from pgolf.tables.declared_seeds import missing_notes
from pgolf.tables.detail_tables import LOSSES
from pgolf.tables.gates import GATES
from pgolf.tables.named_runs import settings_that_differ
from pgolf.tables.ranked import ScorerResult

# A page stays readable, and below 5 MB, whatever a grid varies.
_MOST_GROUPS = 12


@dataclass(frozen=True, slots=True)
class Section:
    """name: its anchor. title: empty for what stands above the contents."""

    name: str
    title: str
    content: tuple[Markup, ...]


def sections_of(run: RunTables, price_per_hour: float | None) -> list[Section]:
    """Every section that has something to show, in order."""
    found = [
        Section("summary", "", _summary(run)),
        Section("seeds", "Seed by seed", _seeds(run)),
        Section("gates", "Gates and verdicts", _gates(run)),
        Section("training", "Training", _training(run)),
        Section("where", "Where the bits go", _where(run)),
        Section("bytes", "Where the bytes go", size_section(run)),
        Section("grid", "The grid of mixtures", _grid(run)),
        Section("time", "Time" if price_per_hour is None else "Time and money", _time(run, price_per_hour)),
        Section("text", "Text, token by token", text_section(run)),
        Section("provenance", "Provenance, and how to reproduce it", provenance_section(run)),
    ]
    return [section for section in found if section.content]


def comparison(runs: Sequence[RunTables]) -> list[Section]:
    """What stands above the sections of several runs."""
    differing = settings_that_differ([run.run for run in runs])
    rows = []
    for run in runs:
        label, result = run.headline
        network = run.shown.get(NETWORK)
        rows.append(
            [
                run.run.name, Num(run.n), label, Num(spread(result.summary("bpb"))),
                Num(spread(None if network is None else network.summary("bpb"))),
                Num(_most_bytes(run)), _all_passed(run), *(setting_text(run, path) for path in differing),
            ]
        )  # fmt: skip
    headings = ["run", "seeds", "headline", "bits per byte", "network alone", "largest (B)", "gates", *differing]
    differ = texts_differ(runs)
    content = [
        tag("div", tag("p", differ, class_="note"), class_="missing") if differ else Markup(""),
        table(headings, rows, label="the runs side by side", caption="mean ± standard deviation over seeds"),
        charts(
            *_curves([(number, run, run.run.name) for number, run in enumerate(runs)]),
            *size_and_loss_of([(number, run, run.run.name) for number, run in enumerate(runs)]),
        ),
    ]
    return [Section("runs", "The runs side by side", tuple(filter(None, content)))]


def _summary(run: RunTables) -> tuple[Markup, ...]:
    label, result = run.headline
    network = run.shown.get(NETWORK)
    lowest = run.lowest_honest
    rows = list(run.by_seed.values())
    cards = [_card("headline, declared" if result.gate("declared") and label != NETWORK else "headline",
                   _bpb(result), f"{label}; {_n(run, result)}")]  # fmt: skip
    if network is not None and network is not result:
        cards.append(_card("network alone", _bpb(network), _n(run, network)))
    if lowest is not None and lowest is not result and lowest is not network:
        cards.append(_card("lowest honest cell", _bpb(lowest), f"{scorer_label(lowest)}; found by looking, no result"))
    total, budget = _largest(rows, "total_bytes"), _largest(rows, "budget_bytes")
    if total is not None:
        left = (
            "" if budget is None else f"{abs(budget - total):,} {'left' if total <= budget else 'OVER'} of {budget:,}"
        )
        cards.append(_card("largest artifact with code", f"{total:,.0f} B", left))
    for column, title in (("train_clock_s", "training clock"), ("eval_clock_s", "evaluation clock")):
        longest = _largest(rows, column)
        if longest is not None:
            within = all(row[f"within_{column.removesuffix('_s')}"] is not False for row in rows)
            cards.append(_card(f"{title}, longest", span(longest), "within the limit" if within else "OVER the limit"))
    failed = failed_gates(run)
    cards.append(_card("gates", _all_passed(run), ", ".join(failed)))
    facts = run.facts
    about = " · ".join(
        part for part in (
            f"seed{'s' if facts.n > 1 else ''} {', '.join(map(str, run.seeds))}",
            "" if facts.targets is None else f"{facts.targets:,} targets",
            "" if facts.bytes is None else f"{facts.bytes:,} bytes",
            facts.device, facts.dates, run.facts_said("host"),
        ) if part
    )  # fmt: skip
    said = [tag("p", about, class_="soft")]
    if run.run.note:
        said.append(tag("p", run.run.note))
    if run.run.tags:
        said.append(tag("p", "tags: ", ", ".join(run.run.tags), class_="soft"))
    said += [tag("div", tag("p", text, class_="note"), class_="missing") for text in run.missing]
    return (tag("dl", *cards, class_="cards"), *said)


def _card(title: str, value: object, small: str = "") -> Markup:
    return tag(
        "div", tag("dt", title), tag("dd", tag("b", value), tag("small", small) if small else None), class_="card"
    )


def _seeds(run: RunTables) -> tuple[Markup, ...]:
    shown = run.shown
    headings = ["seed", *(f"{label} (bpb)" for label in shown), "total (B)", "fits", "training clock (s)",
                "evaluation clock (s)"]  # fmt: skip
    rows: list[list[object]] = []
    for seed, row in run.by_seed.items():
        scores = [result.by_seed.get(seed, {}).get("bpb") for result in shown.values()]
        rows.append(
            [
                Num(seed), *(Num("–" if bpb is None else f"{bpb:.4f}") for bpb in scores),
                Num(whole(row["total_bytes"])), yes_no(row["fits_budget"]),
                Num(_seconds(row["train_clock_s"])), Num(_seconds(row["eval_clock_s"])),
            ]
        )  # fmt: skip
    rows += [[Num(one.seed), *[Num("–")] * (len(headings) - 1)] for one in run.declared_seeds.missing]
    n = len(run.seeds)
    over = [Num(spread(result.summary("bpb"))) for result in shown.values()]
    clocks = [_over_seeds(run, name) for name in ("train_clock_s", "eval_clock_s")]
    rows.append([f"mean ± std (n = {run.n})" if n > 1 else f"mean (n = {run.n})", *over, Num(_most_bytes(run)), "",
                 *(Num(spread(clock, ".1f")) for clock in clocks)])  # fmt: skip
    note = (
        "standard deviation with n − 1 below the sum; of bytes the largest counts"
        if n > 1
        else "one seed: there is no standard deviation, and nothing can be tested"
    )
    if (more := len(run.declared) - MOST_DECLARED) > 0:
        note += f"; {more:,} more declared mixtures are not shown, `pgolf results` has them"
    hints = [tag("p", text, class_="note") for text in missing_notes(run.declared_seeds.missing)]
    missing = [tag("div", hint, class_="missing") for hint in hints]
    return (table(headings, rows, label="results by seed", caption=note, sums=1), *missing)


def _gates(run: RunTables) -> tuple[Markup, ...]:
    names = list(GATES)
    headings = ["scorer", *(GATES[name].passed for name in names), "mean mass", "verdict"]
    rows = []
    for label, result in run.shown.items():
        verdicts = [result.gate(name) for name in names]
        mass = result.summary("mass_mean")
        ranked = (
            "ranked" if all(verdicts) else "legacy: no code length" if kind_of(result) == "legacy" else "not ranked"
        )
        masses = Num("–" if mass is None else f"{mass.mean:.4g}")
        rows.append([label, *(verdict(one) for one in verdicts), masses, ranked])
    clocks = [
        [f"seed {seed}", verdict(row["within_train_clock"]), verdict(row["within_eval_clock"]),
         verdict(row["fits_budget"])]
        for seed, row in run.by_seed.items()
    ]  # fmt: skip
    rules = run.facts_said("ruleset")
    return (
        table(headings, rows, label="gates of each scorer",
              caption=f"a scorer is ranked only if every seed passes every gate; rule set {rules or 'not recorded'}"),
        table(["seed", "training clock", "evaluation clock", "budget"], clocks, label="limits of each seed",
              caption="the clocks of the challenge; they are told, and no gate of the ranking"),
    )  # fmt: skip


def _training(run: RunTables) -> tuple[Markup, ...]:
    figures = _curves([(0, run, "")])
    return (charts(*figures),) if figures else ()


def _curves(of: Sequence[tuple[int, RunTables, str]]) -> list[Markup]:
    """Loss curves. of: colour, run and label; without a label every seed has its own."""
    trainings, has_clock = [], True
    for colour, run, label in of:
        by_seed: dict[Any, list[dict[str, Any]]] = {}
        for row in run.detail(LOSSES.name):
            by_seed.setdefault(row["seed"], []).append(row)
        for number, (seed, rows) in enumerate(by_seed.items()):
            columns = [np.array([row[name] for row in rows], np.float64) for name in ("step", "clock_s", "loss_nats")]
            has_clock &= bool(np.isfinite(columns[1]).all())
            trainings.append(Training(label or f"seed {seed}", colour if label else number, *columns))
    if not trainings:
        return []
    return [loss_curves(trainings, by=by) for by in ("step", *(["clock"] if has_clock else []))]


def _where(run: RunTables) -> tuple[Markup, ...]:
    parts = run.parts()
    figures = []
    if "position" in parts:
        figures.append(by_place("By position in the window", "tokens of context in the window", parts["position"],
            "where windows overlap only the last stride of each is scored, so nearly all targets have a long context; "
            "parts of less than 1 % of the targets do not set the scale"))  # fmt: skip
    if "offset" in parts:
        figures.append(by_place("By place in the document", "tokens since the document began", parts["offset"],
            "early tokens have to be predicted before the document has shown what it is about"))  # fmt: skip
    if "length" in parts:
        figures.append(by_place("By length of the document", "tokens of the document", parts["length"],
            "all targets of documents of such a length"))  # fmt: skip
    if "kind" in parts:
        figures.append(by_kind("By kind of token", parts["kind"],
            "how much of the code length each kind takes; kinds are told by the tokenizer's pieces"))  # fmt: skip
    if not figures:
        return ()
    note = "The network alone, as packed: every scored target of the validation text, mean over seeds."
    return (tag("p", note, class_="soft"), charts(*figures, wide=True))


def _grid(run: RunTables) -> tuple[Markup, ...]:
    groups = grid_figures(pictures_of(run.results), run.facts)
    if not groups:
        return ()
    cells = len([result for result in run.results if scorer_label(result) != NETWORK])
    intro = (
        f"{cells:,} mixtures of the network and n-gram counts, every one for every seed. Honest ones are distributions "
        "over the whole vocabulary; legacy ones are not, and stand beside the total mass that they hand out."
    )
    cut = f"The first {_MOST_GROUPS} of {len(groups)} pictures; `pgolf results` has every cell."
    return (
        tag("p", intro, class_="soft"),
        *(charts(*group) for group in groups[:_MOST_GROUPS]),
        *([tag("p", cut, class_="soft")] if len(groups) > _MOST_GROUPS else []),
    )


def _time(run: RunTables, price_per_hour: float | None) -> tuple[Markup, ...]:
    stages = run.stage_times()
    if not stages:
        return ()
    ordered = sorted(stages, key=lambda stage: (stage.started_s, stage.node))
    known = [stage for stage in ordered if stage.wall_s is not None]
    built = [stage for stage in known if stage.built]

    def money(seconds: float | None) -> list[Num]:
        if price_per_hour is None:
            return []
        return [Num("–" if seconds is None else f"{seconds / 3600 * price_per_hour:,.2f}")]

    rows: list[list[object]] = [
        [stage.node, "built" if stage.built else "reused",
         Num("–" if stage.wall_s is None else f"{stage.wall_s:,.1f}"), *money(stage.wall_s)]
        for stage in ordered
    ]  # fmt: skip
    for words, some in (("built by this run", built), ("all", known)):
        rows.append([words, f"{len(some)} stages", Num(f"{working_s(some):,.1f}"), *money(working_s(some))])
    headings = ["stage", "", "seconds", *(["cost"] if price_per_hour is not None else [])]
    caption = "the sums are time of the machine: what ran side by side counts once"
    if price_per_hour is not None:
        caption += f"; at {price_per_hour:g} per hour of the machine"
    return (
        tag("div", gantt(stages), table(headings, rows, label="time by stage", caption=caption, sums=2),
            class_="charts"),
    )  # fmt: skip


def _bpb(result: ScorerResult) -> str:
    return spread(result.summary("bpb"))


def _n(run: RunTables, result: ScorerResult) -> str:
    return f"bits per byte, n = {run.n}" if len(result.by_seed) > 1 else f"bits per byte, {run.one_seed}"


def _all_passed(run: RunTables) -> Markup:
    failed = failed_gates(run)
    unjudged = all(text.startswith(NOT_JUDGED) for text in failed)
    return verdict(True) if not failed else verdict(None if unjudged else False)


def _largest(rows: Sequence[Any], column: str) -> float | None:
    return max((row[column] for row in rows if row[column] is not None), default=None)


def _most_bytes(run: RunTables) -> str:
    most = _largest(list(run.by_seed.values()), "total_bytes")
    return "–" if most is None else f"{most:,.0f}"


def _over_seeds(run: RunTables, column: str) -> SeedSummary | None:
    values = [row[column] for row in run.by_seed.values()]
    return summarize(values) if values and None not in values else None


def _seconds(value: Any) -> str:
    return "–" if value is None else f"{value:,.1f}"
