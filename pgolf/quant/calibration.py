"""Calibration: measure the Hessian of every linear map on training tokens."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import training_stream
from pgolf.corpus.shuffled_rows import shuffled_rows
from pgolf.errors import DataError
from pgolf.model.checkpoint import Checkpoint, build_model, load_checkpoint
from pgolf.model.precision import without_tf32
from pgolf.model.tensor_file import save_tensors
from pgolf.quant.config import CalibrateConfig
from pgolf.quant.hessian import InputHessians
from pgolf.quant.sensitivity import TOKEN_TABLE, Sensitivities
from pgolf.quant.threads import intra_op_threads
from pgolf.ranks.devices import usable_gpus
from pgolf.run_options import Made, Progress, RunOptions

_REPORT_EVERY_S = 0.5


def make(config: CalibrateConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Write `hessians.safetensors`: per linear map, XᵀX averaged over batches (not tokens), under its state name.

    With `table` also that of the token table as output layer. With `sensitivities` also the output of
    `Sensitivities.factors`: the loss's curvature by row, and that of tables.

    inputs: checkpoint (the averaged weights exported by training) and data. Raises DataError for a checkpoint with
    another vocabulary, or without a stream position where the stream continues there, and for data that have no rows;
    QuantizationError if activations overflow.
    """
    began = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    path = inputs["checkpoint"] / "checkpoint.safetensors"
    checkpoint = load_checkpoint(path)
    if dataset.vocab_size > checkpoint.config.vocab_size:
        raise DataError(
            f"{path}: the network's vocabulary is {checkpoint.config.vocab_size}, that of data set {dataset.name} is "
            f"{dataset.vocab_size}; calibrate on the data it was trained on"
        )
    position = 0 if config.source == "rows" else stream_position(checkpoint, path)
    device = torch.device(_device_name(run))
    network = build_model(checkpoint.config, checkpoint.state, device)
    loaded = time.perf_counter()
    reported = loaded
    sensitivities = Sensitivities(network) if config.sensitivities else None
    # One thread: the number of cores must not change the last bits of a sum; at small widths it is faster too. No TF32:
    # in a bundled script the training before it has allowed that, in the stage's own process nothing has.
    with intra_op_threads(1), without_tf32():
        hessians = InputHessians(network, config.product)
        for done, tokens_BT in enumerate(calibration_batches(config, dataset, position), start=1):
            tokens_BT = tokens_BT.to(device)
            with torch.inference_mode(), hessians:
                h_BTD = network.hidden(tokens_BT)
                if config.table:
                    hessians.add(TOKEN_TABLE, h_BTD)
            if sensitivities is not None:
                with sensitivities:
                    sensitivities.add(tokens_BT)
            now = time.perf_counter()
            if now - reported > _REPORT_EVERY_S or done == config.batches:
                reported = now
                run.report(Progress(stage="calibrate", done=done, total=config.batches, unit="batches"))
        means = dict(hessians.mean(config.batches))
        count = len(means)
        if sensitivities is not None:
            means |= sensitivities.factors(config.batches)
    measured = time.perf_counter()
    facts = {"batches": str(config.batches), "tokens": str(config.tokens), "stream_position": str(position)}
    save_tensors(out / "hessians.safetensors", means, facts)
    written = time.perf_counter()
    return Made(
        phases_s={"load": loaded - began, "measure": measured - loaded, "write": written - measured},
        facts={"hessians": count, "tokens": config.tokens, "stream_position": position, "device": device.type},
    )


def calibration_batches(config: CalibrateConfig, dataset: Dataset, position: int) -> Iterator[Tensor]:
    """Yield token batches, int64 [sequences, sequence_length].

    The first span of each global batch from `position` in the stream, or the first rows of data rank 0.
    """
    if config.source == "rows":
        length = config.sequence_length
        rows = shuffled_rows(dataset, rank=0, ranks=config.spans, length=length, vocab_size=dataset.vocab_size)
        for batch in range(config.batches):
            inputs = rows.take(batch * config.sequences, config.sequences)[:, :-1]
            yield torch.from_numpy(inputs.astype("int64"))
        return
    stream = training_stream(dataset, vocab_size=dataset.vocab_size)
    for batch in range(config.batches):
        stream.seek(position + batch * config.spans * (config.span_tokens + 1))
        tokens = stream.take(config.span_tokens).astype("int64")
        yield torch.from_numpy(tokens).reshape(config.sequences, config.sequence_length)


def stream_position(checkpoint: Checkpoint, path: Path) -> int:
    """Position in the training stream after the last step. Raises DataError for a checkpoint that does not say it."""
    position = checkpoint.facts.get("stream_position", "")
    if not position.isdecimal():
        raise DataError(
            f"{path}: stream_position is {position!r}, so the next training tokens are unknown; train the network "
            "again, or calibrate on rows (--set calibrate.source=rows)"
        )
    return int(position)


def _device_name(run: RunOptions) -> str:
    if run.device == "auto":
        return "cuda" if usable_gpus().gpus else "cpu"
    return run.device
