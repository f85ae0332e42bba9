"""The calibrate stage on a small network and shards written here."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pgolf.corpus.dataset import open_dataset
from pgolf.errors import DataError, QuantizationError
from pgolf.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from pgolf.model.tensor_file import load_tensors
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.run_options import Progress, RunOptions
from tests.data_folder import write_data_folder
from tests.oracles.plain_rows import rows_by_definition
from tests.pack.network import SMALL, random_state

CONFIG = CalibrateConfig(batches=3, sequences=2, sequence_length=8, spans=4)
TRAIN_TOKENS = 500


@pytest.fixture
def inputs(tmp_path) -> dict[str, Path]:
    tokens = np.random.default_rng(0).integers(0, SMALL.vocab_size, TRAIN_TOKENS)
    data = write_data_folder(
        tmp_path / "data", train=[tokens[:300], tokens[300:]], val=[tokens[:50]], vocab_size=SMALL.vocab_size
    )
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    save_checkpoint(
        checkpoint / "checkpoint.safetensors", SMALL, random_state(), {"stream_position": "68", "seed": "1"}
    )
    return {"data": data, "checkpoint": checkpoint}


def run(inputs, out: Path, config: CalibrateConfig = CONFIG, **options):
    out.mkdir()
    return calibrate.make(config, inputs, out, RunOptions(device="cpu", **options))


def test_batches_are_the_first_span_of_each_global_batch_after_the_training_position(inputs):
    dataset = open_dataset(inputs["data"])
    tokens = np.concatenate([np.fromfile(path, "<u2", offset=1024) for path in dataset.train_shards])
    batches = list(calibrate.calibration_batches(CONFIG, dataset, 68))
    # A span takes 2·8 + 1 tokens of the stream, a global batch 4 spans; the stream wraps at 500.
    starts = [68, 68 + 68, 68 + 136]
    for batch_BT, start in zip(batches, starts, strict=True):
        expected = np.take(tokens, np.arange(start, start + 16), mode="wrap").reshape(2, 8)
        assert batch_BT.tolist() == expected.tolist()
    wrapped = list(calibrate.calibration_batches(CONFIG, dataset, TRAIN_TOKENS + 68))
    assert all(torch.equal(one, other) for one, other in zip(batches, wrapped))


def test_rows_are_the_first_that_data_rank_0_trains_on_and_need_no_stream_position(inputs, tmp_path):
    config = CONFIG.model_copy(update={"source": "rows", "spans": 2})
    dataset = open_dataset(inputs["data"])
    shards = [np.fromfile(path, "<u2", offset=1024) for path in dataset.train_shards]
    rows = rows_by_definition(shards, rank=0, ranks=2, length=8)  # the first shard alone
    for batch_BT in calibrate.calibration_batches(config, dataset, 68):
        assert batch_BT.tolist() == [row[:-1] for row in islice(rows, 2)]
    path = inputs["checkpoint"] / "checkpoint.safetensors"
    found = []
    for number, facts in enumerate(({}, {"stream_position": "68"})):
        save_checkpoint(path, SMALL, random_state(), facts)
        run(inputs, tmp_path / str(number), config)
        found.append((tmp_path / str(number) / "hessians.safetensors").read_bytes())
    assert found[0] == found[1]


def test_the_tables_hessian_is_that_of_the_heads_input(inputs, tmp_path):
    run(inputs, tmp_path / "without")
    run(inputs, tmp_path / "with", CONFIG.model_copy(update={"table": True}))
    without, found = (load_tensors(tmp_path / name / "hessians.safetensors")[0] for name in ("without", "with"))
    assert found.keys() - without.keys() == {"tok_emb.weight"}
    assert all(torch.equal(found[name], H_CC) for name, H_CC in without.items())
    network = build_model(SMALL, random_state())
    expected_CC = torch.zeros(SMALL.width, SMALL.width, dtype=torch.float64)
    with torch.inference_mode():
        for batch_BT in calibrate.calibration_batches(CONFIG, open_dataset(inputs["data"]), 68):
            h_ND = network.hidden(batch_BT).double().flatten(0, 1)
            # What the head multiplies: normed, so every row has a mean square of 1.
            torch.testing.assert_close(h_ND.square().mean(dim=1), torch.ones(16).double(), rtol=0, atol=1e-5)
            expected_CC += h_ND.T @ h_ND / 3
    # Products of 16 rows in float32.
    torch.testing.assert_close(found["tok_emb.weight"].double(), expected_CC, rtol=1e-5, atol=1e-5)


def test_sensitivities_take_the_place_of_the_tables_hessian_with_one_that_fits_their_row_weights(inputs, tmp_path):
    for name, fields in (("alone", {}), ("both", {"table": True})):
        run(inputs, tmp_path / name, CONFIG.model_copy(update=fields | {"sensitivities": True}))
    alone, both = (load_tensors(tmp_path / name / "hessians.safetensors")[0] for name in ("alone", "both"))
    assert alone.keys() == both.keys()
    assert all(torch.equal(alone[name], both[name]) for name in alone)


def test_the_product_asked_for_is_the_one_taken(inputs, tmp_path):
    hessians = []
    for product in ("float32", "bfloat16"):
        run(inputs, tmp_path / product, CONFIG.model_copy(update={"product": product}))
        hessians.append(load_tensors(tmp_path / product / "hessians.safetensors")[0])
    fine, coarse = hessians
    for name, H_CC in fine.items():
        assert not torch.equal(coarse[name], H_CC)
        # Inputs and products are off by at most 2^-9 of themselves.
        assert float((coarse[name] - H_CC).abs().max()) < 2**-7 * float(H_CC.diagonal().max())


def test_tf32_that_a_training_in_this_process_has_allowed_takes_no_part_in_the_products(inputs, tmp_path, monkeypatch):
    """As in a bundled script, whose numbers are the stage's."""
    allowed = []
    product = calibrate.InputHessians._product
    monkeypatch.setattr(
        calibrate.InputHessians,
        "_product",
        lambda *given: allowed.append(torch.backends.cuda.matmul.allow_tf32) or product(*given),
    )
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        run(inputs, tmp_path / "out")
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert set(allowed) == {False}


