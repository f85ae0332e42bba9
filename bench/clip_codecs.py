"""Bytes that rans saves under brotli on the codes of #1493's quantization, and what they buy in loss.

SDClip at 12.85 standard deviations in matrices (6 bits) and 20 in the token table (8 bits), rounded by GPTQ. The same
codes are packed with brotli 11 and with rans. With rans the file has room left under the size of brotli's: once the
finest k that fits it, once `allocate`, which gives each row its own step. Their losses are those of the packed networks
above the unpacked one's, on the same targets; the standard error is that of the mean difference over rows of targets.
Networks are trained here, one per seed, and calibrated on shuffled rows as #1493 is: #715's layers at a width of 256,
six of them, on --steps × 4,096 of 41.7 M tokens of English under --data (default: PGOLF_TEST_DATA), scored on FineWeb.
Trained briefly and small, so ratios and losses are theirs alone.

"Gaussian" is full size without a network: matrices of #1493's shapes filled with normal numbers, plainly rounded at the
same k. All rows have one distribution there, which no coder can gain on: its bytes are the bound for such codes. "As
published" is one brotli stream, all even bytes first and then all odd ones.
"""

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bench.codecs import order_0_bytes
from bench.evaluation import write_data
from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.model.checkpoint import Checkpoint, build_model, load_checkpoint
from pgolf.pack import compress_stage as compress
from pgolf.pack.code_model import Codes
from pgolf.pack.code_writer import encode_matrices
from pgolf.pack.codec import CODECS
from pgolf.pack.config import CompressConfig, SdclipK
from pgolf.pack.container import packed_part, parts, serialize, unpack
from pgolf.pack.load import load_packed
from pgolf.pack.named_arrays import Content
from pgolf.quant import calibration as calibrate
from pgolf.quant.config import CalibrateConfig
from pgolf.quant.rounding import SMALLEST_SCALE, float16_scale, round_to_scale
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.run_options import RunOptions
from pgolf.train import train_stage as train
from pgolf.train.config import TrainStageConfig

K = SdclipK()
ROW = 256
NETWORK = (
    *("model.vocab_size=1024", "model.width=256", "model.layers=6", "model.mlp_width=1024"),
    *("train.tokens_per_step=4096", "train.sequence_length=256", "train.spans_per_step=4", "train.batches=rows"),
    *("train.data_ranks=4", "train.muon_lr=0.02", "train.muon_weight_decay=0.095", "train.ema_decay=0.97"),
)


@dataclass(frozen=True)
class Trained:
    """The folders of a trained network and of what calibration measured, and its losses by row of targets, in nats."""

    base: CompressConfig
    checkpoint: Path
    hessians: Path
    losses: np.ndarray

    def packed(self, out: Path, data: Path, targets: int, **changes: Any) -> tuple[int, np.ndarray]:
        """Bytes of a packed model, and by how much packing raised the loss of each row of targets."""
        out.mkdir()
        fields = {"method": "gptq_hessian", "downgrade_bits": None} | changes
        config = CompressConfig.model_validate(dict(self.base) | fields)
        inputs = {"checkpoint": self.checkpoint, "hessians": self.hessians}
        made = compress.make(config, inputs, out, RunOptions(device="cpu"), code_bytes=0)
        return int(str(made.facts["artifact_bytes"])), losses_of(
            load_packed(out / "model.pgolf"), data, targets
        ) - self.losses


def trained(data: Path, out: Path, seed: int, steps: int, targets: int) -> Trained:
    """Train a network, and calibrate it."""
    overrides = [*NETWORK, f"train.steps={steps}", f"train.warmdown_steps={int(0.72 * steps)}"]
    recipe = apply_overrides(recipe_named("demo"), overrides)
    checkpoint = out / "checkpoint"
    checkpoint.mkdir(parents=True)
    config = TrainStageConfig(model=recipe.model, train=recipe.train)
    train.make(config, {"data": data}, checkpoint, RunOptions(device="cpu"), seed=seed)
    return calibrated(recipe.compress, checkpoint, data, out, targets)


