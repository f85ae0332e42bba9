"""Mixtures of the network's probability of a target with an n-gram estimate, from loss, entropy and counts alone.

LEGACY mixtures take hashed counts and repeat the published arithmetic: p' = (1 - a)·p + a·r, floored at 1e-12. Their r
does not sum to 1 over the vocabulary, so neither does p'.

NORMALIZED mixtures take exact counts: r(v) = c(context, v) / c(context) sums to 1, the gate and the weight depend on
the context and the network's distribution but never on the target, hence p' sums to 1 as well. A floor under p' would
break that (it adds mass to every token below it), so here the *weight* is kept below 1 instead: p' >= 1e-12·p, a finite
loss for a finite network loss, and still a convex combination of two distributions.

A target whose context was seen fewer than min_count times keeps p, in both. For the network's p = exp(-loss), float64.

Shapes: T targets, O orders ascending.
Source: openai/parameter-golf PR #715 (fixed), #761 and #792 (backoff, adaptive).
"""

import numpy as np
import numpy.typing as npt

FLOOR = 1e-12  # published: the least p' of a legacy mixture
LEAST_KEPT = 1e-12  # the least weight of the network in a normalized mixture

Float64Array = npt.NDArray[np.float64]
Alpha = float | npt.NDArray[np.float32] | Float64Array


def estimate(context_T: npt.NDArray[np.uint32], full_T: npt.NDArray[np.uint32]) -> Float64Array:
    """r = min(full, context) / max(context, 1), in [0, 1]; for exact counts simply full / context."""
    return np.minimum(full_T, context_T) / np.maximum(context_T, 1).astype(np.float64)


def first_hit(context_OT: npt.NDArray[np.uint32], min_count: int) -> npt.NDArray[np.int64]:
    """Row of the longest order whose context was seen at least min_count times, -1 where none was; [T].

    It looks at context counts only: a rule that also saw the full count would know the target.
    """
    seen_OT = context_OT >= min_count
    orders = len(context_OT)
    return np.where(seen_OT.any(axis=0), orders - 1 - np.argmax(seen_OT[::-1], axis=0), -1)


def sigmoid_of_entropy(
    entropy_T: npt.NDArray[np.float32], slope: float, threshold_nats: float
) -> npt.NDArray[np.float32]:
    """σ(slope·(H - threshold)), float32.

    As published its argument is float32; σ itself is taken in double and rounded, so that processors whose float32
    exponentials differ in the last bit give one result.
    """
    x_T = np.float32(slope) * (entropy_T - np.float32(threshold_nats))
    # exp(-|x|) cannot overflow; σ(x) = 1 - σ(-x).
    small_T = np.exp(-np.abs(x_T.astype(np.float64)))
    return (np.where(x_T >= 0, 1.0, small_T) / (1.0 + small_T)).astype(np.float32)


def adaptive_alpha(
    entropy_T: npt.NDArray[np.float32], *, base: float, span: float, slope: float, threshold_nats: float
) -> npt.NDArray[np.float32]:
    """Weight of the n-gram estimate, base + span·σ(slope·(H - threshold)), float32 as published."""
    alpha_T: npt.NDArray[np.float32] = np.float32(span) * sigmoid_of_entropy(entropy_T, slope, threshold_nats)
    alpha_T += np.float32(base)
    return alpha_T


def legacy_weights(alpha: Alpha) -> tuple[Float64Array, Float64Array]:
    """(weight of the network, weight of the estimate): 1 - a is taken in a's own precision, as published."""
    ngram = np.asarray(alpha)
    return (ngram.dtype.type(1) - ngram).astype(np.float64), ngram.astype(np.float64)


def normalized_weights(alpha: Alpha) -> tuple[Float64Array, Float64Array]:
    """(weight of the network, weight of the estimate), the first at least LEAST_KEPT; they sum to 1."""
    ngram = np.minimum(np.asarray(alpha).astype(np.float64), 1.0 - LEAST_KEPT)
    return 1.0 - ngram, ngram


def legacy_loss(
    loss_T: npt.NDArray[np.float32],
    alpha: Alpha,
    estimate_T: Float64Array,
    matched_T: npt.NDArray[np.bool_],
) -> Float64Array:
    """Loss in nats of the published mixture: -ln clip((1 - a)·p + a·r, 1e-12, 1) where matched, else of p alone."""
    network, ngram = legacy_weights(alpha)
    p_T = np.exp(-loss_T.astype(np.float64))
    mixed_T: Float64Array = np.where(matched_T, network * p_T + ngram * estimate_T, p_T)
    return np.negative(np.log(np.clip(mixed_T, FLOOR, 1.0)), dtype=np.float64)


def normalized_loss(
    loss_T: npt.NDArray[np.float32],
    alpha: Alpha,
    estimate_T: Float64Array,
    matched_T: npt.NDArray[np.bool_],
) -> Float64Array:
    """Loss in nats of (1 - a)·p + a·r where matched, else the network's own; estimate_T from exact counts."""
    network, ngram = normalized_weights(alpha)
    p_T = np.exp(-loss_T.astype(np.float64))
    return np.where(matched_T, -np.log(network * p_T + ngram * estimate_T), loss_T.astype(np.float64))


def legacy_mass(alpha: Alpha, mass_T: Float64Array, matched_T: npt.NDArray[np.bool_]) -> Float64Array:
    """Total a legacy mixture hands out over the vocabulary: (1 - a) + a·(sum of r) where matched, else 1.

    The network's own probabilities sum to 1; the floor's share, at most 1e-12 a token, is left out.
    """
    network, ngram = legacy_weights(alpha)
    return np.where(matched_T, network + ngram * mass_T, 1.0)
