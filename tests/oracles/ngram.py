"""N-gram counts from their definition: dictionaries, Python integers, one record after the other."""

import itertools
from collections import Counter

PRIMES = {
    "pr715": [36313, 27191, 51647, 81929, 131071],
    "pr761": [36313, 27191, 51647, 81929, 131071, 175447, 209591],
    "pr792": [36313, 27191, 51647, 81929, 131071],
}


def scored_segments(targets, window, stride, ranks, tail):
    """Per rank, the list of its segments, each a list of target indices, in evaluation order."""
    windows = []
    for start in range(0, targets, stride):
        end = min(start + window, targets)
        first = start if start == 0 else start + max(end - start - stride, 0)
        windows.append(list(range(first + 1, end + 1)))
    if tail == "once":
        seen = set()
        for number, scored in enumerate(windows):
            windows[number] = [j for j in scored if j not in seen]
            seen.update(scored)
    share = [len(windows) * r // ranks for r in range(ranks + 1)]
    return [[w for w in windows[a:b] if w] for a, b in itertools.pairwise(share)]


def regroup(segments, granularity):
    """One rank's segments, or its targets in groups of `granularity`."""
    if granularity == "segment":
        return segments
    flat = [j for segment in segments for j in segment]
    return [flat[k : k + granularity] for k in range(0, len(flat), granularity)]


def hashed_keys(x, j, order, buckets, primes):
    """(context bucket, full bucket) of target j, as in the published scripts."""
    width = order - 1
    p = PRIMES[primes]
    h = 0
    for k in range(width):
        h ^= int(x[j - width + k]) * p[k % len(p)]
    return h % buckets, (h ^ int(x[j]) * p[width % len(p)]) % buckets


def exact_keys(x, j, order):
    """(context, n-gram) of target j, as tuples of tokens."""
    context = tuple(int(token) for token in x[j - order + 1 : j])
    return context, (*context, int(x[j]))


def count(x, *, estimator, order, window, stride, tail, granularity, ranks, buckets, primes):
    """[(context count, full count)] of every record in evaluation order."""
    keys = (
        (lambda j: exact_keys(x, j, order))
        if estimator == "exact"
        else (lambda j: hashed_keys(x, j, order, buckets, primes))
    )
    rows = []
    for segments in scored_segments(len(x) - 1, window, stride, ranks, tail):
        contexts, fulls = Counter(), Counter()
        for segment in regroup(segments, granularity):
            countable = [j for j in segment if j >= order - 1]
            rows += [(contexts[keys(j)[0]], fulls[keys(j)[1]]) if j >= order - 1 else (0, 0) for j in segment]
            contexts.update(keys(j)[0] for j in countable)
            fulls.update(keys(j)[1] for j in countable)
    return rows


def masses(x, *, estimator, order, window, stride, tail, granularity, ranks, buckets, primes, vocab_size):
    """Per record, sum over all tokens v of min(full count of v, context count) / max(context count, 1)."""
    rows = []
    for segments in scored_segments(len(x) - 1, window, stride, ranks, tail):
        contexts, fulls = Counter(), Counter()

        def keys(tokens, j):
            return (
                exact_keys(tokens, j, order) if estimator == "exact" else hashed_keys(tokens, j, order, buckets, primes)
            )

        for segment in regroup(segments, granularity):
            for j in segment:
                if j < order - 1:
                    rows.append(0.0)
                    continue
                count = contexts[keys(x, j)[0]]
                total = 0
                for v in range(vocab_size):
                    altered = [*x[j - order + 1 : j], v]
                    total += min(fulls[keys(altered, order - 1)[1]], count)
                rows.append(total / max(count, 1))
            for j in segment:
                if j >= order - 1:
                    context, full = keys(x, j)
                    contexts[context] += 1
                    fulls[full] += 1
    return rows
