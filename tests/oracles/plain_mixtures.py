"""Mixtures from their definition: whole distributions as lists over the vocabulary, one target after the other."""

import math
from collections import Counter


def dirichlet(q, history, context, orders, k):
    """Distribution after `context` (a list of all earlier tokens), with n-grams counted in `history` (token lists).

    q: the network's distribution. orders: ascending.
    """
    p = list(q)
    for n in orders:
        if len(context) < n - 1:
            continue
        last = tuple(context[len(context) - (n - 1) :])
        followers = Counter()
        for tokens in history:
            for j in range(n - 1, len(tokens)):
                if tuple(tokens[j - n + 1 : j]) == last:
                    followers[tokens[j]] += 1
        total = sum(followers.values())
        p = [(followers[a] + k * p[a]) / (total + k) for a in range(len(p))]
    return p


def tilt(q, hint, b):
    """p(a)·e^{b[a = hint]}, divided by its sum; hint None: q."""
    lifted = [p * math.exp(b) if a == hint else p for a, p in enumerate(q)]
    total = sum(lifted)
    return [p / total for p in lifted]


def hint_of(hints, min_count, confidence):
    """The hint to use, from [(order, hint, context count, hint count)]: of the longest order that is good enough."""
    for _, hint, context, count in sorted(hints, reverse=True):
        if context >= min_count and count / context >= confidence:
            return hint
    return None


def shared(members, share_rate, chunk):
    """Total loss in nats of a mixture of members, [target][member] probabilities, and its weights before each target.

    Weights move by the mean log-probability of every full chunk, then the share is dealt out.
    """
    size = len(members[0])
    weights = [1 / size] * size
    total, seen, logs = 0.0, [], [0.0] * size
    for t, row in enumerate(members, 1):
        seen.append(weights)
        total -= math.log(sum(w * p for w, p in zip(weights, row)))
        logs = [log + math.log(p) for log, p in zip(logs, row)]
        if t % chunk == 0:
            best = max(math.log(w) + log / chunk for w, log in zip(weights, logs) if w > 0)
            moved = [math.exp(math.log(w) + log / chunk - best) if w > 0 else 0.0 for w, log in zip(weights, logs)]
            weights = [(1 - share_rate) * w / sum(moved) + share_rate / size for w in moved]
            logs = [0.0] * size
    return total, seen