def test_every_linear_map_gets_a_hessian_under_its_state_name(inputs, tmp_path):
    reports: list[Progress] = []
    made = run(inputs, tmp_path / "out", report=reports.append)
    hessians, metadata = load_tensors(tmp_path / "out" / "hessians.safetensors")
    state = load_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors").state
    linear = [
        name for name in state if name.endswith(("c_q.weight", "c_k.weight", "c_v.weight", "proj.weight", "fc.weight"))
    ]
    assert sorted(hessians) == sorted(linear)
    assert len(linear) == 6 * SMALL.layers + 1  # and the bigram projection
    for name, H_CC in hessians.items():
        columns = state[name].shape[1]
        assert H_CC.shape == (columns, columns)
        assert torch.equal(H_CC, H_CC.T)
        assert bool((H_CC.diagonal() >= 0).all())
        assert float(H_CC.trace()) > 0
    assert metadata == {"batches": "3", "tokens": "48", "stream_position": "68"}
    assert made.facts["tokens"] == 48
    assert (reports[-1].done, reports[-1].total) == (3, 3)


def test_the_mean_over_batches_is_the_mean_of_single_batches(inputs, tmp_path):
    run(inputs, tmp_path / "all")
    together, _ = load_tensors(tmp_path / "all" / "hessians.safetensors")
    path = inputs["checkpoint"] / "checkpoint.safetensors"
    sums: dict[str, torch.Tensor] = {}
    for batch in range(3):
        save_checkpoint(path, SMALL, random_state(), {"stream_position": str(68 + 68 * batch)})
        run(inputs, tmp_path / str(batch), CalibrateConfig(batches=1, sequences=2, sequence_length=8, spans=4))
        single, _ = load_tensors(tmp_path / str(batch) / "hessians.safetensors")
        sums = {name: sums.get(name, 0) + H_CC.double() for name, H_CC in single.items()}
    for name, H_CC in together.items():
        # One rounding to float32 at the end against three: a few units of 6e-8.
        torch.testing.assert_close(H_CC.double(), sums[name] / 3, rtol=1e-6, atol=1e-6)


def test_the_same_inputs_give_the_same_bytes_in_another_process(inputs, tmp_path):
    run(inputs, tmp_path / "here", threads=1)
    (tmp_path / "there").mkdir()
    code = (
        "import sys; from pathlib import Path; from pgolf.quant import calibration as calibrate;"
        "from pgolf.run_options import RunOptions;"
        "from pgolf.quant.config import CalibrateConfig;"
        "data, checkpoint, out, config = sys.argv[1:];"
        "inputs = {'data': Path(data), 'checkpoint': Path(checkpoint)};"
        "config = CalibrateConfig.model_validate_json(config);"
        "calibrate.make(config, inputs, Path(out), RunOptions(device='cpu', threads=1))"
    )
    arguments = [inputs["data"], inputs["checkpoint"], tmp_path / "there", CONFIG.model_dump_json()]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=root)
    here, there = ((tmp_path / at / "hessians.safetensors").read_bytes() for at in ("here", "there"))
    assert here == there


@pytest.mark.parametrize("facts", [{}, {"stream_position": "late"}, {"stream_position": "-5"}])
def test_a_checkpoint_without_a_stream_position_is_refused(inputs, tmp_path, facts):
    save_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors", SMALL, random_state(), facts)
    with pytest.raises(DataError, match=r"stream_position is .*--set calibrate\.source=rows"):
        run(inputs, tmp_path / "out")


def test_data_of_a_larger_vocabulary_is_refused(inputs, tmp_path):
    manifest = json.loads((inputs["data"] / "manifest.json").read_text())
    manifest["datasets"][0]["vocab_size"] = SMALL.vocab_size + 1
    (inputs["data"] / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=f"vocabulary is {SMALL.vocab_size}, "):
        run(inputs, tmp_path / "out")


def test_weights_that_are_nan_are_an_error_and_leave_no_file(inputs, tmp_path):
    state = random_state()
    state["blocks.0.mlp.fc.weight"][0, 0] = float("nan")
    save_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors", SMALL, state, {"stream_position": "0"})
    with pytest.raises(QuantizationError, match="NaN or infinite on the calibration tokens"):
        run(inputs, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
