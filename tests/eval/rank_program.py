"""One rank of the cases that tests/eval/test_ranks.py compares; the test runs them in its own process too."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pgolf.eval.config import ScoreConfig
from pgolf.eval.pieces import PIECES_FILE, write_pieces
from pgolf.eval.scoring import Scoring, open_text
from pgolf.machine.parent_death import die_with_parent
from pgolf.ranks.group import join_ranks

WINDOW, STRIDE, CHUNK = 24, 8, 48
SMALL_CHUNKS = {"chunk_tokens": CHUNK, "sequence_length": 12, "groups": 5, "lr": 0.02}
ADAPT_FIRST = {**SMALL_CHUNKS, "order": "adapt_first", "optimizer": "adamw", "epochs": 2}
CASES = {
    "fixed weights, repeated tail, hints": {"tail": "repeat"},
    "score first, batch means": {
        "ttt": SMALL_CHUNKS,
        "batch_means": {"chunk_tokens": CHUNK, "ranks": 2, "windows": 2},
    },
    "adapt first": {"ttt": ADAPT_FIRST},
    "a LoRA per document": {"ttt": {"kind": "lora", "rank": 4, "chunk_targets": 7, "lr": 0.02}},
}


def config_of(fields):
    return ScoreConfig.model_validate({"window": WINDOW, "stride": STRIDE, "batch_windows": 2, **fields}, strict=False)


def score_cases(inputs, folder, ranks, device):
    for number, fields in enumerate(CASES.values()):
        config = config_of(fields)
        # The hints are for the records of a repeated tail.
        roles = inputs if config.tail == "repeat" else {role: path for role, path in inputs.items() if role != "hints"}
        (folder / str(number)).mkdir(exist_ok=True)
        scoring = Scoring(config, roles, device, text=open_text(config, roles["data"]), ranks=ranks, threads=1)
        write_pieces(folder / str(number) / PIECES_FILE.format(rank=ranks.rank), scoring.pieces())


def main(roles, folder):
    torch.set_num_threads(1)
    ranks, device = join_ranks("cpu")
    score_cases({role: Path(path) for role, path in json.loads(roles).items()}, folder, ranks, device)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[-1]))
    main(sys.argv[1], Path(sys.argv[2]))
    os._exit(0)  # as pgolf.ranks.enter does
