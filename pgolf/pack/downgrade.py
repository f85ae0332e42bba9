"""The policy "published": takes bits from one layer after the other, from the middle outward, until the model fits.

Source: the auto-downgrade of Parameter Golf PR #715 and #761.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing

from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.scheme import layer_of


def first_that_fits(quantizer: Quantizer, trials: Trials) -> Trial | None:
    """Rung after rung, at each every level in the configured order; None if all are too large."""
    # A layer whose matrices are all small enough for float16 has nothing to lose.
    order = [layer for layer in middle_out(trials.checkpoint.config.layers) if layer in quantizer.layers]
    sets = list(rungs(order if quantizer.config.downgrade_bits else ()))
    plans = (rung_plan(quantizer, downgraded) for downgraded in sets)
    with closing(trials.of(plans, total_plans=len(sets))) as tried:
        return next((trial for trial in tried if trial.fits), None)


def rung_plan(quantizer: Quantizer, downgraded: Sequence[int]) -> Plan:
    """The given layers' matrices at `downgrade_bits`, all others at `matrix_bits`."""
    config = quantizer.config
    low = {name for name in quantizer.matrices if layer_of(name) in downgraded}
    bits = {name: config.downgrade_bits if name in low else config.matrix_bits for name in quantizer.matrices}
    return Plan(
        rung="downgraded layers: " + (", ".join(map(str, downgraded)) or "none"),
        grids={name: width or config.matrix_bits for name, width in bits.items()}
        | dict.fromkeys(quantizer.tables, config.embedding_bits),
    )


def middle_out(layers: int) -> tuple[int, ...]:
    """All layers from the middle outward, the upper neighbour before the lower: 5, 6, 4, 7, 3, … for 11."""
    middle = layers // 2
    order = [middle]
    for offset in range(1, layers):
        order += [layer for layer in (middle + offset, middle - offset) if 0 <= layer < layers]
    return tuple(order[:layers])


def rungs(layers: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The sets of downgraded layers to try, each one layer larger than the one before, beginning with none."""
    for count in range(len(layers) + 1):
        yield tuple(layers[:count])
