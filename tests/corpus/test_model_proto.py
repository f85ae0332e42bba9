"""What a .model file says of itself, against the options it was trained with."""

from pathlib import Path

import pytest

from pgolf.corpus.model_proto import ModelSettings
from tests.corpus.odd_tokenizers import KINDS, processor_of, trained


@pytest.mark.parametrize("kind", KINDS)
def test_the_settings_are_those_the_model_was_trained_with(tmp_path: Path, kind: str) -> None:
    options = KINDS[kind]
    (tmp_path / "odd.model").write_bytes(trained(kind))
    found = ModelSettings.read(tmp_path / "odd.model")
    processor = processor_of(trained(kind))
    pieces = {processor.id_to_piece(token).replace("▁", " ") for token in found.user_defined}
    assert pieces == set(options.get("user_defined_symbols", ()))
    assert found.normalization == options.get("normalization_rule_name", "nmt_nfkc")
    assert found.dummy_prefix == options.get("add_dummy_prefix", False)
    assert found.suffix == options.get("treat_whitespace_as_suffix", False)
    assert found.space_mark


def test_the_user_defined_pieces_of_a_published_tokenizer_are_found(real_data: Path) -> None:
    settings = ModelSettings.read(real_data / "tokenizers/fineweb_8192_bpe_caseops_v1.model")
    assert settings.user_defined == {4, 5, 6, 7}
