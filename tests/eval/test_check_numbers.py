"""The evaluation of #1493 against numbers of the original program, run on a CPU in float32 from weights by formula."""

import numpy as np
import pytest
import torch

from pgolf.eval.config import ScoreConfig
from pgolf.eval.scoring import window_pieces
from pgolf.eval.ttt import Learner
from pgolf.eval.windows import plan_windows
from pgolf.model.gpt import GPT
from pgolf.recipes.catalog import recipe_named
from tests.eval.traces import stream_for, trace_of
from tests.model.test_check_numbers import CHECKED
from tests.oracles.filled import documents, filled

WINDOW, CHUNK = 64, 256
TOKENS = documents(14)[:1089].astype(np.uint16)
# The recipe's, small and on one rank, at a rate that shows on these weights.
LEARNING = recipe_named("pr1493").score.ttt.model_copy(
    update={"chunk_tokens": CHUNK, "sequence_length": WINDOW, "groups": 1, "lr": 0.02}
)


def scored(stride, ttt=None):
    """The trace of the looped network, which learns if `ttt` is given."""
    model = filled(GPT(CHECKED)).eval()
    plan = plan_windows(TOKENS.size - 1, window=WINDOW, stride=stride, tail="once")
    learner = None if ttt is None else Learner(model, TOKENS, ttt, threads=1)
    config = ScoreConfig(window=WINDOW, stride=stride, tail="once", ttt=ttt)
    trace = trace_of(window_pieces(model, stream_for(model, TOKENS), plan, config, learner=learner, threads=1), plan)
    assert trace.target.tolist() == list(range(1, TOKENS.size))  # every target once
    return trace


@pytest.mark.parametrize(
    ("stride", "ttt", "nats"),
    [(WINDOW, None, 7.278553), (16, None, 7.277204), (16, LEARNING, 7.250474)],
    ids=["rows", "sliding", "learning"],
)
def test_losses_are_those_of_the_original_program(stride, ttt, nats):
    assert scored(stride, ttt).loss_nats.astype(np.float64).mean() == pytest.approx(nats, abs=2e-6)


def test_each_step_of_learning_has_the_loss_and_the_norm_of_the_original_program(monkeypatch):
    losses, norms = [], []
    clip, loss_of = torch.nn.utils.clip_grad_norm_, GPT.loss

    def noted_loss(*args, **kwargs):
        loss = loss_of(*args, **kwargs)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(GPT, "loss", noted_loss)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: norms.append(norm := clip(*args)) or norm)
    scored(16, LEARNING)
    assert len(losses) == len(norms) == 3 * 4  # the fifth chunk is the last: scored, not learned
    assert losses[:4] == pytest.approx([7.23707, 7.18908, 7.09791, 7.16068], abs=2e-5)
    assert [float(norm) for norm in norms[:4]] == pytest.approx([2.39946, 2.39955, 2.39964, 2.45030], rel=2e-5)