def calibrated(base: CompressConfig, checkpoint: Path, data: Path, out: Path, targets: int) -> Trained:
    """What is packed of a checkpoint: its Hessians, with the loss's curvature, which allocation reads, and its losses.

    base: the settings of packing that all have in common.
    """
    hessians = out / "hessians"
    hessians.mkdir(parents=True)
    config = CalibrateConfig(source="rows", spans=4, batches=16, sequences=8, sequence_length=ROW, sensitivities=True)
    calibrate.make(config, {"checkpoint": checkpoint, "data": data}, hessians, RunOptions(device="cpu"))
    loaded = load_checkpoint(checkpoint / "checkpoint.safetensors")
    return Trained(base, checkpoint, hessians, losses_of(loaded, data, targets))


@torch.inference_mode()
def losses_of(checkpoint: Checkpoint, data: Path, targets: int) -> np.ndarray:
    """Mean loss of each row of 256 of the first validation targets, float64 [N], in nats."""
    network = build_model(checkpoint.config, checkpoint.state, torch.device("cpu"))
    rows = targets // ROW
    tokens = torch.from_numpy(validation_tokens(open_dataset(data), window=ROW)[: rows * ROW + 1].astype("int64"))
    found = []
    for x_BT, y_BT in zip(tokens[:-1].view(-1, ROW).split(16), tokens[1:].view(-1, ROW).split(16), strict=True):
        logits_NV = network.logits(network.hidden(x_BT)).flatten(0, 1)
        loss_NT = F.cross_entropy(logits_NV, y_BT.flatten(), reduction="none").view(-1, ROW)
        found.append(loss_NT.double().mean(dim=1))
    return torch.cat(found).numpy()


def codes_of(path: Path) -> list[Codes]:
    """The matrices of codes in a packed model."""
    arrays = unpack(path.read_bytes(), where=str(path)).arrays
    return [array for name, array in arrays.items() if name.endswith(".q")]


def by_brotli(matrices: Sequence[Codes]) -> int:
    """Bytes of the codes with brotli 11, in parts as in a file."""
    content = serialize(Content({}, {str(number): matrix for number, matrix in enumerate(matrices)}))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return sum(len(one) for one in pool.map(lambda part: packed_part("brotli", 11, part), parts("brotli", content)))


def as_published(matrices: Sequence[Codes]) -> int:
    """Bytes of the codes in one brotli stream, even bytes before odd ones."""
    plain = b"".join(matrix.tobytes() for matrix in matrices)
    codec = CODECS["brotli"]
    return len(codec.compress(11, plain[::2] + plain[1::2]))  # type: ignore[union-attr]


