"""Published state files: what they hold comes in, and whatever does not fit is named; nothing in them is ever run."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pgolf.errors import DataError
from pgolf.model.checkpoint import build_model
from pgolf.model.gpt import GPT
from pgolf.model.published import from_published, read_published, to_published
from pgolf.model.tensor_file import save_tensors
from tests.model.networks import PUBLISHED, SMALL, SMALL_715, SMALL_745, SMALL_792, perturbed_model, some_tokens

every_family = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL.keys())


@every_family
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_published_file_gives_the_network_that_was_saved(config, suffix, tmp_path):
    model = perturbed_model(config)
    path = tmp_path / f"final_model{suffix}"
    published = to_published(config, model.state_dict())
    if suffix == ".pt":
        torch.save(published, path)
    else:
        save_tensors(path, published, {})
    state = from_published(config, read_published(path))
    assert list(state) == list(model.state_dict())
    tokens_BT = some_tokens(1, 9, config.vocab_size)
    assert torch.equal(build_model(config, state).hidden(tokens_BT), model.hidden(tokens_BT))


@pytest.mark.parametrize(("name", "tensors"), [("715", 149), ("745", 106), ("792", 121)])
def test_published_files_have_as_many_tensors_as_the_originals(name, tensors):
    with torch.device("meta"):
        state = to_published(PUBLISHED[name], GPT(PUBLISHED[name]).state_dict())
    assert len(state) == tensors
    if name == "745":
        banks = {bank: tuple(tensor.shape) for bank, tensor in state.items() if bank.endswith("_bank")}
        assert banks == {
            "qo_bank": (22, 512, 512),
            "kv_bank": (22, 256, 512),
            "mlp_up_bank": (11, 1536, 512),
            "mlp_down_bank": (11, 512, 1536),
        }


def test_rows_of_the_banks_are_the_published_ones():
    """Queries, then outputs; keys, then values: each by physical layer."""
    state = perturbed_model(SMALL_745).state_dict()
    banks = to_published(SMALL_745, state)
    for layer in range(5):
        at = f"blocks.{layer}."
        assert torch.equal(banks["qo_bank"][layer], state[f"{at}attn.c_q.weight"])
        assert torch.equal(banks["qo_bank"][5 + layer], state[f"{at}attn.proj.weight"])
        assert torch.equal(banks["kv_bank"][layer], state[f"{at}attn.c_k.weight"])
        assert torch.equal(banks["kv_bank"][5 + layer], state[f"{at}attn.c_v.weight"])
        assert torch.equal(banks["mlp_up_bank"][layer], state[f"{at}mlp.fc.weight"])
        assert torch.equal(banks["mlp_down_bank"][layer], state[f"{at}mlp.proj.weight"])
    assert {"blocks.6.attn.q_gain", "blocks.6.resid_mix"} <= banks.keys()


@pytest.mark.parametrize("config", [SMALL_715, SMALL_745], ids=["as banks", "as layers"])
def test_either_form_is_known_by_its_names_whatever_the_order_of_the_draws(config):
    state = perturbed_model(config).state_dict()
    other = {"banks": "layers", "layers": "banks"}[config.init_draws]
    published = to_published(config.model_copy(update={"init_draws": other}), state)
    assert published.keys() != to_published(config, state).keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in from_published(config, published).items())


def test_imported_matrices_do_not_keep_their_bank_in_memory():
    published = to_published(SMALL_745, perturbed_model(SMALL_745).state_dict())
    for tensor in from_published(SMALL_745, published).values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_floating_formats_become_those_of_the_network(dtype):
    model = perturbed_model(SMALL_715)
    published = {name: nn.Parameter(tensor.to(dtype)) for name, tensor in model.state_dict().items()}
    for name, tensor in from_published(SMALL_715, published).items():
        assert tensor.dtype == model.state_dict()[name].dtype
        assert not tensor.requires_grad
        assert torch.equal(tensor, published[name].detach().to(tensor.dtype))


def test_every_tensor_that_does_not_fit_is_counted_and_the_first_are_named_with_both_shapes():
    published = to_published(SMALL_745, perturbed_model(SMALL_745).state_dict())
    published["smear.gate"] = torch.zeros(47)
    published["head.weight"] = published.pop("skip_weights")
    published["bigram.scale"] = torch.tensor(1)
    published["kv_bank"][2, 3, 4:7] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    with pytest.raises(DataError) as raised:
        from_published(SMALL_745, published)
    message = str(raised.value)
    assert message.startswith("5 tensors do not fit the network: ")
    assert "smear.gate is [47], the network has [48]" in message
    assert "skip_weights is missing, the network has [3, 48]" in message
    assert "head.weight is [3, 48], the network has none" in message
    assert "bigram.scale holds int64 values, the network has float32" in message
    assert "kv_bank has 3 of 7,680 values NaN or infinite in float32" in message
    assert "more" not in message


@pytest.mark.parametrize(
    ("config", "of", "complaint"),
    [
        (SMALL_715, SMALL_792, "blocks.0.attn.vr_lambda is missing, the network has [2]"),
        (SMALL_792, SMALL_715, "ve_layer_scales.0 is missing, the network has [1]"),
        (SMALL_715, SMALL_745, "skip_weights is [3, 48], the network has [2, 48]"),
        (SMALL_715.model_copy(update={"width": 60}), SMALL_715, "tok_emb.weight is [23, 48], the network has [23, 60]"),
    ],
    ids=["792 as 715", "715 as 792", "745 as 715", "another width"],
)
def test_a_file_of_another_recipe_or_width_is_refused(config, of, complaint):
    published = to_published(of, perturbed_model(of).state_dict())
    with pytest.raises(DataError, match=r"\d+ tensors do not fit the network.* and \d+ more; use the recipe") as raised:
        from_published(config, published)
    assert complaint in str(raised.value)
    assert str(raised.value).count("the network has") == 5


def test_a_value_too_large_for_the_network_is_refused():
    published = {name: tensor.double() for name, tensor in perturbed_model(SMALL_715).state_dict().items()}
    published["smear.gate"][5] = 1e300
    with pytest.raises(DataError, match=r"smear.gate has 1 of 48 values NaN or infinite in float32: training diverged"):
        from_published(SMALL_715, published)


class Bomb:
    """Touches a file when it is unpickled by a reader that runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
