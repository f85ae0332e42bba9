"""The lines of a log: what they say, and that every number can be read back."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from pgolf.bundle.log_lines import (
    ScoreRead,
    clock_line,
    compress_lines,
    headline_in,
    headline_line,
    score_lines,
    scores_in,
)

FACTS = {
    "summary": "int6×18 int4×6",
    "bits": "attn 6.00, mlp 5.12",
    "codec": "zstd",
    "level": 22,
    "artifact_bytes": 324_732,
    "code_bytes": 38_001,
    "total_bytes": 362_733,
}


def cell(estimator: str, loss_nats: float = 2.5, *, normalized: bool = True, causal: bool = True, mass: float = 1.0):
    settings = {"estimator": estimator} | ({} if estimator == "neural" else {"mixer": "backoff", "order": 5})
    numbers = {"loss_nats": loss_nats, "bpb": loss_nats / math.log(2) / 3, "targets": 29_952, "bytes": 58_560}
    said = {"normalized": normalized, "causal": causal, "mass_mean": mass}
    return {"estimator": estimator, "cell": json.dumps(settings), **numbers, **said}


@given(st.floats(min_value=0.0), st.booleans(), st.booleans(), st.floats(min_value=0.0, max_value=1e9))
def test_every_number_of_a_scorer_is_read_back_to_the_last_digit(loss_nats, normalized, causal, mass):
    given = cell("hashed", loss_nats, normalized=normalized, causal=causal, mass=1.0 if normalized else mass)
    log = "\n".join(["step 1/4  loss 5.6929 nats", *score_lines([given]), headline_line([given])])
    told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
    assert scores_in(log) == [ScoreRead(name="hashed backoff (order 5)", **{name: given[name] for name in told})]


def test_what_is_no_code_length_is_said_and_is_no_result():
    network, exact, hashed = cell("neural"), cell("exact", 2.0), cell("hashed", 1.5, normalized=False, mass=35.354)
    lines = score_lines([network, exact, hashed])
    assert [line.split("  ")[:2] for line in lines] == [
        ["network", "2.5000 nats/token"],
        ["exact backoff (order 5)", "2.0000 nats/token"],
        ["hashed backoff (order 5)", "legacy, probabilities sum to 35.35: no code length"],
    ]
    assert headline_in("\n".join([*lines, headline_line([network, exact, hashed])])) == (2.0, exact["bpb"])
    assert headline_in(headline_line([network, hashed])) == (2.5, network["bpb"])
    assert headline_in("\n".join(lines)) is None
    peeked = [cell("neural", causal=False), cell("exact", 2.0, causal=False)]
    said = headline_line(peeked)
    assert said.startswith("val_loss:2.5 val_bpb:")
    assert said.endswith("  not causal, learned before it was scored: no code length")
    assert headline_in(said) is None


def test_what_is_over_a_limit_is_said_in_numbers():
    fits = compress_lines({**FACTS, "budget_bytes": 366_613, "under_bytes": 3_880}, 1.0)
    assert fits == [
        "packed  int6×18 int4×6  bits per weight: attn 6.00, mlp 5.12  zstd 22  1.0 s",
        "model 324,732 + code 38,001 = 362,733 bytes  3,880 under the budget of 366,613",
    ]
    over = compress_lines({**FACTS, "budget_bytes": 362_700, "under_bytes": -33}, 1.0)
    assert over[1].endswith("  33 OVER the budget of 362,700")
    assert clock_line("training", {"train": 599.9}) == "training clock  599.9 s of 600  train 599.9 s"
    late = clock_line("training", {"train": 600.0, "calibrate": 7.1})
    assert late == "training clock  607.1 s of 600, OVER  train 600.0 s  calibrate 7.1 s"
