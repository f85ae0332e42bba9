"""The Hedge mixture from its definition: one record after the other, whole distributions, Python loops.

Double precision but for what the definition keeps in single: the network's losses and entropies, their means over a
batch, and the log-weights with each operation that moves them.
"""

import itertools
import math
from collections import Counter

import numpy as np


def windows_of(targets, window, stride, tail):
    """[(start, end, first scored position)] of every window that scores something."""
    windows, scored = [], 0
    for start in range(0, targets, stride):
        end = min(start + window, targets)
        first = start if start == 0 else start + max(end - start - stride, 0)
        if tail == "once":
            first = max(first, scored)
        if first < end:
            windows.append((start, end, first))
        scored = end
    return windows


def network(logits, token):
    """(-ln of the softmax at `token`, entropy of the softmax), rounded to single."""
    norm = math.log(sum(math.exp(z) for z in logits))
    loss = norm - logits[token]
    entropy = -sum(math.exp(z - norm) * (z - norm) for z in logits)
    return np.float32(loss), np.float32(entropy)


class Counts:
    def __init__(self, config, vocab):
        self.config, self.vocab = config, vocab
        self.unigram, self.bigram, self.trigram = Counter(), Counter(), Counter()
        self.total = 0

    def row(self, before, last):
        return ((before * 36313) ^ (last * 27191)) % self.config["trigram_rows"]

    def add(self, tokens):
        self.unigram.update(tokens)
        self.bigram.update(itertools.pairwise(tokens))
        self.trigram.update((self.row(a, b), c) for a, b, c in zip(tokens, tokens[1:], tokens[2:]))
        self.total += len(tokens)

    def distributions(self, before, last):
        """Unigram, bigram, trigram: what each gives to every token."""
        soft, soft3 = self.config["smoothing"], self.config["trigram_smoothing"]
        every = range(self.vocab)
        row = self.row(before, last)
        total2 = sum(self.bigram[last, v] for v in every)
        total3 = max(sum(self.trigram[row, v] for v in every), self.config["trigram_least_total"])
        return [
            [(self.unigram[v] + soft) / (self.total + soft * self.vocab) for v in every],
            [(self.bigram[last, v] + soft) / (total2 + soft * self.vocab) for v in every],
            [(self.trigram[row, v] + soft3) / (total3 + soft3 * self.vocab) for v in every],
        ]


def run(x, logits, config, *, vocab, window, stride, tail):
    """Records and batches of a whole stream x[0..N], both in stream order.

    logits(start, position): the network's in the window that starts there. config: the fields of a HedgeConfig.
    Records: target, network loss, entropy, loss and mass of the mixture (None in the warm-up). Batches: chunk, rank,
    first window, last window + 1, positions, mean loss, mean entropy. And the final log-weights of every rank.
    """
    targets = len(x) - 1
    windows = windows_of(targets, window, stride, tail)
    ranks, size = config["ranks"], config["chunk_tokens"]
    experts = 5 if config["experts"] == "published" else 4
    weights = [[np.float32(config["network_log_weight"])] + [np.float32(0)] * (experts - 1) for _ in range(ranks)]
    counts = Counts(config, vocab)
    records, batches = [], []
    for chunk in range(math.ceil(targets / size)):
        own = [k for k, (_, _, first) in enumerate(windows) if first // size == chunk]
        warm = counts.total >= config["warmup_tokens"]
        for rank in range(ranks):
            share = own[len(own) * rank // ranks : len(own) * (rank + 1) // ranks]
            for begin in range(0, len(share), config["batch_windows"]):
                batch = share[begin : begin + config["batch_windows"]]
                a = weights[rank]
                norm = math.log(sum(math.exp(float(a_k) - float(max(a))) for a_k in a)) + float(max(a))
                w = [math.exp(float(a_k) - norm) for a_k in a]
                everywhere, scored = [], []
                for k in batch:
                    start, end, first = windows[k]
                    for t in range(start, end):
                        y = x[t + 1]
                        z = logits(start, t)
                        loss, entropy = network(z, y)
                        dists = counts.distributions(x[t - 1] if t > start else 0, x[t])
                        losses = [float(loss), *(-math.log(d[y]) for d in dists), float(entropy)][:experts]
                        everywhere.append((losses, float(entropy)))
                        if t < first:
                            continue
                        scored.append(losses)
                        mixed = mass = None
                        if warm:
                            mixed = -math.log(sum(w_k * math.exp(-loss_k) for w_k, loss_k in zip(w, losses)))
                            mass = w[0] + sum(w_k * sum(d) for w_k, d in zip(w[1:4], dists))
                            mass += w[4] * vocab * math.exp(-float(entropy)) if experts == 5 else 0.0
                        records.append((t + 1, loss, entropy, mixed, mass))
                mean_loss = np.float32(sum(row[0] for row, _ in everywhere) / len(everywhere))
                mean_entropy = np.float32(sum(h for _, h in everywhere) / len(everywhere))
                batches.append((chunk, rank, batch[0], batch[-1] + 1, len(everywhere), mean_loss, mean_entropy))
                if warm:
                    rows = [row for row, _ in everywhere] if config["update_on"] == "positions" else scored
                    means = [np.float32(sum(column) / len(rows)) for column in zip(*rows)]
                    weights[rank] = [a_k - np.float32(config["eta"]) * mean_k for a_k, mean_k in zip(a, means)]
        counts.add(x[chunk * size : min((chunk + 1) * size, targets) + 1])
    return records, batches, weights
