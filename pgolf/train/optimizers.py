"""The optimizers of a run: AdamW for tables, AdamW for scalars, Muon for matrices."""

from collections.abc import Mapping

from torch import Tensor, nn

from pgolf.model.gpt import GPT
from pgolf.ranks.group import Ranks
from pgolf.train.adam import AdamW
from pgolf.train.bank_muon import BankMuon, banks_of
from pgolf.train.config import TrainConfig
from pgolf.train.groups import group_parameters
from pgolf.train.muon import MatrixMuon


class Optimizers:
    """All three with fresh state, and the averaging of gradients over ranks that must precede their step."""

    def __init__(self, model: GPT, config: TrainConfig, ranks: Ranks) -> None:
        groups = group_parameters(model)
        by_muon, by_adam = groups.matrices, groups.scalars
        if config.projections_by == "muon":
            by_muon = by_muon | groups.projections
        else:
            by_adam = by_adam | groups.projections
        self.config = config
        self.ranks = ranks
        self.muon = _muon(by_muon, config, ranks)
        # Weight decay applies to gains and gates too, as in the originals.
        self.table_adam, self.scalar_adam = (
            AdamW(
                parameters=list(group.values()),
                beta1=config.adam_beta1,
                beta2=config.adam_beta2,
                eps=config.adam_eps,
                weight_decay=config.adam_weight_decay if decay is None else decay,
            )
            for group, decay in (
                (groups.tables, config.embedding_weight_decay),
                (by_adam, config.scalar_weight_decay),
            )
        )
        self.by_adam: Mapping[str, nn.Parameter] = groups.tables | by_adam
        left_to_muon = set(by_muon.values()) if _muon_averages(config) else set[nn.Parameter]()
        self.averaged_first = [parameter for parameter in model.parameters() if parameter not in left_to_muon]

    def shared_state(self) -> dict[str, Tensor]:
        """AdamW's state by name, as live tensors: equal on all ranks."""
        moments = self.table_adam.moments | self.scalar_adam.moments
        found: dict[str, Tensor] = {}
        for name, parameter in self.by_adam.items():
            mine = moments[parameter]
            found |= {f"first.{name}": mine.first, f"second.{name}": mine.second, f"adam_steps.{name}": mine.steps}
        return found

    def own_state(self) -> dict[str, Tensor]:
        """Muon's state by name, as live tensors: of this rank only."""
        return {f"momentum.{i}": momentum for i, momentum in enumerate(self.muon.own_momenta())}

    def average_gradients(self) -> None:
        """Replace gradients by their means over the ranks, except those that Muon averages itself."""
        self.ranks.mean_gradients(self.averaged_first)

    def step(self, *, rate_scale: float, momentum: float) -> None:
        """Step all three with every base rate times `rate_scale`; parameters without a gradient do not change."""
        self.table_adam.step(lr=self.config.embedding_lr * rate_scale)
        self.scalar_adam.step(lr=self.config.scalar_lr * rate_scale)
        self.muon.step(lr=self.config.muon_lr * rate_scale, momentum=momentum)


def _muon(matrices: dict[str, nn.Parameter], config: TrainConfig, ranks: Ranks) -> MatrixMuon | BankMuon:
    if config.muon_layout == "matrices":
        return MatrixMuon(
            list(matrices.values()),
            newton_schulz_steps=config.muon_newton_schulz_steps,
            weight_decay=config.muon_weight_decay,
            ranks=ranks,
            row_norm=config.muon_row_norm,
        )
    return BankMuon(
        banks_of(matrices),
        newton_schulz_steps=config.muon_newton_schulz_steps,
        weight_decay=config.muon_weight_decay,
        ranks=ranks,
        row_norm=config.muon_row_norm,
        averages=_muon_averages(config),
    )


def _muon_averages(config: TrainConfig) -> bool:
    """Whether gradients that were clipped per rank are averaged by Muon itself, while it shards its banks."""
    return config.muon_layout == "banks" and config.clip_at == "rank"
