"""What the console says of a stage's progress, where there is no terminal."""

import re
from types import SimpleNamespace

import pytest

from flows.commands import console
from flows.commands.summary import in_words
from pgolf.mix.config import MixConfig
from pgolf.pipeline.graph import Node
from pgolf.recipes.recipe import MIX
from pgolf.run_options import Progress

NODE = Node(name="mix[7]", stage=MIX, config=MixConfig())


@pytest.fixture
def told(monkeypatch):
    """A function that reports `done` of 1,000 at a second, and returns what was said."""
    clock, said = [0.0], []
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    listener = console.Console({})
    monkeypatch.setattr(listener, "say", said.append)

    def report(at_s: float, done: int, **facts) -> str:
        clock[0] = at_s
        listener.progress(NODE, Progress(stage="mix", done=done, total=1000, unit="targets", facts=facts))
        return said.pop() if said else ""

    return report


def test_the_time_left_is_that_of_the_speed_so_far(told):
    assert told(0, 0) == ""
    assert re.search(r"mix\[7\] +targets 250 of 1,000  30 s left", told(10, 250))
    assert "30 s left" not in told(15, 500)  # a line every ten seconds
    assert re.search(r"targets 1,000 of 1,000$", told(40, 1000).rstrip())


def test_what_a_killed_run_had_done_is_no_speed(told):
    told(0, 900)
    assert "1 min 30 s left" in told(10, 910)


def test_hours_are_told_as_hours(told):
    told(0, 0)
    assert "27 h 45 min left" in told(100, 1)


def test_facts_are_told_in_words_with_their_units(told):
    told(0, 0)
    facts = {"step": 50, "loss_nats": 3.25981, "tokens_per_s": 1139, "elapsed_s": 44.0, "gpu_memory_bytes": 31 << 30}
    assert told(10, 250, **facts).endswith("30 s left  step 50  loss 3.2598 nats  1,139 tokens/s  GPU memory 31.0 GiB")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("size_bytes", 5 << 20, "size 5.0 MiB"),
        ("learned_chunks", 1200, "learned chunks 1,200"),
        ("wait_s", 90, "wait 1 min 30 s"),
        ("is_last", True, "is last true"),
        ("loss_nats", None, "loss nats null"),
    ],
)
def test_a_fact_in_words(name, value, said):
    assert in_words(name, value).replace("none", "null") == said
