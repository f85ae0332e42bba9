"""Mixtures as array operations in double precision, one cell at a time: the formulas as they are written down.

Shapes: T targets, O orders ascending.
"""

import numpy as np

FLOOR = 1e-12  # published: the least p' of a legacy mixture
LEAST_KEPT = 1e-12  # the least weight of the network in a normalized mixture


def estimate(context_T, full_T):
    """r = min(full, context) / max(context, 1)."""
    return np.minimum(full_T, context_T) / np.maximum(context_T, 1).astype(np.float64)


def first_hit(context_OT, min_count):
    """Row of the longest order whose context was seen at least min_count times, -1 where none was; [T]."""
    seen_OT = context_OT >= min_count
    orders = len(context_OT)
    return np.where(seen_OT.any(axis=0), orders - 1 - np.argmax(seen_OT[::-1], axis=0), -1)


def adaptive_alpha(entropy_T, *, base, span, slope, threshold_nats):
    """base + span·σ(slope·(H - threshold)), float32 as published, σ rounded once."""
    x_T = np.float32(slope) * (np.asarray(entropy_T, np.float32) - np.float32(threshold_nats))
    with np.errstate(over="ignore"):
        sigmoid_T = (1.0 / (1.0 + np.exp(-x_T.astype(np.float64)))).astype(np.float32)
    return np.float32(base) + np.float32(span) * sigmoid_T


def legacy_weights(alpha):
    """(weight of the network, weight of the estimate): 1 - a is taken in a's own precision, as published."""
    ngram = np.asarray(alpha)
    return (ngram.dtype.type(1) - ngram).astype(np.float64), ngram.astype(np.float64)


def legacy_loss(loss_T, alpha, estimate_T, matched_T):
    """-ln clip((1 - a)·p + a·r, 1e-12, 1) where matched, else of p alone."""
    network, ngram = legacy_weights(alpha)
    p_T = np.exp(-loss_T.astype(np.float64))
    mixed_T = np.where(matched_T, network * p_T + ngram * estimate_T, p_T)
    return -np.log(np.clip(mixed_T, FLOOR, 1.0))


def normalized_loss(loss_T, alpha, estimate_T, matched_T):
    """-ln((1 - a)·p + a·r) where matched, else the network's own; a kept below 1."""
    ngram = np.minimum(np.asarray(alpha).astype(np.float64), 1.0 - LEAST_KEPT)
    p_T = np.exp(-loss_T.astype(np.float64))
    return np.where(matched_T, -np.log((1.0 - ngram) * p_T + ngram * estimate_T), loss_T.astype(np.float64))


def legacy_mass(alpha, mass_T, matched_T):
    """Total over the vocabulary: (1 - a) + a·(sum of r) where matched, else 1."""
    network, ngram = legacy_weights(alpha)
    return np.where(matched_T, network + ngram * mass_T, 1.0)


def dirichlet_probability(p_T, context_OT, full_OT, concentration):
    """p_n of the targets, by the orders given; [T]. p_T: the network's; full counts are cut at context's."""
    for context_T, full_T in zip(context_OT, full_OT, strict=True):
        seen_T = np.minimum(full_T, context_T) + concentration * p_T
        p_T = np.where(context_T > 0, seen_T / (context_T + concentration), p_T)
    return p_T


def dirichlet_loss(loss_T, context_OT, full_OT, concentration, *, legacy):
    """Loss in nats; legacy: with the published floor under p'."""
    mixed_T = dirichlet_probability(np.exp(-loss_T.astype(np.float64)), context_OT, full_OT, concentration)
    return -np.log(np.clip(mixed_T, FLOOR, 1.0) if legacy else mixed_T)


def dirichlet_mass(context_OT, mass_OT, concentration):
    """Total that p_n hands out over the vocabulary, [T]; mass_OT: sums of min(full, context)/context over it."""
    total_T = np.ones(context_OT.shape[1])
    for context_T, mass_T in zip(context_OT, mass_OT, strict=True):
        given_T = context_T * mass_T + concentration * total_T
        total_T = np.where(context_T > 0, given_T / (context_T + concentration), total_T)
    return total_T


def confident_hit(context_OT, count_OT, *, min_count, confidence):
    """Row of the longest order whose hint may be used, -1 where none may; [T]."""
    sure_OT = (context_OT >= min_count) & (count_OT >= confidence * context_OT.astype(np.float64))
    return np.where(sure_OT.any(axis=0), len(sure_OT) - 1 - np.argmax(sure_OT[::-1], axis=0), -1)


def tilted_loss(loss_T, hint_logp_T, is_target_T, hinted_T, *, tilt_nats, gamma=0.0):
    """Loss in nats. hinted_T: there is a hint that may be used; hint_logp_T: ln p(h), whatever where there is none."""
    logp_T = np.minimum(hint_logp_T.astype(np.float64), 0.0)
    tilt_T = tilt_nats * (-np.expm1(logp_T)) ** gamma
    moved_T = np.log1p(np.exp(logp_T) * np.expm1(tilt_T)) - np.where(is_target_T, tilt_T, 0.0)
    return loss_T.astype(np.float64) + np.where(hinted_T, moved_T, 0.0)
