"""The stages of the pipeline, by declaration alone: importing this loads none of their libraries."""

from pgolf.identity.stage import Stage
from pgolf.pack.codec import CODECS

DATA_OUTPUTS = {
    "manifest": ("manifest.json",),
    "tokenizer": ("tokenizers/*.model",),
    "train": ("datasets/*/fineweb_train_*.bin",),
    "val": ("datasets/*/fineweb_val_*.bin",),
}

FETCH = Stage(name="fetch", entry="pgolf.corpus.fetch_stage", outputs=DATA_OUTPUTS)
TOKENIZE = Stage(name="tokenize", entry="pgolf.corpus.tokenize_stage", tools={"sentencepiece": 3}, outputs=DATA_OUTPUTS)
TRAIN = Stage(
    name="train",
    entry="pgolf.train.train_stage",
    tools={"torch": 2},
    outputs={"checkpoint": ("checkpoint.safetensors",)},
)
IMPORT = Stage(
    name="import",
    entry="pgolf.model.import_stage",
    tools={"torch": 2},
    outputs={"checkpoint": ("checkpoint.safetensors",)},
)
CALIBRATE = Stage(
    name="calibrate",
    entry="pgolf.quant.calibrate_stage",
    tools={"torch": 2},
    outputs={"hessians": ("hessians.safetensors",)},
)
COMPRESS = Stage(
    name="compress",
    entry="pgolf.pack.compress_stage",
    tools={"torch": 2} | {codec.library: 3 for codec in CODECS.values() if codec.library},
    outputs={"packed": ("model.pgolf",), "weights": ()},
)
SCORE = Stage(
    name="score",
    entry="pgolf.eval.score_stage",
    tools={"torch": 2},
    # The second only where the configuration asks for it.
    outputs={"trace": ("trace.arrow", "batches.arrow")},
)
COUNT = Stage(name="count", entry="pgolf.counts.count_stage", outputs={"counts": ("counts.arrow", "mass.arrow")})
HINT = Stage(name="hint", entry="pgolf.counts.hint_stage", outputs={"hints": ("hints.arrow",)})
MIX = Stage(name="mix", entry="pgolf.mix.mix_stage", tools={"numba": 2}, outputs={"cells": ("cells.parquet",)})

STAGES = {stage.name: stage for stage in (FETCH, TOKENIZE, TRAIN, IMPORT, CALIBRATE, COMPRESS, SCORE, COUNT, HINT, MIX)}
