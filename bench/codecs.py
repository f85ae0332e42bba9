"""Size of packed networks by codec, compared with the order-0 entropy of their codes.

The bound is the entropy of the codes, each tensor by its own frequencies, as if these were free, plus the rest of the
file: header, scales and float16 tensors, packed as in a rans file. The best general codec is the shortest of zstd 1 to
22, xz 9 and brotli 11 on the same codes, one per byte, tensor after tensor, in parts as in files. `rans` is pgolf's
entropy coder, timed on one core. The networks are trained here, except the synthetic one: #715's shapes, filled with
random numbers whose rows and columns differ in size like trained ones; its sizes hold for such numbers only. It is
measured at six bits and timed once: brotli takes minutes.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from os import sched_getaffinity
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s
from pgolf.model.checkpoint import Checkpoint, load_checkpoint
from pgolf.model.gpt import GPT
from pgolf.pack.code_model import Codes
from pgolf.pack.code_reader import decode_matrices
from pgolf.pack.code_writer import bits_of, encode_matrices
from pgolf.pack.codec import CODECS
from pgolf.pack.container import pack, packed_part, parts, serialize, unpack
from pgolf.pack.named_arrays import Content
from pgolf.pack.weights import Stored, to_content
from pgolf.quant.rounding import Quantized, round_embedding, round_to_nearest
from pgolf.quant.scheme import treatment
from pgolf.recipes.catalog import recipe_named

SYNTHETIC = "synthetic"
BITS = (6, 5)
SEED = 7


def trained(recipe: str, store: Path) -> Checkpoint:
    """The recipe's network of seed 7, trained in `store` unless cached."""
    places = ["--store", str(store / recipe), "--results", str(store / "results"), "--seeds", str(SEED)]
    subprocess.run(
        [sys.executable, "-m", "flows.commands.cli", "run", recipe, "--no-prefect", *places],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # A used store may hold networks of other code; this run made or reused the newest.
    paths = (store / recipe).glob("train-*/checkpoint.safetensors")
    return load_checkpoint(max(paths, key=lambda path: path.stat().st_mtime))


def synthetic() -> Checkpoint:
    """#715's network with random numbers in its matrices: Student's t, rows and columns of log-normal size."""
    config = recipe_named("pr715").model
    rng = np.random.default_rng(SEED)
    state = {}
    for name, tensor in GPT(config).state_dict().items():
        rows, columns = (*tensor.shape, 1, 1)[:2]
        sizes = 0.16 * np.exp(rng.normal(0, 0.35, (rows, 1)) + rng.normal(0, 0.2, columns))
        values = (rng.standard_t(8, (rows, columns)) * sizes).reshape(tensor.shape)
        state[name] = torch.from_numpy(values).to(tensor.dtype)
    return Checkpoint(config=config, state=state, facts={})


def stored_as(state: Mapping[str, Tensor], bits: int, fp16_max_elements: int) -> dict[str, Stored]:
    """Round matrices to `bits` bits, tables to 8, and cast the rest to float16."""
    stored: dict[str, Stored] = {}
    for name, tensor in state.items():
        kind = treatment(name, tuple(tensor.shape), floating=True, fp16_max_elements=fp16_max_elements)
        if kind == "matrix":
            stored[name] = round_to_nearest(name, tensor, bits)
        else:
            stored[name] = round_embedding(name, tensor, 8) if kind == "embedding" else tensor.to(torch.float16)
    return stored


def order_0_bytes(codes: Codes) -> float:
    """Entropy of a tensor's codes, from their frequencies, in bytes."""
    counts = np.unique(codes, return_counts=True)[1]
    return float(-(counts * np.log2(counts / codes.size)).sum() / 8)


def best_general(matrices: Sequence[Codes]) -> dict[str, int]:
    """Bytes with zstd at its best level, xz 9 and brotli 11."""
    content = serialize(Content({}, {str(number): matrix for number, matrix in enumerate(matrices)}))
    cut = parts("zstd", content)
    tried = [("brotli", 11), ("xz", 9)] + [("zstd", level) for level in reversed(CODECS["zstd"].levels)]
    with ThreadPoolExecutor(len(sched_getaffinity(0))) as pool:
        sizes = pool.map(lambda work: len(packed_part(*work[0], work[1])), product(tried, cut))
        by_part = list(zip(product(tried, cut), sizes, strict=True))
    best: dict[str, int] = {}
    for codec, level in tried:
        size = sum(size for (one, _part), size in by_part if one == (codec, level))
        best[codec] = min(size, best.get(codec, size))
    return best


def measure(name: str, checkpoint: Checkpoint, bits: int, fp16_max_elements: int, repeats: int) -> list[Line]:
    """The lines of a network with matrices of `bits` bits."""
    stored = stored_as(checkpoint.state, bits, fp16_max_elements)
    matrices = [value.codes.numpy() for value in stored.values() if isinstance(value, Quantized)]
    dtypes = {key: tensor.dtype for key, tensor in checkpoint.state.items()}
    content = to_content(stored, dtypes, checkpoint.config, checkpoint.facts)
    file_bytes = pack(serialize(content), codec="rans")
    read = unpack(file_bytes, where=name).arrays
    assert all(np.array_equal(read[key], array) for key, array in content.arrays.items())

    described = [(*matrix.shape, bits_of(matrix)) for matrix in matrices]
    coded = encode_matrices(matrices)
    encode_s, decode_s = in_turns_s(
        [partial(encode_matrices, matrices), partial(decode_matrices, coded, described)], repeats
    )
    bound = sum(map(order_0_bytes, matrices))
    side = len(file_bytes) - len(coded)
    general = best_general(matrices)
    shortest = min(general.values())
    what = f"{name} int{bits}"
    sizes = {
        f"{sum(matrix.size for matrix in matrices):,} codes: order-0 entropy": bound,
        "side information": side,
        "codes by zstd, best level": general["zstd"],
        "codes by xz": general["xz"],
        "codes by brotli": general["brotli"],
        "codes by rans": len(coded),
        "file, rans": len(file_bytes),
    }
    return [
        *(Line(f"{what}: {label}", "kB", Spread.of([size / 1000])) for label, size in sizes.items()),
        Line(f"{what}: file / bound", "times", Spread.of([len(file_bytes) / (bound + side)]), "<= 1.003"),
        Line(f"{what}: codes, rans / best general", "times", Spread.of([len(coded) / shortest]), "<= 0.99"),
        Line(f"{what}: encode", "s", Spread.of(encode_s), "<= 30"),
        Line(f"{what}: decode", "s", Spread.of(decode_s), "<= 30"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument("--store", type=Path, help="store for the trained networks (default: a temporary folder)")
    parser.add_argument(
        "networks",
        nargs="*",
        default=["demo", "pr715-tiny", "pr745-tiny", "pr792-tiny", SYNTHETIC],
        help=f"recipes, checkpoint files, or {SYNTHETIC} (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary)
        for network in options.networks:
            fp16_max_elements = recipe_named("pr715").compress.fp16_max_elements
            if network == SYNTHETIC:
                checkpoint = synthetic()
            elif Path(network).is_file():
                checkpoint = load_checkpoint(Path(network))
            else:
                checkpoint = trained(network, store)
                fp16_max_elements = recipe_named(network).compress.fp16_max_elements
            large = network == SYNTHETIC
            for bits in BITS[:1] if large else BITS:
                repeats = 1 if large else options.repeats
                lines += measure(Path(network).stem, checkpoint, bits, fp16_max_elements, repeats)
    title = "codecs on quantized networks"
    command = shlex.join(["python", "-m", "bench.codecs", *argv])
    show(Report.of(title, __doc__ or "", command, lines), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
