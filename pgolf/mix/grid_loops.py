"""The compiled loops of the grid: which targets a rule serves, what every weight makes of them, and member by member.

Logarithms are taken of products of 16 factors. With at most 16 factors in [1e-12, 1] (legacy) a product is at least
1e-192, far from the smallest double, 2e-308, and its relative error at most 16 roundings, 2e-15: an error of 2e-15 nats
for 16 targets. Factors of a normalized mixture have no such floor. Every factor is at most 1, up to a rounding, so a
product only falls: one that ends above 1e-290 was never below it, and one that ends below is taken again, target by
target.

Shapes: T records of a unit, K of them matched by a rule, O orders, A weights, G a group of records, P columns of
members.
"""

import math

import numba
import numpy as np
import numpy.typing as npt

DEPTH = 16  # factors per logarithm; 1e-12 ** 16 is far from underflow
LANES = 32  # products that grow side by side, so that the loop over them is vector code
GROUP = DEPTH * LANES
LEAST_PRODUCT = 1e-290

Float64Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.uint32]
BoolArray = npt.NDArray[np.bool_]


@numba.njit(nogil=True, cache=True)
def match(
    columns: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    min_count: int,
    p_T: npt.NDArray[np.float64],
    kept_T: npt.NDArray[np.float64],
    index_K: npt.NDArray[np.int64],
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
) -> tuple[int, float]:
    """Gather the targets a rule matches: their place, p and estimate r; and sum the loss of all others.

    columns: context counts by order, then full counts by order, [2·O, T]. rows: orders to try, the first match serves.
    """
    orders = len(columns) // 2
    size = 0
    unmatched_nats = 0.0
    for i in range(len(p_T)):
        matched = False
        for row in rows:
            context = columns[row, i]
            if context >= min_count:
                index_K[size] = i
                p_K[size] = p_T[i]
                r_K[size] = np.float64(min(columns[orders + row, i], context)) / np.float64(context)
                size += 1
                matched = True
                break
        if not matched:
            unmatched_nats += kept_T[i]
    return size, unmatched_nats


