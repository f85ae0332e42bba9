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


def seen(x, *, order, window, stride, tail, granularity, ranks, scope, delay_targets, bos):
    """Per record in evaluation order, the Counter of the tokens that came after its context, as far as it may know.

    Record i may know of record k if k's segment is over and k lies at least `delay_targets` records back. With
    scope="document" both the context and what came after it lie within one document, which starts at its BOS; and a
    document is known by its tokens before the target alone.
    """
    document = [sum(token == bos for token in x[: j + 1]) if scope == "document" else 0 for j in range(len(x))]
    rows = []
    for segments in scored_segments(len(x) - 1, window, stride, ranks, tail):
        groups = regroup(segments, granularity)
        group_of = [number for number, group in enumerate(groups) for _ in group]
        targets = [j for group in groups for j in group]
        for i, j in enumerate(targets):
            after, reached = Counter(), {}
            context = tuple(x[j - order + 1 : j])
            if j >= order - 1 and document[j - order + 1] == document[j - 1]:
                known = (k for k in range(i) if group_of[k] < group_of[i] and k + delay_targets <= i)
                for k in known:
                    t = targets[k]
                    same_document = document[max(t - order + 1, 0)] == document[t] == document[j - 1]
                    if t >= order - 1 and same_document and tuple(x[t - order + 1 : t]) == context:
                        after[x[t]] += 1
                        reached[x[t], after[x[t]]] = k
            best = max(after.values(), default=0)
            hint = min((reached[token, best], token) for token in after if after[token] == best)[1] if after else -1
            rows.append((after, hint))
    return rows


def count(x, *, estimator, order, window, stride, tail, granularity, ranks, buckets, primes, **_):
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


def masses(x, *, estimator, order, window, stride, tail, granularity, ranks, buckets, primes, vocab_size, **_):
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
