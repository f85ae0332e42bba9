"""Checkpoints: what goes in comes out, the same content has the same bytes, and a bad file is refused with advice."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgolf.errors import DataError
from pgolf.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from pgolf.model.tensor_file import load_tensors, save_tensors
from tests.model.networks import SMALL_715, SMALL_792, perturbed_model, some_tokens

FACTS = {"stream_position": "81968", "seed": "1337", "steps": "20", "a": "ä", "b": '"quoted"'}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, SMALL_792, perturbed_model(SMALL_792).state_dict(), FACTS)
    return path


def test_config_state_and_facts_come_back_and_the_model_computes_the_same(saved):
    model = perturbed_model(SMALL_792)
    checkpoint = load_checkpoint(saved)
    assert checkpoint.config == SMALL_792
    assert checkpoint.facts == FACTS
    loaded = build_model(checkpoint.config, checkpoint.state)
    assert {name: t.dtype for name, t in loaded.state_dict().items()} == {
        name: t.dtype for name, t in model.state_dict().items()
    }
    tokens_BT = some_tokens(1, 9, SMALL_792.vocab_size)
    assert torch.equal(loaded.hidden(tokens_BT), model.hidden(tokens_BT))


def test_the_same_content_gives_the_same_bytes(saved, tmp_path):
    """The safetensors writer itself orders metadata at random; ours must not."""
    state = perturbed_model(SMALL_792).state_dict()
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, SMALL_792, dict(reversed(state.items())), dict(reversed(FACTS.items())))
    assert other.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool])
def test_every_format_is_readable_by_the_safetensors_library(dtype, tmp_path):
    tensors = {"m": torch.arange(6).reshape(2, 3).to(dtype), "scalar": torch.tensor(1).to(dtype), "byte": torch.ones(5)}
    tensors["transposed"], tensors["empty"] = tensors["m"].T, torch.zeros(0, 4)
    path = tmp_path / "t.safetensors"
    save_tensors(path, tensors, {"key": "value"})
    for loaded in (load_file(path), load_tensors(path)[0]):
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("keep_bytes", [0, 4, 200, -1])
def test_a_truncated_file_is_refused_with_advice(saved, keep_bytes):
    saved.write_bytes(saved.read_bytes()[:keep_bytes])
    with pytest.raises(DataError, match=r"truncated or damaged, rerun the stage that makes it"):
        load_checkpoint(saved)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="file is missing"):
        load_checkpoint(tmp_path / "no.safetensors")


def test_loading_executes_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_safetensors_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"x": torch.ones(2)}, {})
    with pytest.raises(DataError, match="not a pgolf checkpoint"):
        load_checkpoint(path)
    save_tensors(path, {"x": torch.ones(2)}, {"model_config": '{"wdith": 3}'})
    with pytest.raises(DataError, match="wdith"):
        load_checkpoint(path)


def test_a_state_that_does_not_fit_is_refused_naming_tensor_and_both_shapes():
    state = perturbed_model(SMALL_715).state_dict()
    state["smear.gate"] = torch.zeros(47)
    state["tok_emb.weight"] = state["tok_emb.weight"].float()
    state["extra"] = state.pop("skip_weights")
    with pytest.raises(DataError) as raised:
        build_model(SMALL_715, state)
    message = str(raised.value)
    assert "4 tensors do not fit" in message
    assert "smear.gate is float32 [47], the network has float32 [48]" in message
    assert "tok_emb.weight is float32 [23, 48], the network has bfloat16 [23, 48]" in message
    assert "skip_weights is missing, the network has float32 [2, 48]" in message
    assert "extra is float32 [2, 48], the network has none" in message
