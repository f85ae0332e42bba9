"""Mixtures from their definition: whole distributions as lists over the vocabulary, one target after the other."""

import math
from collections import Counter
from decimal import Context, Decimal, localcontext
from fractions import Fraction


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


def parts_of_interpolation(alpha, context, full):
    """(weight of p, what is added to it) of one matched target, as fractions; alpha is kept below 1."""
    ngram = min(Fraction(alpha), Fraction(1.0 - 1e-12))
    return 1 - ngram, ngram * Fraction(full, context)


def parts_of_dirichlet(k, counts):
    """The same of a recursion over [(context, full)], ascending."""
    weight, added = Fraction(1), Fraction(0)
    for context, full in counts:
        if context > 0:
            weight, added = (Fraction(k) * part / (context + Fraction(k)) for part in (weight, added))
            added += Fraction(full) / (context + Fraction(k))
    return weight, added


def parts_of_tilt(b, p_hint, is_target):
    """The same of a tilt."""
    lifted = Fraction(math.exp(b))
    return (lifted if is_target else 1) / (1 + Fraction(p_hint) * (lifted - 1)), Fraction(0)


def affine_loss(loss, weight, added):
    """-ln(weight·e^-loss + added) of fractions and any finite loss, to 50 digits."""
    with localcontext(Context(prec=50)):

        def ln(fraction):
            return (Decimal(fraction.numerator) / Decimal(fraction.denominator)).ln()

        if not added:
            return float(Decimal(loss) - ln(weight))
        # Beyond e^-100,000 the network's part is less than any digit kept of a sum of counts.
        network = ln(weight).exp() * (-Decimal(loss)).exp() if loss < 100_000 else Decimal(0)
        return float(-(network + ln(added).exp()).ln())


def shared_log(losses, share_rate, chunk):
    """As `shared`, from losses [target][member] of any size, in 50 digits: the total."""
    with localcontext(Context(prec=50)):
        size = len(losses[0])
        even = Decimal(share_rate) / size
        logs, sums, total = [-Decimal(size).ln()] * size, [Decimal(0)] * size, Decimal(0)

        def log_sum(values):
            top = max(values)
            return top + sum(((v - top).exp() for v in values if v - top > -(10**6)), Decimal(0)).ln()

        for t, row in enumerate(losses, 1):
            row = [Decimal(loss) for loss in row]
            total -= log_sum([log - loss for log, loss in zip(logs, row)])
            sums = [before + loss for before, loss in zip(sums, row)]
            if t % chunk == 0:
                logs = [log - loss / chunk for log, loss in zip(logs, sums)]
                norm = log_sum(logs)
                logs = [log - norm for log in logs]
                if share_rate:
                    kept = (1 - Decimal(share_rate)).ln()
                    logs = [log_sum([kept + log, even.ln()]) for log in logs]
                sums = [Decimal(0)] * size
        return float(total)
