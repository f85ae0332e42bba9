"""A recipe that goes through every stage in seconds: the demo with everything small, on a few made-up documents."""

import json
import random
from pathlib import Path

from pgolf.pipeline.graph import Sources
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Store

TINY = (
    "tokenize.source=documents",
    "tokenize.vocab_size=300",
    "tokenize.val_one_in=6",
    "model.vocab_size=300",
    "model.width=32",
    "model.layers=3",
    "model.heads=2",
    "model.kv_heads=1",
    "model.mlp_width=64",
    "model.bigram_buckets=64",
    "model.bigram_dim=8",
    "model.rope_dims=8",
    "train.tokens_per_step=512",
    "train.sequence_length=64",
    "train.steps=4",
    "train.warmdown_steps=2",
    "train.priming_steps=0",
    "calibrate.batches=1",
    "calibrate.sequences=1",
    "calibrate.sequence_length=64",
    "compress.fp16_max_elements=512",
    "compress.budget_bytes=16000000",
    "score.window=64",
    "score.stride=32",
    "count.window=64",
    "count.stride=32",
    "count.orders=2,3",
    "count.buckets=4096",
    # One point, which is no picture: a run of these stages takes seconds, and drawing the five of ALL_MIXERS four more.
    "mix.mixers=backoff",
    "mix.alphas=0.4",
    "mix.orders=[3]",
    "headline.order=3",
)
ALL_MIXERS = ("mix.mixers=fixed,backoff,adaptive", "mix.alphas=0.2,0.4", "mix.orders=null")
SEEDS = (1, 2)
# A run's trial of its own scorers, which takes as long as all its other stages: not for tests that look at something
# else. With it: tests/pipeline, tests/submission, and of tests/flows those of the command line and of whole flows.
UNTRIED = "audit=null"


def tiny_recipe(*overrides: str) -> Recipe:
    """The tiny recipe with further overrides."""
    return apply_overrides(recipe_named("demo"), [*TINY, "seeds=1,2", *overrides])


def tiny_arguments(folder: Path, *overrides: str) -> list[str]:
    """Arguments of `pgolf run demo` for the tiny recipe, with its store and tables in `folder`."""
    places = ["--documents", str(folder / "docs.jsonl"), "--store", str(folder / "store")]
    sets = [part for override in (*TINY, *overrides) for part in ("--set", override)]
    return ["demo", *places, "--results", str(folder / "results"), "--seeds", *map(str, SEEDS), *sets]


def write_documents(folder: Path, count: int = 60) -> Sources:
    """Deterministic text with repeating phrases, so that n-grams have something to find."""
    draw = random.Random(715)
    syllables = [a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "or", "un")]
    words = ["".join(draw.choices(syllables, k=draw.choice((1, 2, 2, 3)))) for _ in range(150)]
    phrases = [" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(80)]
    with (folder / "docs.jsonl").open("w") as file:
        for _ in range(count):
            text = ". ".join(" ".join(draw.choices(phrases, k=3)) for _ in range(draw.randint(8, 20)))
            file.write(json.dumps({"text": text}) + "\n")
    return Sources(documents=folder / "docs.jsonl")


def outputs(folder: Path) -> dict[str, dict[str, str]]:
    """Named outputs by node of the store in `folder`: what a rerun has to reproduce."""
    return {record.node: record.outputs for record in Store(folder / "store").records()}
