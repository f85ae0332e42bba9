"""B15: bits per byte are charged against the bytes of the raw text."""

import math

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Compare what each target is counted as, their total, and the ratio of loss to bits per byte, with the text."""
    reported, whole, true_N = trial.subject.reported, trial.subject.whole, trial.text.target_bytes
    total = whole.bytes if whole is not None else None if true_N is None else int(true_N.sum())
    if reported is None or total is None:
        return not_applicable("no bytes were reported" if reported is None else "the text's bytes are not known")
    seen = []
    if reported.target_bytes is not None and true_N is not None:
        counted_N = np.asarray(reported.target_bytes(trial.text.tokens.copy()))
        if counted_N.shape != true_N.shape:
            return failed(f"bytes are counted for {len(counted_N):,} of {len(true_N):,} targets")
        if (wrong := np.flatnonzero(counted_N != true_N)).size:
            return _wrongly_counted(trial, counted_N, true_N, wrong)
        seen.append(f"each of {len(true_N):,} targets is counted as its bytes of the text")
    if reported.bytes is not None:
        if reported.bytes != total:
            return failed(
                f"{reported.bytes:,} bytes are reported, and the text has {total:,}: bits per byte are too low by "
                f"a factor of {reported.bytes / total:.4f}",
                Evidence(what="total bytes", values={"reported_bytes": reported.bytes, "text_bytes": total}),
            )
        seen.append(f"{total:,} bytes")
    if reported.bpb is not None:
        targets, loss_nats = (trial.text.targets if whole is None else whole.targets), reported.loss_sum_nats
        off_bpb = reported.off_bpb
        if loss_nats is not None:
            off_bpb += reported.off_nats * targets / math.log(2) / total
        elif whole is None:
            loss_nats = float(trial.base.sum())
        elif whole.loss_sum_nats is None:
            return inconclusive(
                f"{reported.bpb:.4f} bits per byte are reported of {targets:,} targets and no loss, and {whole.lack}",
                "the loss as reported (--reported-loss), or all of the text scored (--whole-text)",
            )
        else:
            loss_nats = whole.loss_sum_nats
        bpb = loss_nats / math.log(2) / total
        if abs(reported.bpb - bpb) > off_bpb:
            return failed(
                f"{reported.bpb:.4f} bits per byte are reported; {loss_nats:.2f} nats over {total:,} bytes are "
                f"{bpb:.4f}",
                Evidence(what="loss over bytes", values={"reported_bpb": reported.bpb, "bpb": bpb}),
            )
        seen.append(f"{bpb:.4f} bits per byte are the loss over them")
    return passed("; ".join(seen)) if seen else not_applicable("no bytes were reported")


def _wrongly_counted(trial: Trial, counted_N: np.ndarray, true_N: np.ndarray, wrong: np.ndarray) -> Finding:
    target, ratio = int(wrong[0]) + 1, float(counted_N.sum() / true_N.sum())
    token = int(trial.text.tokens[target])
    return failed(
        f"{len(wrong):,} targets are not counted as their bytes of the text, {ratio:.4f} times as many in total; the "
        f"first, target {target:,} (token {token}), as {int(counted_N[target - 1])} instead of "
        f"{int(true_N[target - 1])}",
        Evidence(what="bytes of a target", target=target, values={"wrong_targets": len(wrong), "ratio": ratio}),
    )


CHECK = RuleCheck(
    number="B15",
    name="bytes",
    rule="bits per byte are charged against the raw text: a byte token is 1 byte, a space counts once, a sentinel not "
    "(#1184, #1734, #2138)",
    find=find,
)
