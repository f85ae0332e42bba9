"""Which optimizer moves which parameter.

Source: PR #715: AdamW for tables, Muon for matrices, AdamW for all the rest, with rates of their own.
"""

from dataclasses import dataclass

from torch import nn

from pgolf.model.embedding import Table
from pgolf.model.gpt import GPT
from pgolf.model.linear import CastedLinear
from pgolf.train.adam import AdamW
from pgolf.train.config import TrainConfig
from pgolf.train.muon import Muon
from pgolf.train.ranks import Ranks


@dataclass(frozen=True, slots=True)
class ParameterGroups:
    """Parameters by state name. tables: embeddings. matrices: linear maps. scalars: all the rest."""

    tables: dict[str, nn.Parameter]
    matrices: dict[str, nn.Parameter]
    scalars: dict[str, nn.Parameter]


def group_parameters(model: GPT) -> ParameterGroups:
    """Every parameter of the network in exactly one group, by the kind of module that owns it."""
    groups = ParameterGroups({}, {}, {})
    for module_name, module in model.named_modules():
        group = {Table: groups.tables, CastedLinear: groups.matrices}.get(type(module), groups.scalars)
        for name, parameter in module.named_parameters(prefix=module_name, recurse=False):
            group[name] = parameter
    return groups


class Optimizers:
    """The three optimizers of one run, with fresh moments."""

    def __init__(self, model: GPT, config: TrainConfig, ranks: Ranks) -> None:
        groups = group_parameters(model)
        self.config = config
        self.muon = Muon(
            list(groups.matrices.values()),
            newton_schulz_steps=config.muon_newton_schulz_steps,
            weight_decay=config.muon_weight_decay,
            ranks=ranks,
        )
        # Decay acts on gains and gates too, as in the originals.
        self.table_adam, self.scalar_adam = (
            AdamW(
                parameters=list(group.values()),
                beta1=config.adam_beta1,
                beta2=config.adam_beta2,
                eps=config.adam_eps,
                weight_decay=config.adam_weight_decay,
            )
            for group in (groups.tables, groups.scalars)
        )

    def step(self, *, rate_scale: float, momentum: float) -> None:
        """One step of all three with every base rate times `rate_scale`; parameters without a gradient stay."""
        self.table_adam.step(lr=self.config.embedding_lr * rate_scale)
        self.scalar_adam.step(lr=self.config.scalar_lr * rate_scale)
        self.muon.step(lr=self.config.muon_lr * rate_scale, momentum=momentum)
