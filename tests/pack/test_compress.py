"""The compress stage: what is tried, what fits, and what happens when nothing does."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from pgolf.errors import ArtifactError, BudgetExceeded, ConfigError, DataError, QuantizationError
from pgolf.model.checkpoint import save_checkpoint
from pgolf.model.tensor_file import save_tensors
from pgolf.pack import compress_stage as compress
from pgolf.pack import container, packing
from pgolf.pack.codec import CODECS
from pgolf.pack.config import CompressConfig, PolicyName
from pgolf.pack.container import pack, packed_part, parts, serialize
from pgolf.pack.downgrade import middle_out, rung_plan, rungs
from pgolf.pack.load import load_packed
from pgolf.pack.weights import same_bits, to_content
from pgolf.quant.rounding import round_embedding, round_to_nearest
from pgolf.quant.scheme import treatment
from pgolf.run_options import Progress, RunOptions
from tests.pack.network import FP16_MAX_ELEMENTS, SMALL, random_state

FACTS = {"seed": "7", "steps": "10", "stream_position": "99"}
CONFIG = CompressConfig(fp16_max_elements=FP16_MAX_ELEMENTS)
CODE_BYTES = 1_000


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return write_checkpoint(tmp_path, random_state())


def write_checkpoint(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    (folder / "checkpoint").mkdir(exist_ok=True)
    save_checkpoint(folder / "checkpoint" / "checkpoint.safetensors", SMALL, state, FACTS)
    return folder / "checkpoint"


def run(checkpoint: Path, config: CompressConfig = CONFIG, *, name: str = "out", inputs=None, **options):
    out = checkpoint.parent / name
    out.mkdir()
    made = compress.make(
        config, {"checkpoint": checkpoint, **(inputs or {})}, out, RunOptions(**options), code_bytes=CODE_BYTES
    )
    return made, out


def attempts_of(out: Path) -> list[dict]:
    return json.loads((out / "attempts.json").read_text())


def with_budget(checkpoint: Path, rung: int, level_index: int = 0, *, levels=(3, 1), **changes) -> CompressConfig:
    """A config whose budget is exactly the size of the given attempt, so that it is the first to fit."""
    everything = CONFIG.model_copy(update={"zstd_levels": levels, **changes})
    loaded = compress.load_checkpoint(checkpoint / "checkpoint.safetensors")
    quantizer = compress.Quantizer(everything, loaded.state, {}, 1)
    plan = rung_plan(quantizer, middle_out(SMALL.layers)[:rung])
    decoded = serialize(to_content(quantizer.stored(plan), quantizer.dtypes, loaded.config, loaded.facts))
    size_bytes = len(pack(decoded, levels[level_index]))
    return everything.model_copy(update={"budget_bytes": size_bytes + CODE_BYTES})


def test_a_generous_budget_takes_the_first_attempt(checkpoint):
    made, out = run(checkpoint)
    (row,) = attempts_of(out)
    size_bytes = (out / "model.pgolf").stat().st_size
    assert row == {
        "attempt": 0,
        "policy": "published",
        "rung": "downgraded layers: none",
        "codec": "zstd",
        "level": 16,
        "size_bytes": size_bytes,
        "total_bytes": size_bytes + CODE_BYTES,
        "fits": True,
        "chosen": True,
    }
    assert dict(made.facts) == {
        "artifact_bytes": size_bytes,
        "code_bytes": CODE_BYTES,
        "total_bytes": size_bytes + CODE_BYTES,
        "budget_bytes": 16_000_000,
        "under_bytes": 16_000_000 - CODE_BYTES - size_bytes,
        "fits": True,
        "attempts": 1,
        "policy": "published",
        "rung": "downgraded layers: none",
        "codec": "zstd",
        "level": 16,
        "predicted_loss_nats": None,
        "singular_hessians": "",
        "summary": f"int6×{6 * SMALL.layers}",
        "bits": "attn 6.00, mlp 6.00, other 8.00, embed 8.00",
    }
    assert set(made.phases_s) == {"load", "quantize", "pack", "verify"}
    assert sorted(path.name for path in out.iterdir()) == ["attempts.json", "model.pgolf"]


def test_the_written_tensors_are_those_of_the_scheme(checkpoint):
    _made, out = run(checkpoint)
    decoded = load_packed(out / "model.pgolf")
    assert dict(decoded.facts) == FACTS
    kinds = set()
    for name, tensor in random_state().items():
        kind = treatment(name, tuple(tensor.shape), floating=True, fp16_max_elements=FP16_MAX_ELEMENTS)
        kinds.add(kind)
        expected = {
            "fp16": lambda t=tensor: t.half().to(t.dtype),
            "matrix": lambda t=tensor, n=name: round_to_nearest(n, t, 6).dequantize(t.dtype),
            "embedding": lambda t=tensor, n=name: round_embedding(n, t, 8).dequantize(t.dtype),
        }[kind]()
        assert same_bits(decoded.state[name], expected), name
    assert kinds == {"fp16", "matrix", "embedding"}


def test_layers_lose_bits_from_the_middle_until_the_budget_is_met(checkpoint):
    config = with_budget(checkpoint, rung=2)
    made, out = run(checkpoint, config)
    rows = attempts_of(out)
    assert [(row["rung"].removeprefix("downgraded layers: "), row["level"]) for row in rows] == [
        ("none", 3), ("none", 1), ("2", 3), ("2", 1), ("2, 3", 3),
    ]  # fmt: skip
    assert [row["fits"] for row in rows] == [False] * 4 + [True]
    assert made.facts["under_bytes"] == 0
    assert made.facts["rung"] == "downgraded layers: 2, 3"
    assert made.facts["summary"] == "int6×12 int5×12"
    assert made.facts["bits"] == "attn 5.50, mlp 5.50, other 8.00, embed 8.00"
    decoded, state = load_packed(out / "model.pgolf").state, random_state()
    for layer, bits in enumerate((6, 6, 5, 5)):
        name = f"blocks.{layer}.mlp.fc.weight"
        assert same_bits(decoded[name], round_to_nearest(name, state[name], bits).dequantize(torch.float32))


def test_a_budget_one_byte_smaller_takes_the_next_attempt(checkpoint):
    config = with_budget(checkpoint, rung=1)
    tighter = config.model_copy(update={"budget_bytes": config.budget_bytes - 1})
    loose, tight = run(checkpoint, config)[1], run(checkpoint, tighter, name="tight")[1]
    assert len(attempts_of(loose)) == 3
    assert len(attempts_of(tight)) > 3
    assert attempts_of(tight)[2]["fits"] is False


def test_the_total_never_exceeds_the_budget_whatever_the_budget(checkpoint):
    smallest = with_budget(checkpoint, rung=SMALL.layers, level_index=1).budget_bytes
    largest = with_budget(checkpoint, rung=0).budget_bytes
    for number, budget_bytes in enumerate(range(smallest, largest + 200, max(1, (largest - smallest) // 4))):
        config = CONFIG.model_copy(update={"budget_bytes": budget_bytes, "zstd_levels": (3, 1)})
        made, out = run(checkpoint, config, name=f"out{number}")
        assert (out / "model.pgolf").stat().st_size + CODE_BYTES == made.facts["total_bytes"] <= budget_bytes


def test_a_budget_that_cannot_be_met_is_an_error_with_numbers_and_advice_and_no_file(checkpoint):
    config = CONFIG.model_copy(update={"budget_bytes": 5_000, "zstd_levels": (1, 2)})
    with pytest.raises(BudgetExceeded) as caught:
        run(checkpoint, config)
    message = str(caught.value)
    assert "over the budget of 5,000, at the smallest of 10 attempts (int5×24, zstd" in message
    assert "largest: tok_emb.weight" in message
    assert "code 1,000" in message
    assert "lower compress.downgrade_bits (now 5)" in message
    assert "model.width 32" in message
    assert list((checkpoint.parent / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "attempts", "advice"),
    [
        ({"downgrade_bits": None}, 2, "set compress.downgrade_bits below 6"),
        ({"fp16_max_elements": 10**6}, 2, "all stay in float16: lower compress.fp16_max_elements"),
        ({"downgrade_bits": 2}, 10, "train narrower or shallower"),
    ],
)
def test_the_advice_fits_the_cause(checkpoint, changes, attempts, advice):
    config = CONFIG.model_copy(update={"budget_bytes": 5_000, "zstd_levels": (1, 2), **changes})
    with pytest.raises(BudgetExceeded, match=advice) as caught:
        run(checkpoint, config)
    assert f"of {attempts} attempts" in str(caught.value)


def test_every_policy_of_the_config_is_carried_out():
    assert get_args(PolicyName) == tuple(compress.POLICIES)


@pytest.mark.parametrize("codec", CODECS)
def test_the_ladder_chooses_what_packing_every_attempt_from_nothing_chooses(tmp_path, monkeypatch, codec):
    # Several parts, and two layers that are the same.
    monkeypatch.setattr(container, "_PART_BYTES", 8192)
    state = random_state()
    state["blocks.3.mlp.fc.weight"] = state["blocks.2.mlp.fc.weight"].clone()
    state["blocks.1.mlp.fc.weight"][5:20] = 0
    checkpoint = write_checkpoint(tmp_path, state)
    config = CONFIG.model_copy(update={"codec": codec, "zstd_levels": (16, 1, 17, 2), "allow_over_budget": True})
    quantizer = compress.Quantizer(config, state, {}, 1)
    every = []
    for downgraded in rungs(middle_out(SMALL.layers)):
        stored = quantizer.stored(rung_plan(quantizer, downgraded))
        decoded = serialize(to_content(stored, quantizer.dtypes, SMALL, FACTS))
        every += [pack(decoded, level, codec=codec) for level in config.levels]
    sizes = [len(file_bytes) for file_bytes in every]
    # None, each end of the ladder, and what lies between.
    for number, size_bytes in enumerate((min(sizes) - 1, *sorted(set(sizes))[:: 1 + len(sizes) // 3])):
        budget = config.model_copy(update={"budget_bytes": size_bytes + CODE_BYTES})
        _made, out = run(checkpoint, budget, name=f"out{number}", threads=1 + number % 3)
        fitting = [attempt for attempt, size in enumerate(sizes) if size <= size_bytes]
        chosen = fitting[0] if fitting else sizes.index(min(sizes))
        rows = attempts_of(out)
        # One row for every attempt up to the first that fits, each with its own size.
        assert [row["size_bytes"] for row in rows] == (sizes[: chosen + 1] if fitting else sizes)
        assert [row["attempt"] for row in rows if row["chosen"]] == [chosen]
        assert (out / "model.pgolf").read_bytes() == every[chosen]


def test_of_a_layer_that_changes_its_own_parts_alone_are_packed_again(checkpoint, monkeypatch):
    monkeypatch.setattr(container, "_PART_BYTES", 512)
    packed: list[bytes] = []

    def watched(codec, level, part, *, stop):
        packed.append(part)
        return packed_part(codec, level, part, stop=stop)

    monkeypatch.setattr(packing, "packed_part", watched)
    config = with_budget(checkpoint, rung=SMALL.layers, levels=(1,))
    run(checkpoint, config)
    # Whatever the order of rungs: every part of both ends of the ladder once, and the scales of each rung.
    state = random_state()
    quantizer = compress.Quantizer(config, state, {}, 1)
    ends = [
        serialize(to_content(quantizer.stored(rung_plan(quantizer, layers)), quantizer.dtypes, SMALL, FACTS))
        for layers in ((), range(SMALL.layers))
    ]
    both = set(parts("zstd", ends[0])) | set(parts("zstd", ends[1]))
    assert len(set(packed)) == len(packed)
    assert len(packed) < len(both) + 2 * (SMALL.layers + 1) + 6 * SMALL.layers


def test_over_budget_is_written_only_where_allowed_as_the_smallest_attempt_and_says_that_it_does_not_fit(checkpoint):
    config = CONFIG.model_copy(update={"budget_bytes": 5_000, "zstd_levels": (1, 2), "allow_over_budget": True})
    made, out = run(checkpoint, config)
    rows = attempts_of(out)
    (chosen,) = (row for row in rows if row["chosen"])
    assert chosen["size_bytes"] == min(row["size_bytes"] for row in rows) == (out / "model.pgolf").stat().st_size
    assert made.facts["fits"] is False
    assert made.facts["under_bytes"] < 0
    assert not any(row["fits"] for row in rows)


def test_code_that_fills_the_budget_alone_is_over_budget(checkpoint):
    with pytest.raises(BudgetExceeded, match="code 1,000"):
        run(checkpoint, CONFIG.model_copy(update={"budget_bytes": CODE_BYTES, "zstd_levels": (1,)}))


def test_a_single_tensor_larger_than_the_budget_is_named(checkpoint):
    state = random_state()
    budget_bytes = state["tok_emb.weight"].numel() // 2
    with pytest.raises(BudgetExceeded, match=r"largest: tok_emb\.weight 2,"):
        run(checkpoint, CONFIG.model_copy(update={"budget_bytes": budget_bytes, "zstd_levels": (1,)}))


def test_another_zstd_level_gives_another_file_with_the_same_weights(checkpoint):
    made = {}
    for level in (1, 19):
        made[level] = run(checkpoint, CONFIG.model_copy(update={"zstd_levels": (level,)}), name=f"z{level}")
    assert (made[1][1] / "model.pgolf").read_bytes() != (made[19][1] / "model.pgolf").read_bytes()
    assert made[1][0].digests == made[19][0].digests
    assert set(made[1][0].digests) == {"weights"}


@pytest.mark.parametrize("changes", [{"matrix_bits": 7}, {"embedding_bits": 7}, {"method": "percentile"}])
def test_another_quantization_gives_other_weights(checkpoint, changes):
    # Some rows reach beyond magnitude 1, where the percentile search has a choice.
    checkpoint = write_checkpoint(checkpoint.parent, random_state(spread=2.0))
    plain, _ = run(checkpoint)
    other, _ = run(checkpoint, CONFIG.model_copy(update=changes), name="other")
    assert plain.digests != other.digests


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_inputs_give_the_same_bytes_whatever_the_threads_and_the_order_of_the_file(checkpoint, threads):
    config = with_budget(checkpoint, rung=2)
    _made, first = run(checkpoint, config, threads=1)
    reordered = dict(reversed(random_state().items()))
    write_checkpoint(checkpoint.parent, reordered)
    _made, second = run(checkpoint, config, name="second", threads=threads)
    for name in ("model.pgolf", "attempts.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def hessians_for(state: dict[str, torch.Tensor], folder: Path) -> Path:
    generator = torch.Generator().manual_seed(5)
    hessians = {}
    for name, tensor in state.items():
        if tensor.ndim == 2 and tensor.dtype == torch.float32:
            X_NC = torch.randn(3 * tensor.shape[1], tensor.shape[1], generator=generator)
            hessians[name] = X_NC.T @ X_NC
    folder.mkdir(exist_ok=True)
    save_tensors(folder / "hessians.safetensors", hessians, {})
    return folder


def test_gptq_rounds_matrices_by_their_hessians_and_nothing_else_changes(checkpoint, tmp_path):
    config = CONFIG.model_copy(update={"method": "gptq"})
    inputs = {"hessians": hessians_for(random_state(), tmp_path / "hessians")}
    _made, out = run(checkpoint, config, inputs=inputs)
    _made, plain = run(checkpoint, name="plain")
    gptq, rtn = load_packed(out / "model.pgolf").state, load_packed(plain / "model.pgolf").state
    differing = {name for name in rtn if not same_bits(gptq[name], rtn[name])}
    matrices = {
        name
        for name, tensor in rtn.items()
        if treatment(name, tuple(tensor.shape), floating=True, fp16_max_elements=FP16_MAX_ELEMENTS) == "matrix"
    }
    assert differing == matrices


def test_gptq_gives_the_same_bytes_whatever_the_threads(checkpoint, tmp_path):
    config = CONFIG.model_copy(update={"method": "gptq"})
    inputs = {"hessians": hessians_for(random_state(), tmp_path / "hessians")}
    files = [
        (run(checkpoint, config, inputs=inputs, name=f"t{threads}", threads=threads)[1] / "model.pgolf").read_bytes()
        for threads in (1, 2, 4)
    ]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("policy", [name for name in compress.POLICIES if name != "published"])
def test_where_all_tensors_stay_in_float16_every_policy_packs_what_the_published_one_packs(
    checkpoint, tmp_path, policy
):
    plain = CONFIG.model_copy(update={"fp16_max_elements": 1 << 30})
    inputs = {"hessians": hessians_for(random_state(), tmp_path / "hessians")}
    _, published = run(checkpoint, plain, name="published")
    made, out = run(checkpoint, plain.model_copy(update={"policy": policy}), inputs=inputs, name="other")
    assert made.facts["fits"]
    assert (out / "model.pgolf").read_bytes() == (published / "model.pgolf").read_bytes()
    tight = plain.model_copy(update={"policy": policy, "budget_bytes": 2_000})
    with pytest.raises(BudgetExceeded, match=r"no matrix has more than compress\.fp16_max_elements"):
        run(checkpoint, tight, inputs=inputs, name="tight")


def test_gptq_without_hessians_is_refused(checkpoint, tmp_path):
    config = CONFIG.model_copy(update={"method": "gptq"})
    with pytest.raises(ConfigError, match="add the calibrate stage"):
        run(checkpoint, config)
    state = random_state()
    del state["blocks.1.mlp.fc.weight"]
    inputs = {"hessians": hessians_for(state, tmp_path / "hessians")}
    with pytest.raises(
        QuantizationError, match=r"blocks\.1\.mlp\.fc\.weight: method gptq under policy published needs a Hes"
    ):
        run(checkpoint, config, inputs=inputs, name="other")


def test_a_singular_hessian_is_an_error_or_where_asked_for_a_recorded_percentile_search(checkpoint, tmp_path):
    folder = hessians_for(random_state(), tmp_path / "hessians")
    hessians, _ = compress.load_tensors(folder / "hessians.safetensors")
    name = "blocks.1.mlp.fc.weight"
    # A new folder: the tensors read are still mapped from the old file.
    folder = tmp_path / "negative"
    folder.mkdir()
    save_tensors(folder / "hessians.safetensors", {**hessians, name: -hessians[name]}, {})
    config = CONFIG.model_copy(update={"method": "gptq"})
    with pytest.raises(QuantizationError, match=r"fc\.weight: the damped Hessian .* compress\.damping"):
        run(checkpoint, config, inputs={"hessians": folder})
    made, out = run(
        checkpoint,
        config.model_copy(update={"singular_hessian": "percentile"}),
        inputs={"hessians": folder},
        name="fallback",
    )
    assert made.facts["singular_hessians"] == name
    searched = compress.Quantizer(CONFIG.model_copy(update={"method": "percentile"}), random_state(), {}, 1)
    expected = searched.stored(rung_plan(searched, ()))[name].dequantize(torch.float32)
    assert same_bits(load_packed(out / "model.pgolf").state[name], expected)


@pytest.mark.parametrize("name", ["blocks.2.attn.c_q.weight", "tok_emb.weight", "smear.gate"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_error_naming_its_tensor(tmp_path, name, bad):
    state = random_state()
    state[name].view(-1)[1] = bad
    with pytest.raises(QuantizationError, match=f"{name}: 1 of "):
        run(write_checkpoint(tmp_path, state))


def test_a_small_tensor_beyond_float16_is_an_error_naming_it(tmp_path):
    state = random_state()
    state["smear.gate"][0] = 1e6
    with pytest.raises(QuantizationError, match=r"smear\.gate: largest magnitude 1e\+06, float16 ends at 65504"):
        run(write_checkpoint(tmp_path, state))


def test_a_damaged_checkpoint_is_an_error(checkpoint):
    path = checkpoint / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="truncated or damaged"):
        run(checkpoint)


def test_progress_counts_attempts_of_all_that_may_come(checkpoint):
    reports: list[Progress] = []
    run(checkpoint, with_budget(checkpoint, rung=1), report=reports.append)
    assert [(report.done, report.total) for report in reports] == [(1, 10), (2, 10), (3, 10)]
    assert reports[0].facts["rung"] == "downgraded layers: none"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"matrix_bits": 5}, "downgrade_bits 5 must be below matrix_bits 5"),
        ({"zstd_levels": ()}, "at least 1 item"),
        ({"zstd_levels": (23,)}, "less than or equal to 22"),
        ({"zstd_levels": (1, 1)}, "repeats a value"),
        ({"percentiles": (0.0, 1.0)}, "greater than 0"),
        ({"matrix_bits": 9}, "less than or equal to 8"),
        *(
            ({"policy": "sdclip", "sdclip_k": {kind: k}}, f"sdclip_k.{kind}\n.*{why}")
            for kind in ("attention", "mlp", "table")
            for k, why in ((0.0, "greater than 0"), (-3.0, "greater than 0"), (float("inf"), "finite number"))
        ),
        ({"sdclip_k": {}}, r"sdclip_k is given, and policy published does not read it; add --set compress.policy=sdc"),
        ({"budget": 1}, "Extra inputs"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        CompressConfig(**fields)


def test_the_default_config_is_the_published_one():
    config = CompressConfig()
    assert config.budget_bytes == 16_000_000
    assert config.zstd_levels == (16, 1, 17, 2)
    assert (config.matrix_bits, config.downgrade_bits, config.embedding_bits) == (6, 5, 8)
    assert config.fp16_max_elements == 65_536


def test_a_file_that_reads_back_other_than_it_was_written_is_an_error_naming_the_tensor(checkpoint, monkeypatch):
    def read_with_one_flipped_bit(path):
        loaded = load_packed(path)
        loaded.state["smear.gate"].view(torch.int32)[0] ^= 1
        return loaded

    monkeypatch.setattr(compress, "load_packed", read_with_one_flipped_bit)
    with pytest.raises(ArtifactError, match=r"1 of \d+ tensors differ from what was packed, the first is smear\.gate"):
        run(checkpoint)
