"""What a finished stage made, as one short text for its console line."""

import math
from collections.abc import Callable, Mapping

from pgolf.run_options import Fact
from pgolf.store.artifact import Artifact

Facts = Mapping[str, Fact]


def summary(artifact: Artifact) -> str:
    """The stage's own sentence; a fact that an older output lacks is left out."""
    facts = artifact.record.facts
    say = TEXTS.get(artifact.record.stage, _first_facts)
    try:
        return say(facts)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return _first_facts(facts)


def short(value: Fact) -> str:
    """A fact as a person reads it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return value


def in_words(name: str, value: Fact) -> str:
    """A live fact as a person says it, with its unit: `loss 3.2598 nats`, `1,139 tokens/s`, `GPU memory 31.2 GiB`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and name.endswith("_nats"):
        return f"{_spoken(name, '_nats')} {value:.4f} nats"
    if is_number and name.endswith("_per_s"):
        return f"{short(value)} {_spoken(name, '_per_s')}/s"
    if is_number and name.endswith("_bytes"):
        assert isinstance(value, int | float)
        size = f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.1f} MiB"
        return f"{_spoken(name, '_bytes')} {size}"
    if is_number and name.endswith("_s"):
        assert isinstance(value, int | float)
        return f"{_spoken(name, '_s')} {span(value)}"
    return f"{_spoken(name, '')} {short(value)}"


def _spoken(name: str, unit: str) -> str:
    return name.removesuffix(unit).replace("_", " ").replace("gpu", "GPU")


def span(seconds: float) -> str:
    """A time as a person says it: 42 s, 3 min 05 s, 2 h 10 min."""
    if not math.isfinite(seconds):
        return "an unknown time"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _first_facts(facts: Facts) -> str:
    return "  ".join(f"{name} {short(value)}" for name, value in list(facts.items())[:4])


def _data(facts: Facts) -> str:
    documents = f" of {facts['num_docs']:,} documents" if "num_docs" in facts else ""
    unverified = "" if facts.get("bytes_verified", True) else f", bytes not verified: {facts['bytes_unverified']}"
    share = facts.get("dropped_share")
    shown = isinstance(share, float) and share >= 0.0005
    dropped = f", drops {share:.1%} of the text" if shown else ""
    return (
        f"{facts['tokens_train']:,} train + {facts['tokens_val']:,} val tokens{documents}, "
        f"vocabulary {facts['vocab_size']:,}{dropped}{unverified}"
    )


def _shards(facts: Facts) -> str:
    return (
        f"{facts['tokens_train']:,} train + {facts['tokens_val']:,} val tokens in {facts['files']:,} shards, "
        f"vocabulary {facts['vocab_size']:,}"
    )


def _train(facts: Facts) -> str:
    resumed = f", resumed at step {facts['resumed_at_step']:,}" if facts.get("resumed_at_step") else ""
    unranked = ", interrupted: not ranked" if facts.get("interrupted") else ""
    return f"{facts['steps']:,} steps, loss {facts['train_loss_nats']:.4f} nats{resumed}{unranked}"


def _import(facts: Facts) -> str:
    bare = f", named without {facts['prefixes']}" if facts.get("prefixes") else ""
    return f"{facts['parameters']:,} parameters in {facts['tensors']} published tensors{bare}"


def _calibrate(facts: Facts) -> str:
    return f"{facts['hessians']} Hessians from {facts['tokens']:,} tokens"


def _compress(facts: Facts) -> str:
    under_bytes = int(facts["under_bytes"] or 0)
    room = f"{under_bytes:,} under" if under_bytes >= 0 else f"{-under_bytes:,} over the budget"
    return f"{facts['summary']}  {facts['total_bytes']:,} B ({room})"


def _score(facts: Facts) -> str:
    learned = "" if facts.get("causal", True) else ", after learning them: no score"
    return f"{facts['targets']:,} targets, {facts['bpb']:.4f} bpb{learned}"


def _count(facts: Facts) -> str:
    return f"{facts['orders']} orders, {facts['records']:,} targets"


def _hint(facts: Facts) -> str:
    return f"{facts['orders']} orders, a hint for {facts['hinted']:,} of {facts['records']:,} targets"


def _mix(facts: Facts) -> str:
    return f"{facts['cells']:,} cells"


TEXTS: Mapping[str, Callable[[Facts], str]] = {
    "fetch": _shards,
    "tokenize": _data,
    "shards": _shards,
    "train": _train,
    "import": _import,
    "calibrate": _calibrate,
    "compress": _compress,
    "score": _score,
    "count": _count,
    "hint": _hint,
    "mix": _mix,
}
