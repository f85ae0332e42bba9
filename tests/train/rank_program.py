"""One rank of the cases that tests/train/test_ranks.py compares; the test runs them in its own process too."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pgolf.machine.parent_death import die_with_parent
from pgolf.model.init import initial_model
from pgolf.ranks.group import join_ranks
from pgolf.train.loop import accumulate_gradients, average_and_clip, train
from pgolf.train.optimizers import Optimizers
from tests.train.runs import TINY, spans_of

# AdamW's first steps are nearly the sign of the gradient, and so pass the rounding of a table's bfloat16 gradient on at
# full size wherever that is near 0. With this eps they are in proportion to it.
SMOOTH = {"adam_eps": 1e-2}
BANKS = SMOOTH | {"muon_layout": "banks", "projections_by": "adam", "clip_at": "rank"}
ANOTHER_FAMILY = {"value_residual": False, "gated_attention": False, "value_embedding_layers": (1, 2)}


def case(model=(), **train):
    updates = {"model": TINY.model.model_copy(update=dict(model)), "train": TINY.train.model_copy(update=train)}
    return TINY.model_copy(update=updates)


CASES = {
    "715": case(**SMOOTH),
    "761": case({"mlp_slope": 0.9}, **SMOOTH),
    "792": case(ANOTHER_FAMILY, **SMOOTH),
    "715 on shuffled rows": case(**SMOOTH, batches="rows", data_ranks=4),
    "745, never clipped": case(**BANKS, clip_norm=1e6),
    "745": case(**BANKS, clip_norm=0.1),
    "banks, clipped at the mean": case(**BANKS | {"clip_at": "mean"}),
}


def results(data, ranks):
    """Losses and exported weights of every case, and the gradients that the optimizers of #745 are given."""
    found = {}
    for name, config in CASES.items():
        reports = []
        model, spans = initial_model(config.model, 1), spans_of(data, config)
        trained = train(model, config.train, spans, ranks, clock_s=lambda: 0.0, on_step=reports.append)
        found[name] = {"losses": [report.loss_nats for report in reports], "state": trained.state}
    model, config = initial_model(TINY.model, 1), CASES["745"].train
    accumulate_gradients(model, config, spans_of(data, CASES["745"]), ranks, step=2)
    average_and_clip(model, config, Optimizers(model, config, ranks))
    found["gradients"] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found


def main(data, out):
    torch.set_num_threads(1)
    ranks, _device = join_ranks("cpu")
    found = results(data, ranks)
    if ranks.rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[-1]))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(0)  # as pgolf.ranks.enter does
