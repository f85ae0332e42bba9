"""What a line or an error of a script means, by the map that stays at home."""

import ast
import inspect

import pytest

from flows.commands.cli import main
from pgolf.bundle.built import Built
from pgolf.bundle.bundle import built
from pgolf.bundle.explain import Explained, map_path, write_map
from pgolf.bundle.messages import Message, expand, numbered
from pgolf.bundle.script import program_of
from pgolf.errors import ConfigError
from pgolf.eval import scoring
from pgolf.recipes.catalog import recipe_named


@pytest.fixture(scope="module")
def made() -> Built:
    return built(recipe_named("pr792"))


@pytest.fixture
def explained(made, tmp_path) -> Explained:
    path = tmp_path / "train_gpt.py"
    path.write_bytes(made.script)
    write_map(made, map_path(path))
    return Explained(path)


def test_lines_of_the_program_name_module_function_and_line_of_the_source(made, explained):
    tree = ast.parse(program_of(made.script))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.lineno in made.lines]
    assert len(functions) > 300
    # Every function of a module begins where the source says it does.
    lines, first = inspect.getsourcelines(scoring.window_pieces)
    (own,) = [
        one
        for one in made.lines.values()
        if (one.module, one.function, one.line) == ("pgolf.eval.scoring", "window_pieces", first)
    ]
    assert lines[0].startswith("def window_pieces(")
    line = next(number for number, one in made.lines.items() if one == own)
    assert explained.line(line) == f"pgolf.eval.scoring, line {first}, in window_pieces"
    with pytest.raises(ConfigError, match="line 999,999 of the program is no statement"):
        explained.line(999_999)


def test_a_message_is_a_number_and_values_and_expands_to_the_text_of_the_source(made, explained):
    number = next(n for n, one in enumerate(made.messages, 1) if one.template.startswith("{} holds another network"))
    text = "model.pgolf holds another network than this script's recipe; give its own model"
    assert explained.message(f"({number}, 'model.pgolf')") == text
    assert explained.message(f"({number}, PosixPath('model.pgolf'))") == text
    assert explained.output(f"ConfigError: ({number}, PosixPath('model.pgolf'))\n") == f"ConfigError: {text}\n"
    assert explained.output("ValueError: 12.5 apples\n") == "ValueError: 12.5 apples\n"
    with pytest.raises(ConfigError, match="is no message of this script"):
        explained.message("(100000,)")


def test_texts_of_errors_are_taken_out_with_their_formats():
    def numbers(source: str) -> tuple[str, list[Message]]:
        tree = ast.parse(source)
        messages = numbered([("m", statement) for statement in tree.body], frozenset({"DataError"}))
        return ast.unparse(tree), messages

    text, messages = numbers("raise DataError(f'{path!r} holds {found:,} of {wanted + 1:>{width}} {{tokens}}')")
    assert text == "raise DataError(1, path, found, f'{wanted + 1:>{width}}')"
    assert expand(messages, (1, "a", 1234, " 7")) == "'a' holds 1,234 of  7 {tokens}"
    assert numbers("raise DataError(lines)") == ("raise DataError(lines)", [])
    assert numbers("raise Other('a long enough text')")[1] == []
    # What one error says of another is expanded too.
    _text, messages = numbers("DataError('the first of them')\nDataError(f'because: {error}')")
    assert expand(messages, (2, "(1, 'x')")) == "because: the first of them"


def test_a_missing_map_and_one_of_another_script_are_said(made, tmp_path, capsys):
    path = tmp_path / "train_gpt.py"
    assert main(["explain", str(path), "3"]) == 2
    path.write_bytes(made.script)
    assert main(["explain", str(path), "3"]) == 2
    write_map(made, map_path(path))
    path.write_bytes(made.script + b"\n")
    assert main(["explain", str(path), "3"]) == 2
    errors = capsys.readouterr().err
    assert "cannot be read" in errors
    assert "`pgolf bundle` wrote it beside the script" in errors
    assert "is of another script" in errors