def gaussian(width: int, layers: int, vocabulary: int) -> list[Codes]:
    """Codes of normal numbers in #1493's shapes: four matrices of attention, two of the MLP, and the table."""
    draws = torch.Generator().manual_seed(1)
    shapes = [(width, width), (width // 2, width), (width // 2, width), (width, width)]
    shapes += [(4 * width, width), (width, 4 * width)]
    found = []
    for (rows, columns), k, levels in [
        *((shape, K.mlp, 31) for shape in shapes * layers),
        ((vocabulary, width), K.table, 127),
    ]:
        W_RC = torch.randn(rows, columns, generator=draws)
        scale_R = float16_scale("w", (k * W_RC.std(dim=1) / levels).clamp_min(SMALLEST_SCALE))
        found.append(round_to_scale("w", W_RC, scale_R, levels).codes.numpy())
    return found


def code_lines(what: str, matrices: Sequence[Codes]) -> list[Line]:
    """What the codes take by each coder."""
    sizes = {
        "order-0 entropy": sum(map(order_0_bytes, matrices)),
        "brotli as published": as_published(matrices),
        "brotli in parts": by_brotli(matrices),
        "rans": len(encode_matrices(matrices)),
    }
    count = sum(matrix.size for matrix in matrices)
    saved = min(sizes["brotli as published"], sizes["brotli in parts"]) - sizes["rans"]
    share = saved / (sizes["rans"] + saved)
    return [
        *(Line(f"{what}: {count:,} codes, {how}", "MB", Spread.of([size / 1e6])) for how, size in sizes.items()),
        Line(f"{what}: codes, rans below the smaller brotli", "kB", Spread.of([saved / 1000])),
        Line(f"{what}: codes, rans below the smaller brotli", "%", Spread.of([100 * share]), "> 0"),
    ]


def network_lines(networks: Sequence[Trained], data: Path, folder: Path, targets: int) -> list[Line]:
    """Sizes and losses of every network, one value per seed; of the codes alone the first one's."""
    values: dict[tuple[str, str], list[float]] = {}
    for number, network in enumerate(networks):
        for name, unit, value in measured(network, data, folder / f"packed{number}", targets):
            values.setdefault((name, unit), []).append(value)
    lines = [Line(f"trained: {name}", unit, Spread.of(several)) for (name, unit), several in values.items()]
    return [*code_lines("trained", codes_of(folder / "packed0" / "rans" / "model.pgolf")), *lines]


def measured(network: Trained, data: Path, out: Path, targets: int) -> Iterator[tuple[str, str, float]]:
    """Name, unit and value of what one network's packings take and cost."""
    out.mkdir()
    fixed = {"policy": "sdclip", "sdclip_k": K.model_dump(), "budget_bytes": 10**9}
    size_bytes, gap_N = network.packed(out / "brotli", data, targets, codec="brotli", **fixed)
    rans_bytes, same_N = network.packed(out / "rans", data, targets, codec="rans", **fixed)
    assert np.array_equal(gap_N, same_N), "both pack the same codes"
    yield "unpacked network", "nats", float(network.losses.mean())
    yield "file, brotli", "kB", size_bytes / 1000
    yield "file, rans", "kB", rans_bytes / 1000
    yield "files: rans below brotli", "%", 100 * (1 - rans_bytes / size_bytes)
    yield "k as published: loss above the unpacked network", "1e-3 nats", 1e3 * float(gap_N.mean())
    for way, policy in (("finest k", "sdclip"), ("allocate", "allocate")):
        changes = {"codec": "rans", "budget_bytes": size_bytes, "policy": policy}
        used_bytes, found_N = network.packed(out / policy, data, targets, **changes)
        what, less_N = f"rans, {way} in brotli's bytes", gap_N - found_N
        yield f"{what}: file", "kB", used_bytes / 1000
        yield f"{what}: loss above the unpacked network", "1e-3 nats", 1e3 * float(found_N.mean())
        yield f"{what}: less than at k as published", "1e-3 nats", 1e3 * float(less_N.mean())
        yield f"{what}: its standard error", "1e-3 nats", 1e3 * float(less_N.std(ddof=1)) / len(less_N) ** 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=2)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("PGOLF_TEST_DATA"), help="folder of the real tokens"
    )
    parser.add_argument("--steps", type=int, default=200, help="training steps of 4,096 tokens (default: %(default)s)")
    parser.add_argument("--targets", type=int, default=131_072, help="scored (default: %(default)s)")
    parser.add_argument(
        "--layers", type=int, default=11, help="of the Gaussian matrices; 0: none (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    lines: list[Line] = []
    if options.data:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            data = write_data(options.data, folder / "data", corpus_shards=5)
            networks = [
                trained(data, folder / str(seed), seed, options.steps, options.targets)
                for seed in range(options.repeats)
            ]
            lines += network_lines(networks, data, folder, options.targets)
    if options.layers:
        lines += code_lines("Gaussian", gaussian(512, options.layers, 8192))
    if not lines:
        print("nothing to measure: name the folder of real tokens by --data or PGOLF_TEST_DATA", file=sys.stderr)
        return 2
    title = f"rans below brotli at #1493's clips, {options.steps} steps of training"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.clip_codecs", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
