"""The section about bytes: code and tensors against the budget, the packings tried, size against loss."""

from collections.abc import Sequence
from typing import Any

from pgolf.report.markup import Markup
from pgolf.report.page_parts import Num, charts, fold, table, whole, yes_no
from pgolf.report.run_tables import RunTables
from pgolf.report.size_charts import REST, Share, Sized, attempts_chart, budget_bar, size_and_loss
from pgolf.tables.detail_tables import TENSORS

_GROUPS_SHOWN = 7


def size_section(run: RunTables) -> tuple[Markup, ...]:
    """Its content; nothing where no size is known."""
    figures, folded = [], []
    sized = [(seed, row) for seed, row in run.by_seed.items() if row["total_bytes"] is not None]
    if sized:
        seed, row = max(sized, key=lambda item: int(item[1]["total_bytes"]))
        tensors = [tensor for tensor in run.detail(TENSORS.name) if tensor["seed"] == seed]
        shares = _shares(tensors, row["code_bytes"], row["artifact_bytes"])
        if shares:
            which = f"Bytes of seed {seed}, the largest" if len(sized) > 1 else f"Bytes of seed {seed}"
            figures.append(budget_bar(shares, row["budget_bytes"], which))
        if tensors:
            folded.append(_tensor_table(tensors))
    if run.attempts:
        figures.append(attempts_chart(run.attempts, run.network_bpb(), "Packings tried"))
        figures += size_and_loss_of([(None, run, "")])
        folded.append(_attempt_table(run))
    return (charts(*figures), *folded) if figures else ()


def size_and_loss_of(of: Sequence[tuple[int | None, RunTables, str]]) -> list[Markup]:
    """Size against loss. of: colour, run and label; without a colour every seed has its own."""
    packings = []
    for colour, run, label in of:
        bpb = run.network_bpb()
        for row in run.attempts:
            number = run.seeds.index(row["seed"]) if colour is None and row["seed"] in run.seeds else colour or 0
            loss = bpb.get(row["seed"]) if row["chosen"] else None
            packings.append(Sized(label or f"seed {row['seed']}", number, row["total_bytes"], loss))
    if not any(packing.bpb is not None for packing in packings):
        return []
    budgets = {row["budget_bytes"] for _, run, _ in of for row in run.attempts}
    return [size_and_loss(packings, budgets.pop() if len(budgets) == 1 else None, "Size against loss")]


def _shares(tensors: Sequence[dict[str, Any]], code_bytes: int | None, artifact_bytes: int | None) -> list[Share]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for tensor in tensors:
        groups.setdefault(tensor["group"] or tensor["tensor"], []).append(tensor)
    found = []
    for name, members in groups.items():
        size = sum(member["packed_bytes"] for member in members)
        elements = sum(member["elements"] or 0 for member in members)
        bits = f", {8 * size / elements:.2f} bits each" if elements else ""
        found.append(Share(name, size, f"{elements:,} numbers{bits}" if elements else "what describes the tensors"))
    found.sort(key=lambda share: -share.size_bytes)
    if not found and artifact_bytes is not None:
        found = [Share("packed model", artifact_bytes, "all tensors")]
    rest = found[_GROUPS_SHOWN - 1 :]
    if len(rest) > 1:
        found = [*found[: _GROUPS_SHOWN - 1],
                 Share(REST, sum(share.size_bytes for share in rest), f"{len(rest)} groups")]  # fmt: skip
    code = [] if code_bytes is None else [Share("code", code_bytes, "the script, as submitted")]
    return [*code, *found] if found else []


def _tensor_table(tensors: Sequence[dict[str, Any]]) -> Markup:
    rows = [
        [t["tensor"], t["stored"], Num(whole(t["elements"])), Num(whole(t["plain_bytes"])),
         Num(whole(t["packed_bytes"])),
         Num("–" if not t["elements"] else f"{8 * t['packed_bytes'] / t['elements']:.2f}")]
        for t in sorted(tensors, key=lambda t: -t["packed_bytes"])
    ]  # fmt: skip
    codec = tensors[0]["codec"]
    rows.append(["all", "", Num(whole(sum(t["elements"] or 0 for t in tensors))),
                 Num(whole(sum(t["plain_bytes"] or 0 for t in tensors))),
                 Num(whole(sum(t["packed_bytes"] for t in tensors))), ""])  # fmt: skip
    caption = (
        f"codec {codec}. Tensors share compressed streams: a stream's bytes are dealt out by the entropy of what lies "
        "in it. Of codes the bits of the largest are told."
    )
    headings = ["tensor", "stored as", "numbers", "before compression (B)", "packed (B)", "bits each"]
    return fold(f"all {len(tensors)} tensors", table(headings, rows, label="bytes by tensor", caption=caption, sums=1))


def _attempt_table(run: RunTables) -> Markup:
    bpb = run.network_bpb()
    rows = [
        [f"{row['seed']} / {row['attempt'] + 1}", row["rung"],
         f"{row['codec']} {row['level'] or ''}".strip(), Num(whole(row["artifact_bytes"])),
         Num(whole(row["total_bytes"])), yes_no(row["fits_budget"]), "chosen" if row["chosen"] else "",
         Num(f"{bpb[row['seed']]:.4f}" if row["chosen"] and row["seed"] in bpb else "–")]
        for row in run.attempts
    ]  # fmt: skip
    headings = ["seed / attempt", "rung", "codec", "packed (B)", "with code (B)", "fits", "", "network (bpb)"]
    label = f"all {len(rows)} packings"
    return fold(label, table(headings, rows, label="packings tried", caption="– : its loss was not measured"))
