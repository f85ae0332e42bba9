"""The numbers of a submission's README: rows of seeds, means and deviations, and the score that it begins with."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import stdev
from typing import Any

from pgolf.submission.as_written import agree, agree_computed, as_written, unless_one_of
from pgolf.submission.folder_files import JSON, README
from pgolf.submission.printed_scores import PrintedScore, lines_in

LEAST_BYTES = 1000  # smaller numbers stand for much else
# A number in a line of prose or a table; repetitions are bounded, for the text is others'.
NUMBER = re.compile(r"(?<![\w.])\d[\d,]{0,20}+(?:\.\d{1,20}+)?+(?![\w.]{0,20}\d)")

# A field of a seed's results by the head of the column that shows it, in lower case.
_COLUMNS = {
    "steps": r"(?:training )?steps",
    "step_avg_ms": r"ms ?/ ?step|step[ _]avg(?:[ _]ms| \(ms\))?",
    "train_time_s": r"(?:train|training)(?: time| clock)? \(s\)|train_time_s",
    "eval_time_s": r"(?:eval|evaluation)(?: time| clock)? \(s\)|eval_time_s",
}
_BPB, _LOSS = re.compile(r"bp[bp]|bits.{0,3}byte"), re.compile(r"loss|nats")
_BYTES = re.compile(r"\bbytes\b|\(b\)|artifact|total|size")
# Of a column that shows no score but how two differ.
_DIFFERENCE = re.compile(r"[Δδ−]|delta|diff|gain|\bvs\b|improve|over ")
_MEAN, _STD = re.compile(r"mean|average|avg"), re.compile(r"std(?:ev)?|sd|std\.? dev(?:iation)?|standard deviation")
_HEADLINE = re.compile(r"\W{0,4}val_bpb\W{0,4}(\d\.\d{1,20})(?:\W{0,4}±\s?(\d\.\d{1,20}))?")


def against_seed(
    readme: str, seed: int, fields: Mapping[str, Any], sizes: Sequence[int], scores: Sequence[PrintedScore]
) -> Iterator[str]:
    """What the row of a seed has otherwise than the JSON. sizes: in bytes that its seed has there.

    scores: of the seed's log; a column of scores that the JSON has no field of is held against these.
    """
    where = f"{README}, row of seed {seed},"
    for heads, rows in _tables(readme):
        for cells in rows:
            if not re.fullmatch(rf"\W{{0,9}}(?:seed\W{{0,9}})?{seed}\W{{0,9}}", cells[0], re.IGNORECASE):
                continue
            told = _numbers(heads, cells)
            for name, kind in (("val_bpb", _BPB), ("val_loss", _LOSS)):
                of_kind = {head: number for head, number in told.items() if _is_score(head) is kind}
                of_json = [Decimal(one) for field, one in fields.items() if field.endswith(name) and _is_number(one)]
                printed = [one.bpb_text if kind is _BPB else one.loss_text for one in scores]
                yield from unless_one_of(
                    f"{JSON} seed_results[{seed}].{name}", fields.get(name), [*of_kind.values()], where
                )
                known = [*of_json, *(Decimal(text) for text in printed if text is not None)]
                for head, number in of_kind.items():
                    if scores and not _DIFFERENCE.search(head):
                        yield from unless_one_of(f"{where} {head},", number, known, f"{JSON} and log")
            for name, head_of in _COLUMNS.items():
                for head, number in told.items():
                    if re.fullmatch(head_of, head):
                        yield from unless_one_of(
                            f"{JSON} seed_results[{seed}].{name}", fields.get(name), [number], where
                        )
            for head, number in told.items():
                is_size = _BYTES.search(head) and _is_score(head) is None and number >= LEAST_BYTES
                if is_size and sizes and number not in sizes:
                    nearest = min(sizes, key=lambda one: abs(one - number))
                    yield f"{where} says {as_written(number)} bytes, {JSON} {nearest:,}"


def against_itself(readme: str, seeds: Sequence[int], about: Mapping[str, Any]) -> Iterator[str]:
    """Means and deviations that are not those of the column above them, and a first score that is not the JSON's."""
    for heads, rows in _tables(readme):
        columns: dict[str, list[Decimal]] = {}
        for cells in rows:
            first = re.sub(r"[^\w. ]", "", cells[0]).strip().lower()
            told = {head: number for head, number in _numbers(heads, cells).items() if _is_score(head)}
            if first.removeprefix("seed").strip() in map(str, seeds):
                for head, number in told.items():
                    columns.setdefault(head, []).append(number)
                continue
            for kind, what in ((_MEAN, "mean"), (_STD, "standard deviation")):
                for head, number in told.items() if kind.fullmatch(first) else ():
                    of = columns.get(head, ())
                    if len(of) < 2:
                        continue
                    computed = sum(of, Decimal()) / len(of) if kind is _MEAN else Decimal(stdev(of))
                    if not agree_computed(number, computed, of):
                        yield f"{README}, {head}, has {what} {number}, that of its {len(of)} seeds is {computed:.8f}"
    headline = next((match for line in lines_in(readme) if (match := _HEADLINE.match(line))), None)
    if headline is None:
        return
    for name, text in (("val_bpb", headline[1]), ("val_bpb_std", headline[2])):
        if text is not None and isinstance(about.get(name), Decimal) and not agree(about[name], Decimal(text)):
            yield f"{JSON} {name} says {about[name]}, {README} begins with {text}"


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Heads, in lower case, and the cells of the rows of every table in Markdown."""
    heads: list[str] = []
    rows: list[list[str]] = []
    for line in [*lines_in(text), ""]:
        if not line.lstrip().startswith("|"):
            if rows:
                yield heads, rows
            heads, rows = [], []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not heads:
            heads = [re.sub(r"[*`]", "", cell).strip().lower() for cell in cells]
        elif not all(re.fullmatch(r":?-*:?", cell) for cell in cells):
            rows.append(cells)


def _numbers(heads: Sequence[str], cells: Sequence[str]) -> dict[str, Decimal]:
    """Head -> the first number of its cell, but for the first column, which says whose row it is."""
    found = ((head, NUMBER.search(cell)) for head, cell in zip(heads[1:], cells[1:], strict=False))
    return {head: Decimal(match[0].replace(",", "")) for head, match in found if match is not None}


def _is_score(head: str) -> re.Pattern[str] | None:
    """Whether a column shows bits per byte or nats, and which."""
    return next((kind for kind in (_BPB, _LOSS) if kind.search(head)), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, Decimal | int) and not isinstance(value, bool)