@numba.njit(nogil=True, cache=True)
def constant_loss(
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
    network_A: npt.NDArray[np.float64],
    ngram_A: npt.NDArray[np.float64],
    floor: float,
) -> npt.NDArray[np.float64]:
    """Loss in nats of max(network·p + ngram·r, floor), summed over K, for each of A pairs of weights."""
    loss_A = np.zeros(len(ngram_A))
    product = np.empty(LANES)
    for first in range(0, len(p_K) - GROUP + 1, GROUP):
        for a in range(len(ngram_A)):
            network = network_A[a]
            ngram = ngram_A[a]
            for lane in range(LANES):
                product[lane] = 1.0
            for step in range(first, first + GROUP, LANES):
                for lane in range(LANES):
                    mixed = network * p_K[step + lane] + ngram * r_K[step + lane]
                    product[lane] *= mixed if mixed > floor else floor
            for lane in range(LANES):
                if product[lane] > LEAST_PRODUCT:
                    loss_A[a] -= math.log(product[lane])
                else:
                    for i in range(first + lane, first + GROUP, LANES):
                        loss_A[a] -= math.log(max(network * p_K[i] + ngram * r_K[i], floor))
    for a in range(len(ngram_A)):
        for i in range(len(p_K) // GROUP * GROUP, len(p_K)):
            loss_A[a] -= math.log(max(network_A[a] * p_K[i] + ngram_A[a] * r_K[i], floor))
    return loss_A


@numba.njit(nogil=True, cache=True)
def adaptive_loss(
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
    sigmoid_K: npt.NDArray[np.float32],
    base_A: npt.NDArray[np.float32],
    span_A: npt.NDArray[np.float32],
    legacy: bool,
    floor: float,
    least_kept: float,
) -> npt.NDArray[np.float64]:
    """As constant_loss, with weight base + span·σ of each target, as `pgolf.mix.interpolation` takes it.

    floor and least_kept are arguments: numba keeps compiled code by this file's own time, with their old values in it.
    """
    loss_A = np.zeros(len(base_A))
    mixed_G = np.empty(GROUP)
    for first in range(0, len(p_K), GROUP):
        size = min(GROUP, len(p_K) - first)
        for a in range(len(base_A)):
            for k in range(size):
                alpha = base_A[a] + span_A[a] * sigmoid_K[first + k]
                if legacy:
                    ngram = np.float64(alpha)
                    network = np.float64(np.float32(1.0) - alpha)
                else:
                    ngram = np.float64(min(np.float64(alpha), 1.0 - least_kept))
                    network = np.float64(1.0 - ngram)
                mixed_G[k] = max(network * p_K[first + k] + ngram * r_K[first + k], floor)
            loss_A[a] += product_loss(mixed_G, size)
    return loss_A


@numba.njit(nogil=True, cache=True)
def product_loss(mixed_G: Float64Array, size: int) -> float:
    """-ln of the product of the first `size` factors, each in (0, 1]."""
    product = np.ones(LANES)
    whole = size // LANES * LANES
    for step in range(0, whole, LANES):
        for lane in range(LANES):
            product[lane] *= mixed_G[step + lane]
    for i in range(whole, size):
        product[i - whole] *= mixed_G[i]
    loss = 0.0
    for lane in range(LANES):
        if product[lane] > LEAST_PRODUCT:
            loss -= math.log(product[lane])
        else:
            for i in range(lane, size, LANES):
                loss -= math.log(mixed_G[i])
    return loss


@numba.njit(nogil=True, cache=True)
def dirichlet_losses(
    context_OT: Float64Array,
    full_OT: Float64Array,
    p_T: Float64Array,
    concentration_A: Float64Array,
    wanted_AO: BoolArray,
    floor: float,
) -> Float64Array:
    """Loss in nats of the Dirichlet recursion up to every wanted order, summed over T; [A, O].

    Every order passes on the way to the longer ones. full_OT is at most context_OT.
    """
    loss_AO = np.zeros(wanted_AO.shape)
    mixed_G = np.empty(GROUP)
    factor_G = np.empty(GROUP)
    for first in range(0, len(p_T), GROUP):
        size = min(GROUP, len(p_T) - first)
        for a in range(len(concentration_A)):
            k = concentration_A[a]
            for i in range(size):
                mixed_G[i] = p_T[first + i]
            for order in range(len(context_OT)):
                for i in range(size):
                    c = context_OT[order, first + i]
                    mixed = (full_OT[order, first + i] + k * mixed_G[i]) / (c + k)
                    mixed_G[i] = mixed if c > 0.0 else mixed_G[i]
                if wanted_AO[a, order]:
                    for i in range(size):
                        factor_G[i] = mixed_G[i] if mixed_G[i] > floor else floor
                    loss_AO[a, order] += product_loss(factor_G, size)
    return loss_AO


@numba.njit(nogil=True, cache=True)
def match_hints(
    context_OT: CountArray,
    count_OT: CountArray,
    is_target_OT: BoolArray,
    logp_OT: Float32Array,
    row: int,
    min_count: int,
    confidence: float,
    index_K: Int64Array,
    logp_K: Float64Array,
    hit_K: BoolArray,
) -> int:
    """Gather the targets that have a hint: their place, ln p(hint), and whether it is right; the longest order first,
    from `row` down.
    """
    size = 0
    for i in range(context_OT.shape[1]):
        for order in range(row, -1, -1):
            context = context_OT[order, i]
            if context >= min_count and np.float64(count_OT[order, i]) >= confidence * np.float64(context):
                index_K[size] = i
                logp_K[size] = min(np.float64(logp_OT[order, i]), 0.0)
                hit_K[size] = is_target_OT[order, i]
                size += 1
                break
    return size


@numba.njit(nogil=True, cache=True)
def tilt_losses(
    q_K: Float64Array, hit_K: BoolArray, fade_K: Float64Array, constant: bool, tilt_A: Float64Array
) -> Float64Array:
    """What tilts by tilt·fade add to the loss in nats, summed over K; constant: fade is 1 everywhere; [A].

    A factor is at most e^20, and 16 of them 1e139.
    """
    loss_A = np.zeros(len(tilt_A))
    product = np.empty(LANES)
    for a in range(len(tilt_A)):
        tilt = tilt_A[a]
        gain = math.expm1(tilt)
        right = 0.0
        for i in range(len(q_K)):
            if hit_K[i]:
                right += fade_K[i]
        loss_A[a] = -tilt * right
        for first in range(0, len(q_K) - GROUP + 1, GROUP):
            for lane in range(LANES):
                product[lane] = 1.0
            for step in range(first, first + GROUP, LANES):
                for lane in range(LANES):
                    if not constant:
                        gain = math.expm1(tilt * fade_K[step + lane])
                    product[lane] *= 1.0 + q_K[step + lane] * gain
            for lane in range(LANES):
                loss_A[a] += math.log(product[lane])
        for i in range(len(q_K) // GROUP * GROUP, len(q_K)):
            if not constant:
                gain = math.expm1(tilt * fade_K[i])
            loss_A[a] += math.log1p(q_K[i] * gain)
    return loss_A


@numba.njit(nogil=True, cache=True)
def fill_constant(
    out_TP: Float64Array,
    column_A: Int64Array,
    index_K: Int64Array,
    p_K: Float64Array,
    r_K: Float64Array,
    network_A: Float64Array,
    ngram_A: Float64Array,
) -> None:
    """Probabilities of members with a constant weight, where their rule has matched."""
    for i in range(len(index_K)):
        for a in range(len(column_A)):
            out_TP[index_K[i], column_A[a]] = network_A[a] * p_K[i] + ngram_A[a] * r_K[i]


@numba.njit(nogil=True, cache=True)
def fill_adaptive(
    out_TP: Float64Array,
    column_A: Int64Array,
    index_K: Int64Array,
    p_K: Float64Array,
    r_K: Float64Array,
    sigmoid_K: Float32Array,
    base_A: Float32Array,
    span_A: Float32Array,
    least_kept: float,
) -> None:
    """Probabilities of normalized members whose weight follows the entropy, where their rule has matched."""
    for i in range(len(index_K)):
        for a in range(len(column_A)):
            ngram = min(np.float64(base_A[a] + span_A[a] * sigmoid_K[i]), 1.0 - least_kept)
            out_TP[index_K[i], column_A[a]] = (1.0 - ngram) * p_K[i] + ngram * r_K[i]


@numba.njit(nogil=True, cache=True)
def fill_dirichlet(
    out_TP: Float64Array,
    context_OT: Float64Array,
    full_OT: Float64Array,
    p_T: Float64Array,
    concentration_A: Float64Array,
    column_AO: Int64Array,
) -> None:
    """Probabilities of Dirichlet members, every order of a concentration on the way; column -1: not a member."""
    for i in range(len(p_T)):
        for a in range(len(concentration_A)):
            k = concentration_A[a]
            mixed = p_T[i]
            for order in range(len(context_OT)):
                c = context_OT[order, i]
                if c > 0.0:
                    mixed = (full_OT[order, i] + k * mixed) / (c + k)
                if column_AO[a, order] >= 0:
                    out_TP[i, column_AO[a, order]] = mixed


@numba.njit(nogil=True, cache=True)
def fill_tilt(
    out_TP: Float64Array,
    column_A: Int64Array,
    index_K: Int64Array,
    p_T: Float64Array,
    q_K: Float64Array,
    hit_K: BoolArray,
    fade_K: Float64Array,
    tilt_A: Float64Array,
) -> None:
    """Probabilities of tilts, where they have a hint."""
    for i in range(len(index_K)):
        for a in range(len(column_A)):
            tilt = tilt_A[a] * fade_K[i]
            lifted = p_T[index_K[i]] * (math.exp(tilt) if hit_K[i] else 1.0)
            out_TP[index_K[i], column_A[a]] = lifted / (1.0 + q_K[i] * math.expm1(tilt))
