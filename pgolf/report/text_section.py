"""The section of samples: text with every token coloured by what it cost."""

from typing import Any

from pgolf.report.markup import Markup, join, tag
from pgolf.report.run_tables import RunTables
from pgolf.stats.seeds import summarize
from pgolf.tables.detail_tables import SAMPLES

_HEAT_NATS = 8.0  # a token of this loss or more has the strongest colour
_HEAT_STEPS = 9


def text_section(run: RunTables) -> tuple[Markup, ...]:
    """Its content; nothing where there are no samples."""
    samples: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for row in run.detail(SAMPLES.name):
        samples.setdefault(row["sample"], {}).setdefault(row["target"], []).append(row)
    if not samples:
        return ()
    n = max(len(rows) for targets in samples.values() for rows in targets.values())
    scale = [tag("i", class_=f"l{k}") for k in range(1, _HEAT_STEPS + 1)]
    intro = tag(
        "p",
        f"The beginnings of {len(samples)} validation documents, spread evenly and chosen by nothing else, as the "
        f"tokenizer normalizes them. The stronger the colour, the more the token cost: 0 ",
        tag("span", *scale, class_="scale"),
        f" {_HEAT_NATS:g} nats or more{f', mean over {n} seeds' if n > 1 else ''}; point at a token for its loss.",
        class_="soft",
    )
    return (intro, *(_sample(sample, samples[sample]) for sample in sorted(samples)))


def _sample(number: int, targets: dict[int, list[dict[str, Any]]]) -> Markup:
    losses = {target: summarize(row["loss_nats"] for row in rows) for target, rows in sorted(targets.items())}
    first = next(iter(targets.values()))[0]
    tokens = [_token(targets[target][0], loss.mean) for target, loss in losses.items()]
    mean = summarize(loss.mean for loss in losses.values()).mean
    said = f"document {first['document'] + 1:,}: {len(tokens)} tokens, {mean:.2f} nats per token"
    return tag("section", tag("h3", said), tag("div", *tokens, class_="text"), aria_label=f"excerpt {number + 1}")


def _token(row: dict[str, Any], loss_nats: float) -> Markup:
    step = min(_HEAT_STEPS, round(_HEAT_STEPS * loss_nats / _HEAT_NATS))
    shown = row["text"] if row["special"] is None else join(row["text"], tag("b", row["special"]))
    return tag("i", shown, class_=f"l{step}" if step else None, title=f"{loss_nats:.2f}")
