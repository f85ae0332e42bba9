"""The named recipes. Each is a function that returns a full configuration."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgolf.corpus.config import TokenizeConfig
from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError
from pgolf.eval.config import ScoreConfig
from pgolf.mix.config import MixConfig
from pgolf.model.config import ModelConfig
from pgolf.pack.config import CompressConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import Headline, Recipe
from pgolf.recipes.systems import FULL, tiny
from pgolf.train.config import TrainConfig


def demo() -> Recipe:
    """Every stage on real text in CPU minutes: PR #715's architecture, small, on Python's own documentation."""
    return Recipe(
        name="demo",
        description="every stage in minutes on a CPU: PR #715's architecture, small, on Python's own documentation",
        seeds=(1337, 42, 7),
        tokenize=TokenizeConfig(name="pydoc_sp512", source="builtin", vocab_size=512, val_split="content_hash"),
        model=ModelConfig(
            vocab_size=512,
            width=128,
            layers=4,
            heads=4,
            kv_heads=2,
            mlp_width=384,
            bigram_buckets=512,
            bigram_dim=32,
        ),
        train=TrainConfig(
            # Short training wants small steps, a faster rate and a shorter memory than the published 5,000 steps.
            tokens_per_step=1024,
            sequence_length=256,
            spans_per_step=4,
            steps=120,
            clock_limit_s=None,
            warmdown_steps=60,
            priming_steps=1,
            muon_lr=0.04,
            muon_momentum=0.9,
            muon_momentum_start=0.85,
            muon_momentum_warmup_steps=50,
            ema_decay=0.95,
        ),
        calibrate=CalibrateConfig(batches=4, sequences=4, sequence_length=256),
        # Small enough that int6 everywhere does not fit: the downgrade has to act. By two bits, so that one layer saves
        # more than zstd levels differ by, and most levels end on the same rung, with the same weights.
        compress=CompressConfig(method="gptq", budget_bytes=365_878, downgrade_bits=4, fp16_max_elements=4096),
        score=ScoreConfig(window=256, stride=64),
        # As many targets per bucket as the published runs have at their end: 30,000 over 2^14, 7.75 M over 2^22.
        count=CountConfig(window=256, stride=64, orders=(2, 3, 4, 5), ranks=1, buckets=1 << 14),
        mix=MixConfig(alphas=(0.05, 0.1, 0.2, 0.3, 0.4)),
        headline=Headline(mixer="backoff", order=5, alpha=0.4),
    )


def _tiny_twin(full: Callable[[], Recipe]) -> Recipe:
    return tiny(full())


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "demo": demo,
    **{full.__name__: full for full in FULL},
    **{f"{full.__name__}-tiny": partial(_tiny_twin, full) for full in FULL},
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError with the nearest names."""
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(RECIPES)}"
        raise ConfigError(f"no recipe {name}; {hint}")
    return RECIPES[name]().model_copy(update={"base": name})


def with_sections(recipe: Recipe, sections: Mapping[str, Any]) -> Recipe:
    """`recipe` with each section that is not None in place of its own. Raises ConfigError if they do not fit together.

    Giving fetch takes the place of tokenize and the other way round.
    """
    given = {name: value for name, value in sections.items() if value is not None}
    data = {name: getattr(recipe, name) for name in Recipe.model_fields} | given
    for one, other in (("fetch", "tokenize"), ("tokenize", "fetch")):
        if one in given and other not in given:
            data[other] = None
    return validated(Recipe, data)
