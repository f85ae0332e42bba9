"""`submission.json` of an entry: the fields of the challenge's records, numbers as the tables have them."""

from datetime import date
from typing import Any

from pgolf.submission.entry import AUTHOR_FIELDS, Entry, SeedEntry
from pgolf.submission.refusals import compliance

TRACKS = {True: "track_10min_16mb", False: "track_non_record_16mb"}


def gap(what: str) -> str:
    """What nobody has told, for the author to fill in: easily found, and never taken for an answer."""
    return f"<<FILL IN: {what}>>"


def submission_json(entry: Entry, *, is_record: bool, on: date) -> dict[str, Any]:
    """The fields in the order in which people look for them. on: the submission's date."""
    bpb, loss = entry.summary("bpb"), entry.summary("loss_nats")
    return {
        **{name: entry.told.get(name) or gap(name) for name in AUTHOR_FIELDS},
        "date": on.isoformat(),
        "track": TRACKS[is_record],
        "val_bpb": bpb.mean,
        "val_bpb_std": bpb.std,
        "val_loss": loss.mean,
        "val_loss_std": loss.std,
        "val_loss_unit": "nats per token",
        "scorer": entry.arm.scorer,
        "seeds": [one.seed for one in entry.seeds],
        **({"seeds_without_result": missing} if (missing := [one.seed for one in entry.arm.missing]) else {}),
        "seed_results": {str(one.seed): _of_seed(one) for one in entry.seeds},
        "bytes_total": entry.total_bytes,
        "bytes_code": len(entry.script.script),
        "hardware": entry.hardware,
        "pytorch_version": str(entry.first.trained.key["tools"].get("torch", "")),
        "compliance": dict(compliance(entry)),
        "configuration": entry.first.row["recipe_key"],
        "made_by": f"pgolf, run {', '.join(run.key for run in entry.arm.runs)}",
    }


def _of_seed(one: SeedEntry) -> dict[str, Any]:
    row = one.row
    return {
        "val_loss": row["loss_nats"],
        "val_bpb": row["bpb"],
        "network_val_loss": one.network["loss_nats"],
        "network_val_bpb": one.network["bpb"],
        "val_targets": row["targets"],
        "val_bytes": row["bytes"],
        "artifact_bytes": row["artifact_bytes"],
        "code_bytes": row["code_bytes"],
        "total_bytes": row["total_bytes"],
        "steps": one.steps,
        "step_avg_ms": one.step_ms,
        "train_time_s": row["train_clock_s"],
        "eval_time_s": row["eval_clock_s"],
    }
