"""What the scripts of the recipes take of the budget, and of what."""

import json

import pytest

from pgolf.bundle.bundle import bundle, settings_of
from pgolf.bundle.script import program_of
from pgolf.bundle.settings_read import settings_in
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides


# The two that take most of their limits; the others are smaller by what they leave out.
@pytest.mark.parametrize(("name", "limit_bytes"), [("pr792", 40_000), ("pr761", 48_000)])
def test_a_published_systems_script_keeps_to_its_size_and_says_all_its_settings(name, limit_bytes):
    script = bundle(recipe_named(name))
    assert len(script) <= limit_bytes
    assert settings_in(script) == settings_of(recipe_named(name))


def test_numbers_of_settings_change_no_byte_of_the_program_and_no_size():
    recipe = recipe_named("pr792")
    numbers = ["train.muon_lr=0.03", "score.stride=32", "count.stride=32", "mix.orders=[4]", "headline.order=4"]
    other = apply_overrides(recipe, numbers)
    assert bundle(other) != bundle(recipe)
    assert program_of(bundle(other)) == program_of(bundle(recipe))
    assert len(bundle(other)) == len(bundle(recipe))


@pytest.mark.parametrize("name", ["pr638", "pr715", "pr745"])
def test_fields_that_a_program_never_reads_are_in_its_settings_text_at_most(name):
    """A new setting of one system costs the others nothing."""
    script = bundle(recipe_named(name))
    program = program_of(script)
    for unread in ("crownq_bits", "late_qat_bits", "recurrence_from", "muon_row_norm", "sensitivities"):
        assert unread not in program
    assert "muon_lr" in program
    for written in ("mlp_slope", "skip_gates"):  # in the packed file, with the whole network
        assert written in program
    assert settings_in(script) == settings_of(recipe_named(name))


def test_the_script_is_ascii_but_for_its_program_and_names_no_path():
    script = bundle(recipe_named("pr792"))
    head = script[: script.index(b"exec(")]
    assert head.isascii()
    assert b"/" not in json.dumps(head.decode()).encode().replace(b"\\", b"")
