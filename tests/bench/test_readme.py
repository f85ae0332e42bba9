"""What README.md shows of the demo: one seed's stages and the trial, whichever seed came first."""

import pytest

from bench.readme import shortened

TABLES = "validation bits per byte by seed on x\nran: all\nreused: nothing\nrun: demo\n"


def stages(seed):
    return [f"✓ {stage}[{seed}]  1.0 s" for stage in ("train", "score", "mix")]


@pytest.mark.parametrize("order", [(1337, 7, 42), (7, 1337, 42), (42, 7, 1337)])
def test_the_seed_that_is_tried_is_shown_with_its_trial(order):
    of_seeds = [line for seed in order for line in stages(seed)]
    printed = "\n".join(["▸ data", "✓ data  2.0 s", *of_seeds, "✓ audit[1337]  5.0 s", "", TABLES])
    assert shortened(printed).splitlines() == [
        *("✓ data  2.0 s", *stages(1337), "  … and the other seeds", "✓ audit[1337]  5.0 s"),
        *("", "validation bits per byte by seed on x", "run: demo"),
    ]
