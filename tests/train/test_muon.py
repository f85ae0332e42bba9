"""Both layouts of Muon against the step's definition, matrix by matrix."""

import numpy as np
import pytest
import torch
from torch import nn

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.ranks.group import Ranks
from pgolf.train.bank_muon import BankMuon, banks_of
from pgolf.train.groups import group_parameters
from pgolf.train.muon import MatrixMuon
from tests.oracles.plain_muon import MuonByDefinition
from tests.train.matrices import well_conditioned

# Rows of unlike length, so that their normalization shows; their order is another one than the singular values'.
ROW_SIZES = np.array([1.0, 0.7, 1.3, 0.8, 1.2, 0.9], np.float32)
SHAPES = [(6, 4), (5, 5), (4, 6), (6, 4), (5, 5), (6, 4)]  # tall ones step by √1.5
OPTIONS = {"newton_schulz_steps": 5, "weight_decay": 0.1, "ranks": Ranks()}


def rounded_to_bfloat16(array):
    return torch.from_numpy(array).bfloat16().double().numpy()


def by_matrix(parameters, **options):
    return MatrixMuon(parameters, **OPTIONS, **options)


def by_bank(parameters, **options):
    banks = [[p for p in parameters if p.shape == shape] for shape in dict.fromkeys(p.shape for p in parameters)]
    return BankMuon(banks, **OPTIONS, averages=False, **options)


@pytest.mark.parametrize(
    ("muon_of", "rounded", "tolerance"),
    [
        # float32, lr times that of the iteration
        (by_matrix, lambda array: array, 5e-5),
        # A momentum that two arithmetics round to neighbours in bfloat16 differs by 2^-8 of itself; three steps of
        # lr 0.03 at most pass that on, with a slope of about 1 around well-conditioned matrices.
        (by_bank, rounded_to_bfloat16, 1e-3),
    ],
)
@pytest.mark.parametrize("row_norm", [False, True])
def test_steps_follow_the_definition(muon_of, rounded, tolerance, row_norm):
    random = np.random.default_rng(1)
    parameters = [nn.Parameter(torch.from_numpy(random.normal(size=shape)).float()) for shape in SHAPES]
    muon = muon_of(parameters, row_norm=row_norm)
    oracles = [MuonByDefinition(p.detach().numpy(), decay=0.1, rounded=rounded, row_norm=row_norm) for p in parameters]
    for step, (lr, momentum) in enumerate(((0.02, 0.85), (0.03, 0.9), (0.01, 0.95))):
        for index, (parameter, oracle) in enumerate(zip(parameters, oracles, strict=True)):
            gradient = well_conditioned(*parameter.shape, seed=10 * step + index).astype(np.float32)
            gradient *= ROW_SIZES[: len(gradient), None]
            parameter.grad = torch.from_numpy(gradient)
            oracle.step(gradient.astype(np.float64), lr=lr, momentum=momentum)
        muon.step(lr=lr, momentum=momentum)
    for parameter, oracle in zip(parameters, oracles, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), oracle.weight, rtol=0, atol=tolerance)


@pytest.mark.parametrize("muon_of", [by_matrix, by_bank])
@pytest.mark.parametrize("row_norm", [False, True])
def test_where_the_gradient_is_zero_only_the_decay_remains(muon_of, row_norm):
    parameter = nn.Parameter(torch.ones(3, 2))
    parameter.grad = torch.zeros(3, 2)
    muon_of([parameter], row_norm=row_norm).step(lr=0.1, momentum=0.9)
    torch.testing.assert_close(parameter.detach(), torch.full((3, 2), 0.99))


def test_banks_keep_gradients_and_momenta_in_bfloat16_and_matrices_in_float32():
    parameter = nn.Parameter(torch.ones(3, 2))
    assert by_bank([parameter]).momenta[0].dtype == torch.bfloat16
    assert by_matrix([parameter]).momenta[parameter.shape].dtype == torch.float32


def test_the_banks_of_745_are_its_four():
    """Queries of all layers then outputs, keys then values, up, down; 24, 24, 16 and 16 matrices once padded for 8."""
    with torch.device("meta"):
        matrices = group_parameters(GPT(ModelConfig())).matrices
        names = {parameter: name.removesuffix(".weight") for name, parameter in matrices.items()}
        banks = banks_of(matrices)
        muon = BankMuon(banks, newton_schulz_steps=5, weight_decay=0.04, ranks=Ranks(0, 8), averages=True)
    assert [[names[p] for p in bank[::11]] for bank in banks] == [
        ["blocks.0.attn.c_q", "blocks.0.attn.proj"],
        ["blocks.0.attn.c_k", "blocks.0.attn.c_v"],
        ["blocks.0.mlp.fc"],
        ["blocks.0.mlp.proj"],
    ]
    assert [names[p] for p in banks[1][:11]] == [f"blocks.{layer}.attn.c_k" for layer in range(11)]
    assert [tuple(momentum.shape) for momentum in muon.momenta] == [
        (3, 512, 512),
        (3, 256, 512),
        (2, 1536, 512),
        (2, 512, 1536),
    ]
