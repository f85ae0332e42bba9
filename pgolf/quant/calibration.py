"""Calibration: Hessians of every linear map, measured on the training tokens after the last one trained on."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import training_stream
from pgolf.errors import DataError
from pgolf.model.checkpoint import Checkpoint, build_model, load_checkpoint
from pgolf.model.tensor_file import save_tensors
from pgolf.quant.config import CalibrateConfig
from pgolf.quant.hessian import InputHessians
from pgolf.quant.sensitivity import Sensitivities
from pgolf.quant.threads import intra_op_threads
from pgolf.run import Made, Progress, RunOptions

_REPORT_EVERY_S = 0.5


def make(config: CalibrateConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Write `hessians.safetensors`: per linear map XᵀX averaged over batches (not tokens), under its state name.

    With `sensitivities` also what `Sensitivities.factors` names: the loss's curvature by row, and the tables'.

    inputs: checkpoint (the averaged weights that training exported) and data. Raises DataError for a checkpoint
    without a stream position or of another vocabulary, QuantizationError for activations that overflow.
    """
    began = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    path = inputs["checkpoint"] / "checkpoint.safetensors"
    checkpoint = load_checkpoint(path)
    position = stream_position(checkpoint, dataset, path)
    device = torch.device(_device_name(run))
    network = build_model(checkpoint.config, checkpoint.state, device)
    loaded = time.perf_counter()
    reported = loaded
    sensitivities = Sensitivities(network)
    # One thread: how many cores a machine has must not move the last bit of a sum; at small widths it is faster too.
    with intra_op_threads(1):
        hessians = InputHessians(network, config.product)
        for done, tokens_BT in enumerate(calibration_batches(config, dataset, position), start=1):
            tokens_BT = tokens_BT.to(device)
            with torch.inference_mode(), hessians:
                network.hidden(tokens_BT)
            if config.sensitivities:
                with sensitivities:
                    sensitivities.add(tokens_BT)
            now = time.perf_counter()
            if now - reported > _REPORT_EVERY_S or done == config.batches:
                reported = now
                run.report(Progress(stage="calibrate", done=done, total=config.batches, unit="batches"))
        means = dict(hessians.mean(config.batches))
        count = len(means)
        if config.sensitivities:
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
    """int64 token batches [sequences, sequence_length]: the first span of each global batch from `position` on."""
    stream = training_stream(dataset, vocab_size=dataset.vocab_size)
    for batch in range(config.batches):
        stream.seek(position + batch * config.spans * (config.span_tokens + 1))
        tokens = stream.take(config.span_tokens).astype("int64")
        yield torch.from_numpy(tokens).reshape(config.sequences, config.sequence_length)


def stream_position(checkpoint: Checkpoint, dataset: Dataset, path: Path) -> int:
    """Where the training stream stood after the last step; DataError if checkpoint and data cannot belong together."""
    if dataset.vocab_size > checkpoint.config.vocab_size:
        raise DataError(
            f"{path}: the network knows {checkpoint.config.vocab_size} tokens, the data set {dataset.name} has "
            f"{dataset.vocab_size}; calibrate on the data it was trained on"
        )
    position = checkpoint.facts.get("stream_position", "")
    if not position.isdecimal():
        raise DataError(
            f"{path}: stream_position is {position!r}, so nobody knows which tokens come next; train the network again"
        )
    return int(position)


def _device_name(run: RunOptions) -> str:
    if run.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return run.device
