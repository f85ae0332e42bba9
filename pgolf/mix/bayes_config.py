"""Settings of a Bayes or fixed-share mixture of other mixtures. Imports no torch."""

from typing import Literal

from pydantic import Field

from pgolf.config import StageConfig
from pgolf.mix.product import Product


class BayesConfig(StageConfig):
    """A mixture of the network and of other normalized mixtures, weighted by their past losses alone.

    With K members and the defaults its total loss is at most the best member's plus ln K nats: no point has to be
    chosen by looking at the scores. See `pgolf.mix.bayes` for the bounds of the other settings.
    """

    members: tuple[Product, ...] | None = Field(
        default=None,
        description="what is mixed beside the network: the normalized points of these; none: those of the grid",
    )
    share_rate: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="share of the weight that is dealt out evenly after every update, so that the best member may "
        "change (fixed share); 0: Bayes",
    )
    chunk_targets: int = Field(
        default=1, ge=1, description="targets between two updates of the weights, which then move by the mean loss"
    )

    @property
    def mixer(self) -> Literal["bayes", "fixed-share"]:
        """Its name in the tables."""
        return "fixed-share" if self.share_rate else "bayes"
