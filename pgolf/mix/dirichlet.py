"""The Dirichlet recursion: each order's counts smoothed by the order below, the network at the bottom.

p_n(a) = (c(context_n, a) + k·p_{n-1}(a)) / (c(context_n) + k), p_0 the network's distribution, over the counted orders
up to n, ascending. A context that was never seen leaves p_{n-1} as it is. k, the concentration, says how many
occurrences the order below is worth: k -> 0 gives the longest seen context's frequencies, k -> infinity the network.

NORMALIZED with exact counts: c(context, a) sums to c(context) over the vocabulary, so by induction p_n sums to 1, and
the target's p_n needs the counts of the target alone.

LEGACY with hashed tables: the same formula over two tables that do not agree is #900's published scorer, which is no
distribution. It is offered all the same, with full counts cut at the context's and the published floor, because its
mass can be told exactly beside its score: M_n = (c·S_n + k·M_{n-1}) / (c + k), S_n the sum of min(full, c)/c over the
vocabulary, which the count stage samples.

Shapes: T targets, O orders ascending.
Source: MacKay and Peto 1995; openai/parameter-golf PR #900.
"""

import numpy as np
import numpy.typing as npt

from pgolf.mix.interpolation import FLOOR

Float64Array = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.uint32]


def dirichlet_probability(
    p_T: Float64Array, context_OT: CountArray, full_OT: CountArray, concentration: float
) -> Float64Array:
    """p_n of the targets, by the orders given, ascending; [T]. p_T: the network's; full counts are cut at context's."""
    mixed_T = p_T
    for context_T, full_T in zip(context_OT, full_OT, strict=True):
        seen_T = np.minimum(full_T, context_T) + concentration * mixed_T
        mixed_T = np.where(context_T > 0, seen_T / (context_T + concentration), mixed_T)
    return mixed_T


def dirichlet_loss(
    loss_T: npt.NDArray[np.float32],
    context_OT: CountArray,
    full_OT: CountArray,
    concentration: float,
    *,
    legacy: bool,
) -> Float64Array:
    """Loss in nats; legacy: with the published floor under p'."""
    mixed_T = dirichlet_probability(np.exp(-loss_T.astype(np.float64)), context_OT, full_OT, concentration)
    return np.negative(np.log(np.clip(mixed_T, FLOOR, 1.0) if legacy else mixed_T))


def dirichlet_mass(context_OT: CountArray, mass_OT: Float64Array, concentration: float) -> Float64Array:
    """Total that p_n hands out over the vocabulary, [T]; mass_OT: sums of min(full, context)/context over it."""
    total_T = np.ones(context_OT.shape[1])
    for context_T, mass_T in zip(context_OT, mass_OT, strict=True):
        given_T = context_T * mass_T + concentration * total_T
        total_T = np.where(context_T > 0, given_T / (context_T + concentration), total_T)
    return total_T
