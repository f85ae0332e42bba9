"""Hedge: the network and n-gram experts, each weighted by its past losses, over a trace and the tokens alone.

nll = -ln Σ_k w_k·exp(-ℓ_k), w = softmax(a); after a batch of windows a_k ← a_k - η·(mean ℓ_k). A chunk of the stream is
scored with the counts of the chunks before it, then counted; counts are common to all ranks, the log-weights a are each
rank's own, start anew nowhere and are never normalised.

PUBLISHED experts repeat #745, whose fifth "loss" is the network's entropy H: as a share of the mixture exp(-H) goes to
every token alike, V·exp(-H) in total. PROPER experts leave it out; every other expert is a distribution, except that a
trigram row that counts as one token while it is empty has mass s·V / (1 + s·V), s the trigram's smoothing.

Precision. Log-weights, the mean losses that move them and η are float32 as published, each operation rounded; the means
themselves are summed in double. The published means are float32 sums of float32 losses and differ in their last bits,
and a is coarse where it has drifted to -700 (spacing 6e-5): after 3,784 updates, log-weights differ by 3e-4 where these
errors are unbiased, by 4e-3 where all of them are 1e-5 in one direction. No target's loss differs by more than its
log-weights do. Scores are taken in double from float32 log-weights, losses and entropies; float32 adds 1e-6 nats.

Shapes: K experts, T records, V vocabulary.
Source: openai/parameter-golf PR #745; Freund and Schapire 1997.
"""

import numpy as np
import numpy.typing as npt

from pgolf.mix.hedge_config import HedgeConfig

NETWORK_AND_NGRAMS = ("network", "unigram", "bigram", "trigram")
EXPERTS = {"proper": NETWORK_AND_NGRAMS, "published": (*NETWORK_AND_NGRAMS, "entropy")}

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def initial_log_weights(config: HedgeConfig) -> Float32Array:
    """Log-weights before anything is scored, [K]: the network's, and 0 for every other expert."""
    log_weight_K = np.zeros(len(EXPERTS[config.experts]), np.float32)
    log_weight_K[0] = config.network_log_weight
    return log_weight_K


def log_shares(log_weight_K: Float32Array) -> Float64Array:
    """ln softmax of the log-weights, float64 [K]."""
    shifted_K = log_weight_K.astype(np.float64) - float(log_weight_K.max())
    shares: Float64Array = shifted_K - np.log(np.exp(shifted_K).sum())
    return shares


def mixture_loss(log_share_K: Float64Array, loss_KT: Float64Array) -> Float64Array:
    """-ln Σ_k exp(log_share_k - loss_k), float64 [T] in nats."""
    log_term_KT = log_share_K[:, None] - loss_KT
    # The largest term comes out of the sum, which so is at least 1: nothing underflows.
    top_T = log_term_KT.max(axis=0)
    loss: Float64Array = -(top_T + np.log(np.exp(log_term_KT - top_T).sum(axis=0)))
    return loss


def mixture_mass(
    log_share_K: Float64Array, empty_T: BoolArray, entropy_T: Float32Array, config: HedgeConfig, vocab_size: int
) -> Float64Array:
    """Total the mixture hands out over the vocabulary, 1 - w_3·(1 - z_3) + w_4·(V·exp(-H) - 1); [T].

    empty_T: the trigram's row had no counts, so that z_3 = s·V / (least_total + s·V).
    """
    mass_T = np.ones(len(empty_T))
    smoothed = config.trigram_smoothing * vocab_size
    mass_T[empty_T] -= np.exp(log_share_K[3]) * (1.0 - smoothed / (config.trigram_least_total + smoothed))
    if config.experts == "published":
        mass_T += np.exp(log_share_K[4]) * (vocab_size * np.exp(-entropy_T.astype(np.float64)) - 1.0)
    return mass_T


def moved_log_weights(log_weight_K: Float32Array, mean_loss_K: Float64Array, eta: float) -> Float32Array:
    """a - η·mean, float32 after every operation."""
    # A loss near the largest single takes a weight to 0: the mixture is one of the other experts from then on.
    with np.errstate(over="ignore"):
        return log_weight_K - np.float32(eta) * mean_loss_K.astype(np.float32)