@pytest.mark.parametrize("place", ["pickle", "torch file", "old torch file", "value"])
def test_nothing_in_a_file_is_executed(suffix, place, tmp_path):
    path, bomb = tmp_path / f"final_model{suffix}", Bomb(tmp_path / "executed")
    if place == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif place == "value":
        torch.save({"tok_emb.weight": torch.zeros(2), "bomb": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=place == "torch file")
    with pytest.raises(DataError, match=r"holds code .* nothing in it was run"):
        read_published(path)
    assert not (tmp_path / "executed").exists()
    if place == "pickle":
        pickle.loads(path.read_bytes())  # the bomb is live
        assert (tmp_path / "executed").exists()


def torch_file(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "x")
    return buffer.getvalue()


WHOLE = torch_file({"x": torch.ones(300)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"0 bytes that are not a complete torch.save file .*copy or download it again"),
        (WHOLE[:200], r"200 bytes that are not a complete torch.save file"),
        (WHOLE[:-1], r"truncated or damaged"),
        (b"hello world, hello world", r"not a complete torch.save file"),
        (b'{"x": 1}', r"damaged"),
        (other_zip(), r"not a complete torch.save file"),
        (torch_file([torch.ones(2)]), r"holds a list, not a state dict; save the state dict alone"),
        (
            torch_file({"model": {"x": torch.ones(2)}, "step": 3}),
            r"entry 'model' is a dict.*torch.save\(model.state_dict",
        ),
        (torch_file({"x": torch.ones(2), "step": 3}), r"entry 'step' is a int"),
        (torch_file({0: torch.ones(2)}), r"entry 0 is"),
        (torch_file({"x": torch.ones(2).to_sparse()}), r"entry 'x' is a sparse_coo tensor on cpu"),
        (torch_file({"x": torch.ones(2, device="meta")}), r"entry 'x' is a strided tensor on meta"),
        (torch_file({"x": nn.Linear(2, 2)}), r"holds code or objects besides tensors"),
    ],
)
def test_a_file_that_is_no_flat_state_dict_is_refused_with_advice(content, message, tmp_path):
    path = tmp_path / "final_model.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_published(path)
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.PT", "a", "a.bin"])
@pytest.mark.parametrize("form", ["zip", "old", "safetensors", "safetensors with a header of 0x4b50 bytes"])
def test_the_reader_is_chosen_by_content_whatever_the_name(name, form, tmp_path):
    path, state = tmp_path / name, {"x": torch.arange(300.0)}
    if form.startswith("safetensors"):
        save_tensors(path, state, {})
        if "4b50" in form:  # the length then begins as a ZIP archive does
            save_tensors(path, state, {"padding": ""})
            shorter = int.from_bytes(path.read_bytes()[:8], "little")
            save_tensors(path, state, {"padding": "x" * (0x4B50 - shorter)})
            assert path.read_bytes().startswith(b"PK")
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    assert torch.equal(read_published(path)["x"], state["x"])


def test_a_truncated_safetensors_file_and_paths_without_a_file_are_refused(tmp_path):
    path = tmp_path / "final_model.safetensors"
    save_tensors(path, {"x": torch.ones(300)}, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"truncated or damaged, copy or download it again"):
        read_published(path)
    with pytest.raises(DataError, match=r"no such file; give the file"):
        read_published(tmp_path / "none.pt")
    with pytest.raises(DataError, match=r"a folder; give the file"):
        read_published(tmp_path)
