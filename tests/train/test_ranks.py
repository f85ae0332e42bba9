"""Runs of 1, 2 and 4 real processes against each other: what may depend on their number, and what may not."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pgolf.machine.launch import run_ranks
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.train.loop import accumulate_gradients
from tests.train import rank_program
from tests.train.rank_program import CASES, results
from tests.train.runs import TINY, learnable_tokens, spans_of, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("ranks") / "data", np.split(learnable_tokens(2000), 4))


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    """Results by number of processes."""
    by_processes = {1: results(data, Ranks())}
    for processes in (2, 4):
        folder = tmp_path_factory.mktemp("processes")
        run_ranks(
            rank_program.__name__,
            [str(data), str(folder / "found.pt")],
            processes=processes,
            log_path=folder / "log",
            environment={"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"},
            threads=1,
            timeout_s=100,
        )
        by_processes[processes] = torch.load(folder / "found.pt")
    return by_processes


INDEPENDENT = [name for name in CASES if name != "745"]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_losses_do_not_depend_on_the_number_of_processes(found, name, processes):
    """The same spans in sums of another order; the gradients of tables and banks are rounded to 8 bits in each sum."""
    assert found[processes][name]["losses"] == pytest.approx(found[1][name]["losses"], rel=0, abs=1e-3)


def test_clipping_on_every_rank_makes_them_depend_on_it(found):
    """#745 as it was run: a process that holds all spans clips their mean, two clip a half each."""
    alone, two, four = (found[processes]["745"]["losses"] for processes in (1, 2, 4))
    assert alone[0] == pytest.approx(two[0], abs=1e-3)  # the loss before the first step
    assert abs(alone[-1] - two[-1]) > 1e-2
    assert abs(two[-1] - four[-1]) > 1e-2


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_with_clip_at_rank_every_rank_clips_its_own_gradient_before_the_mean(data, found, processes):
    """Those of the banks stay each rank's own, because Muon averages them; all others become the mean."""
    config, clipped = CASES["745"].train, []
    for rank in range(processes):
        model = initial_model(TINY.model, 1)
        accumulate_gradients(model, config, spans_of(data, CASES["745"]), Ranks(rank, processes), step=2)
        own = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
        norm = sum(float(gradient.square().sum()) for gradient in own.values()) ** 0.5
        assert norm > config.clip_norm
        clipped.append({name: gradient * config.clip_norm / (norm + 1e-6) for name, gradient in own.items()})
    for name, gradient in found[processes]["gradients"].items():
        in_bank = name.startswith("blocks.") and name.endswith(
            (".c_q.weight", ".c_k.weight", ".c_v.weight", "proj.weight", ".fc.weight")
        )
        expected = clipped[0][name] if in_bank else sum(each[name] for each in clipped) / processes
        # The norm of the tables' gradients is itself a bfloat16 number, and so are they and their sums.
        torch.testing.assert_close(gradient.double(), expected, rtol=2**-6, atol=2**-8 * float(expected.abs().max()))


def test_a_process_that_trains_on_a_cpu_never_loads_torchs_compiler(data):
    """Which takes as long to import as the rest of torch, in every rank."""
    code = (
        "import sys, pgolf.train.__main__; from pathlib import Path; from pgolf.ranks.group import Ranks; "
        "from tests.train.rank_program import results; results(Path(sys.argv[1]), Ranks()); "
        "print('LOADED', *sys.modules.keys() & {'torch._dynamo'})"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(data)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].strip() == "LOADED"
