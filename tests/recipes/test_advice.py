"""What messages advise can be typed as it stands: settings by the names that `--set` takes, options that exist."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgolf
from flows.commands.cli import COMMANDS, command_named
from pgolf.eval.config import ScoreConfig
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import field_paths, section_in
from pgolf.recipes.recipe import Recipe

ROOT = Path(pgolf.__file__).parents[1]
# What other programs take.
FOREIGN = {
    "--host",
    "--standalone",
    "--nproc-per-node",
    "--version",
    "--porcelain",
    "--untracked-files",
    "--gpu-reset",
    "--shm-size",
    "--ipc",
}
# Text that is no advice to a user of pgolf.
OF_OTHERS = ("pgolf/submission", "pgolf/bundle", "pgolf/machine/launch", "pgolf/report/page_style", "tasks/")


def texts() -> Iterator[tuple[str, str]]:
    """Place and text of every string that the product's code holds, docstrings left out."""
    for file in sorted(path for room in ("pgolf", "flows", "tasks") for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(file.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                yield (
                    where,
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
                yield where, node.value


@pytest.fixture(scope="module")
def said() -> list[tuple[str, str]]:
    return list(texts())


def settings() -> set[str]:
    """Every name that --set takes: of sections, and of fields, those of optional sections among them."""
    names = set()
    for base in ("demo", "pr745"):
        recipe = recipe_named(base)
        lora = section_in(ScoreConfig.model_fields["ttt"].annotation, None, "score.ttt", {"kind": "lora"})
        assert lora is not None
        names |= {f"score.ttt.{name}" for name in field_paths(lora)}
        for path, annotation in {
            "hint": Recipe.model_fields["hint"].annotation,
            "fetch": Recipe.model_fields["fetch"].annotation,
        }.items():
            section = section_in(annotation, None, path)
            assert section is not None
            names |= {path, *(f"{path}.{name}" for name in field_paths(section))}
        for path in field_paths(recipe):
            parts = path.split(".")
            names |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return names


def test_settings_are_advised_by_the_names_that_set_takes(said):
    known = settings()
    advised = [
        (where, match[1]) for where, text in said for match in re.finditer(r"--set '?([a-z_]+(?:\.[a-z_]+)*)\b", text)
    ]
    assert len(advised) > 30
    assert [(where, name) for where, name in advised if name not in known] == []


def test_no_message_names_a_field_by_its_class_or_without_its_section(said):
    by_class = [(where, text) for where, text in said if re.search(r"\b[A-Z][a-z]+Config\.[a-z]", text)]
    assert by_class == []
    bare = [(where, text) for where, text in said if re.search(r"(?<!-)\bset [a-z_]+=", text)]
    assert bare == []


def test_options_that_messages_name_exist(said):
    options = {"--help"}
    for name in COMMANDS:
        own = argparse.ArgumentParser()
        command_named(name).add_arguments(own)
        options |= set(own._option_string_actions)
    ours = {
        (where, option)
        for where, text in said
        if not where.startswith(OF_OTHERS)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+\b(?!_)", text)
    }
    assert len(ours) > 100
    assert sorted((where, option) for where, option in ours if option not in options | FOREIGN) == []
