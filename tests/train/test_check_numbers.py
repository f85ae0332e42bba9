"""Six steps of #1493 against numbers of the original program, run on a CPU in float32 from weights given by formula."""

import numpy as np
import pytest
import torch

from pgolf.model.gpt import GPT
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.train import loop
from pgolf.train.loop import prime, train
from tests.model.test_check_numbers import CHECKED
from tests.oracles.filled import filled, stream
from tests.oracles.plain_rows import rows_by_definition

# The recipe's, with fewer of everything.
CONFIG = recipe_named("pr1493").train.model_copy(
    update={
        "tokens_per_step": 8 * 2 * 64,
        "sequence_length": 64,
        "steps": 6,
        "clock_limit_s": None,
        "clock_reserve_s": 0.0,
        "priming_steps": 2,
        "muon_momentum_warmup_steps": 4,
    }
)


class Batches:
    """Two rows per micro-step, of one rank alone, in the order of the draws."""

    def __init__(self):
        rows = rows_by_definition([stream(np.arange(9000)), stream(np.arange(9000, 16001))], 0, 1, 64)
        self.drawn = [np.stack([next(rows), next(rows)]) for _ in range(8 * 6)]

    def read(self, step, index, device):
        rows_BT = torch.from_numpy(self.drawn[8 * step + index]).to(device)
        return rows_BT[:, :-1], rows_BT[:, 1:]


@pytest.fixture(scope="module")
def trained():
    """The network, the exported state, the reports, and the norms of priming with the switch at each."""
    model, batches, reports, primed = filled(GPT(CHECKED)), Batches(), [], []

    def noted(*args):
        norm = clip(*args)
        primed.append((norm.item(), model.loops))
        return norm

    clip, loop.average_and_clip = loop.average_and_clip, noted
    try:
        prime(model, CONFIG, batches, Ranks())
    finally:
        loop.average_and_clip = clip
    exported = train(model, CONFIG, batches, Ranks(), clock_s=lambda: 0.0, on_step=reports.append)
    return model, exported.state, reports, primed


def test_losses_norms_and_rates_are_those_of_the_original_program(trained):
    _, _, reports, _ = trained
    losses = [7.21954, 5.07770, 3.68158, 2.85939, 2.11220, 2.00236]
    norms = [0.73669, 0.72211, 0.61873, 0.58479, 0.50672, 0.54325]
    assert [report.loss_nats for report in reports] == pytest.approx(losses, abs=1e-4)
    assert [report.gradient_norm for report in reports] == pytest.approx(norms, rel=2e-4)
    rates = [1, 1, 0.925926, 0.694444, 0.462963, 0.231481]
    assert [report.rate_scale for report in reports] == pytest.approx(rates, abs=5e-7)


def test_priming_runs_both_networks_on_the_same_steps_and_is_undone(trained):
    """Were it not, the losses above would be others."""
    _, _, _, primed = trained
    assert [norm for norm, _ in primed] == pytest.approx([0.73669, 0.72211, 0.61778, 0.59435], rel=2e-4)
    assert [loops for _, loops in primed] == [False, False, True, True]


def test_the_weights_after_six_steps_and_their_average_are_those_of_the_original_program(trained):
    model, exported, _, _ = trained
    state = model.state_dict()
    for name, total, squares in (
        ("blocks.4.attn.c_q.weight", 8.96803, 51.74208),
        ("blocks.9.mlp.proj.weight", 4.04297, 206.56306),
    ):
        values = state[name].double()
        assert values.sum().item() == pytest.approx(total, abs=2e-5 * values.numel() ** 0.5)
        assert values.square().sum().item() == pytest.approx(squares, rel=1e-4)
    assert state["skip_weights"].double().sum().item() == pytest.approx(1022.8874, abs=2e-5 * 1024**0.5)
    average = exported["blocks.4.attn.c_q.weight"].double()
    assert average.sum().item() == pytest.approx(8.57641, abs=2e-5 * average.numel() ** 0.5)
