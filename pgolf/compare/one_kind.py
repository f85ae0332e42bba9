"""One kind of scorer on all sides: what a mixture gains over a network alone says nothing of the runs."""

from collections.abc import Sequence
from dataclasses import replace

from pgolf.compare.arms import NETWORK, Arm, by_network, with_notes
from pgolf.errors import ConfigError


def of_one_kind(arms: Sequence[Arm]) -> list[Arm]:
    """The arms as they are, if all have a mixture or all the network alone; else all by the network alone.

    Raises ConfigError where scorers were named and are of two kinds, and what `by_network` raises.
    """
    alone = [arm for arm in arms if arm.scorer == NETWORK]
    mixed = [arm for arm in arms if arm.scorer != NETWORK]
    if not all(arm.automatic for arm in arms):
        if alone and mixed:
            raise ConfigError(
                f"--scorer names the network alone of {alone[0].name} and {mixed[0].scorer} of {mixed[0].name}, which "
                "says nothing of the runs; name one kind: --scorer network, or more settings; or what a mixture is "
                "held against: --base-scorer network"
            )
        return list(arms)
    why = _reasons(alone)
    left_out = {arm.name: f"its headline ({arm.scorer}) is not compared: {why}" for arm in mixed}
    found = [_alone(arm, left_out[arm.name]) if alone and arm in mixed else arm for arm in arms]
    return [replace(arm, network=why) for arm in found]


def _alone(arm: Arm, note: str) -> Arm:
    return with_notes(by_network(arm), note)


def _reasons(arms: Sequence[Arm]) -> str:
    """Who has no headline that counts, and why: a and b have no declared mixture."""
    names: dict[str, list[str]] = {}
    for arm in arms:
        names.setdefault(arm.no_headline, []).append(arm.name)
    return ", ".join(f"{' and '.join(of)} {'has' if len(of) == 1 else 'have'} {why}" for why, of in names.items())
