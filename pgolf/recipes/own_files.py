"""Settings that follow from the files a user gives: whoever names documents, a tokenizer or shards means them."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from pgolf.corpus.config import TokenizeConfig
from pgolf.errors import PgolfError
from pgolf.recipes.overrides import with_values
from pgolf.recipes.recipe import Recipe


def fitted_to_files(
    recipe: Recipe, by_hand: Collection[str], *, documents: Path | None, tokenizer: Path | None, data: Path | None
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe that reads these files, and what to say about it.

    Only settings change with which the run would be refused, or would not read the files at all, and none that is set
    by hand. by_hand: dotted names of those.
    """
    if data is not None:
        return _with_vocabulary(recipe, by_hand, _pieces_of_data(data, tokenizer), f"--data {data}")
    values: dict[str, Any] = {}
    said: list[str] = []
    if documents is not None and "tokenize.source" not in by_hand:
        if recipe.tokenize is None:
            own = TokenizeConfig(vocab_size=recipe.model.vocab_size)
            recipe = recipe.model_copy(update={"fetch": None, "tokenize": own})
            said.append(f"--documents {documents} are tokenized, and nothing is fetched")
        elif recipe.tokenize.source == "builtin":
            values["tokenize.source"] = "documents"
            values |= {} if "tokenize.name" in by_hand else {"tokenize.name": "documents"}
            said.append(f"tokenize.source is documents, because of --documents {documents}")
    pieces = None
    if tokenizer is not None and recipe.tokenize is not None:
        if recipe.tokenize.tokenizer == "train" and "tokenize.tokenizer" not in by_hand:
            values["tokenize.tokenizer"] = "given"
            said.append(f"tokenize.tokenizer is given, because of --tokenizer {tokenizer}")
        pieces = _pieces_of(tokenizer)
        if pieces not in (None, recipe.tokenize.vocab_size) and "tokenize.vocab_size" not in by_hand:
            values["tokenize.vocab_size"] = pieces
            said.append(f"tokenize.vocab_size is {pieces:,}, as many pieces as --tokenizer {tokenizer} has")
    recipe = with_values(recipe, values.items()) if values else recipe
    recipe, more = _with_vocabulary(recipe, by_hand, pieces, f"--tokenizer {tokenizer}")
    return recipe, (*said, *more)


def _with_vocabulary(
    recipe: Recipe, by_hand: Collection[str], pieces: int | None, source: str
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe whose network knows all pieces; a larger vocabulary than needed stays as it is."""
    if pieces is None or pieces <= recipe.model.vocab_size or "model.vocab_size" in by_hand:
        return recipe, ()
    said = f"model.vocab_size is {pieces:,} instead of {recipe.model.vocab_size:,}, for the tokens of {source}"
    return with_values(recipe, [("model.vocab_size", pieces)]), (said,)


def _pieces_of(model: Path) -> int | None:
    """Size of a tokenizer's vocabulary; None where it cannot be read, which the stage that reads it says."""
    from pgolf.corpus.tokenizer import load_tokenizer

    with suppress(PgolfError, OSError):
        return len(load_tokenizer(model)) if model.is_file() else None
    return None


def _pieces_of_data(folder: Path, tokenizer: Path | None) -> int | None:
    from pgolf.corpus.data_files import find_data  # needs numpy, which most plans do not

    with suppress(PgolfError, OSError):
        return _pieces_of(find_data(folder, tokenizer).tokenizer)
    return None
