"""Bayes and fixed-share mixtures: members weighted by their past losses, so that none has to be chosen.

p(x_t) = Σ_k w_k·p_k(x_t), the weights from targets before x_t alone: w_k = 1/K at first. Each member is a distribution,
hence so is the mixture: NORMALIZED.

Every target (chunk of 1):
  Bayes         w_k <- w_k·p_k(x_t) / p(x_t). The product of all p(x_t) telescopes to Σ_k Π_t p_k(x_t) / K, so the total
                is ln K - ln Σ_k exp(-L_k) with L_k the members' totals, known without a step by step pass, and
                total <= min_k L_k + ln K.
  fixed share   then w_k <- (1 - s)·w_k + s/K. Seen as a prior over sequences of members it gives, against the best
                sequence with S changes in N targets,
                total <= L + ln K + S·ln(K/s) - (N - 1 - S)·ln(1 - s + s/K).

Chunks of C targets, for scorers that learn losses C at a time: inside a chunk the weights stay as they were, after it
they move by the mean loss, w_k <- w_k·exp(-Σ ℓ_k / C), normalized, then shared. By Hölder,
Σ_k w_k·Π_t p_k(x_t)^{1/C} <= Π_t (Σ_k w_k·p_k(x_t))^{1/C}: a chunk's loss is at most C times that of the mixture whose
loss per chunk is the mean, so the bounds hold C-fold: total <= min_k L_k + C·ln K, and the same for fixed share with
changes at the ends of chunks and N chunks. Moving by the sum instead (a rate of 1) has no such bound. (Mixing the
likelihoods of whole chunks keeps ln K, but it is Bayes per target in other words: its chain rule moves the weights
inside the chunk.)

Precision. Weights per target are plain doubles: fixed share keeps each above s/K. Weights per chunk are logarithms. A
target with a member whose probability is no double is scored from the members' losses, in logarithms: a floor under the
probability would call a loss of 1,000 nats one of 690, and a mixture better than all of its members.

Shapes: T targets, K members in P = K rounded up to LANES columns; what stands in the columns beyond K has weight 0.
Source: Vovk 1990; Herbster and Warmuth 1998.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import numba
import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

LANES = 16  # sums that grow side by side, so that the loop over members is vector code with one order of additions
DEPTH = 16  # factors per logarithm
LEAST_PRODUCT = 1e-290
LEAST_FACTOR = 1e-18  # 16 of them are 1e-288, still a normal double


def padded(members: int) -> int:
    """Columns of a matrix of that many members' probabilities."""
    return -(-members // LANES) * LANES


def bayes_loss(loss_nats_K: Float64Array) -> float:
    """Total loss in nats of the Bayes mixture per target, from the members' totals."""
    least = float(loss_nats_K.min())
    return least + math.log(len(loss_nats_K)) - math.log(float(np.exp(least - loss_nats_K).sum()))


def bayes_shares(loss_nats_K: Float64Array) -> Float64Array:
    """The weights of the Bayes mixture after all targets, [K]."""
    share_K: Float64Array = np.exp(loss_nats_K.min() - loss_nats_K)
    share_K /= share_K.sum()
    return share_K


class Sharing:
    """One mixture on its way over the targets; hand it the members' probabilities in order."""

    def __init__(self, members: int, *, share_rate: float, chunk_targets: int) -> None:
        self._members, self._share_rate, self._chunk_targets = members, share_rate, chunk_targets
        own = np.arange(padded(members)) < members
        self._weight_P = np.where(own, 1.0 / members, 0.0)
        self._even_P = np.where(own, share_rate / members, 0.0)
        self._log_weight_P = np.where(own, -math.log(members), -math.inf)
        self._sum_P = np.zeros(padded(members))  # of the losses of the chunk so far
        self._filled = 0
        self.loss_nats = 0.0

    def add(self, probability_TP: Float64Array, hard: Mapping[int, Float64Array] = MappingProxyType({})) -> None:
        """Score the next targets. probability_TP: each member's probability of each, [T, P], at least 1e-300.

        hard: place of a target where one of them is less -> the members' losses there, [K]; places ascend.
        """
        assert probability_TP.shape[1] == len(self._weight_P)
        done = 0
        for place, loss_K in hard.items():
            self._add(probability_TP[done:place])
            self._add_hard(loss_K)
            done = place + 1
        self._add(probability_TP[done:])

    def _add(self, probability_TP: Float64Array) -> None:
        if self._chunk_targets == 1:
            self.loss_nats += _share_per_target(probability_TP, self._weight_P, self._even_P, 1.0 - self._share_rate)
            return
        done = 0
        while done < len(probability_TP):
            part_TP = probability_TP[done : done + self._chunk_targets - self._filled]
            self.loss_nats += _held(part_TP, self._weight_P, self._sum_P)
            self._filled += len(part_TP)
            done += len(part_TP)
            if self._filled == self._chunk_targets:
                self._move()

    def _add_hard(self, loss_K: Float64Array) -> None:
        """Score one target from its members' losses."""
        own = slice(0, self._members)
        # What all members lose comes off first: beside a loss of 1e17, the weights would round away.
        least = float(loss_K.min())
        more_K = loss_K - least
        if self._chunk_targets == 1:
            with np.errstate(divide="ignore"):  # ln 0 is -inf, as it should be
                joint_K = np.log(self._weight_P[own]) - more_K
        else:
            joint_K = self._log_weight_P[own] - more_K
        top = float(joint_K.max())
        part_K = np.exp(joint_K - top)
        total = float(part_K.sum())
        self.loss_nats += least - (top + math.log(total))
        if self._chunk_targets == 1:
            self._weight_P[own] = (1.0 - self._share_rate) / total * part_K + self._even_P[own]
            return
        self._sum_P[own] += loss_K
        self._filled += 1
        if self._filled == self._chunk_targets:
            self._move()

    def _move(self) -> None:
        """Move the weights by the chunk's mean losses, then deal out the share."""
        own = slice(0, self._members)
        log_weight_K = self._log_weight_P[own] - self._sum_P[own] / self._chunk_targets
        log_weight_K -= log_weight_K.max()
        log_weight_K -= math.log(float(np.exp(log_weight_K).sum()))
        if self._share_rate:
            log_weight_K = np.log((1.0 - self._share_rate) * np.exp(log_weight_K) + self._even_P[own])
        self._log_weight_P[own] = log_weight_K
        self._weight_P[own] = np.exp(log_weight_K)
        self._sum_P[:] = 0.0
        self._filled = 0

    def shares(self) -> Float64Array:
        """The weights as they are now, [K]."""
        return self._weight_P[: self._members].copy()

    def state(self) -> dict[str, Float64Array]:
        """All that a mixture that goes on from here needs."""
        return {
            "weight": self._weight_P,
            "log_weight": self._log_weight_P,
            "sum": self._sum_P,
            "scalars": np.array([self._filled, self.loss_nats]),
        }

    def restore(self, state: dict[str, Float64Array]) -> None:
        """Go on from what `state` gave."""
        self._weight_P[:] = state["weight"]
        self._log_weight_P[:] = state["log_weight"]
        self._sum_P[:] = state["sum"]
        self._filled, self.loss_nats = int(state["scalars"][0]), float(state["scalars"][1])


@numba.njit(nogil=True, cache=True)
def _share_per_target(p_TP: Float64Array, weight_P: Float64Array, even_P: Float64Array, kept: float) -> float:
    """Loss in nats of the targets; moves weight_P."""
    loss = 0.0
    product = 1.0
    sum_L = np.empty(LANES)
    for t in range(len(p_TP)):
        sum_L[:] = 0.0
        for first in range(0, len(weight_P), LANES):
            for lane in range(LANES):
                weight_P[first + lane] *= p_TP[t, first + lane]
                sum_L[lane] += weight_P[first + lane]
        mixed = 0.0
        for lane in range(LANES):
            mixed += sum_L[lane]
        scale = kept / mixed
        for k in range(len(weight_P)):
            weight_P[k] = weight_P[k] * scale + even_P[k]
        if mixed < LEAST_FACTOR:
            loss -= math.log(mixed)
        else:
            product *= mixed
        if t % DEPTH == DEPTH - 1:
            loss -= math.log(product)
            product = 1.0
    return loss - math.log(product)


@numba.njit(nogil=True, cache=True)
def _held(p_TP: Float64Array, weight_P: Float64Array, sum_P: Float64Array) -> float:
    """Loss in nats of the targets under weights that stay; adds each member's losses to sum_P."""
    loss = 0.0
    sum_L = np.empty(LANES)
    product_P = np.empty(len(weight_P))
    for begin in range(0, len(p_TP), DEPTH):
        end = min(begin + DEPTH, len(p_TP))
        product_P[:] = 1.0
        for t in range(begin, end):
            sum_L[:] = 0.0
            for first in range(0, len(weight_P), LANES):
                for lane in range(LANES):
                    p = p_TP[t, first + lane]
                    sum_L[lane] += weight_P[first + lane] * p
                    product_P[first + lane] *= p
            mixed = 0.0
            for lane in range(LANES):
                mixed += sum_L[lane]
            loss -= math.log(mixed)
        for k in range(len(weight_P)):
            if product_P[k] > LEAST_PRODUCT:
                sum_P[k] -= math.log(product_P[k])
            else:
                for t in range(begin, end):
                    sum_P[k] -= math.log(p_TP[t, k])
    return loss
