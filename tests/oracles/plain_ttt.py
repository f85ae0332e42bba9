"""Test-time training and the evaluation around it, step by step from the description of PRs #745 and #761.

`loss` and `score` are the network: loss(weights, inputs, targets) the mean cross-entropy of rows as a differentiable
scalar, score(weights, inputs) the log-probabilities [T, V] in float64 for one row. Everything else is written out here.
"""

import math

import torch


def windows_by_definition(N, window, stride):
    """(start, end, first scored offset) of every window, in order; the tail repeats the last targets."""
    found = []
    for w in range(0, N, stride):
        end = min(w + window, N)
        found.append((w, end, 0 if w == 0 else max(end - w - stride, 0)))
    return found


def scored_by_definition(score, weights, tokens, window, spans):
    """(target, loss, entropy) of the scored places of the given windows."""
    records = []
    for start, end, offset in spans:
        row = list(tokens[start:end]) + [0] * (window - (end - start))
        logp_TV = score(weights, row)
        for t in range(offset, end - start):
            target = start + t + 1
            q = logp_TV[t].exp()
            records.append((target, -float(logp_TV[t][tokens[target]]), -float((q * logp_TV[t]).sum())))
    return records


class Optimizer:
    """SGD with momentum or AdamW without decay; like the weights, its state is in each tensor's own format."""

    def __init__(self, kind, *, momentum=0.9, betas=(0.9, 0.999), eps=1e-8):
        self.kind, self.momentum, self.betas, self.eps = kind, momentum, betas, eps
        self.state, self.steps = {}, 0

    def step(self, weights, gradients, lr):
        self.steps += 1
        for name, g in gradients.items():
            if self.kind == "sgd":
                v = self.state.get(name)
                self.state[name] = v = g if v is None else self.momentum * v + g
                weights[name] = (weights[name].double() - lr * v.double()).to(g.dtype)
            else:
                beta1, beta2 = self.betas
                m, s = self.state.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
                m = (beta1 * m.double() + (1 - beta1) * g.double()).to(g.dtype)
                s = ((beta2 * s).double() + (1 - beta2) * g.double() ** 2).to(g.dtype)
                self.state[name] = m, s
                root = (s.sqrt() / math.sqrt(1 - beta2**self.steps)) + self.eps
                rate = lr / (1 - beta1**self.steps)
                weights[name] = (weights[name].double() - rate * m.double() / root.double()).to(g.dtype)


def learned_by_definition(
    loss, weights, learnable, tokens, first, rows, S, *, groups, epochs, optimizer, lr, clip_norm
):
    """Change `weights` by one chunk: rows of S inputs from position `first` on."""
    for _ in range(epochs):
        per_group = []
        for r in range(groups):
            mine = range(rows * r // groups, rows * (r + 1) // groups)
            if not mine:
                continue
            inputs = [list(tokens[first + i * S : first + i * S + S]) for i in mine]
            targets = [list(tokens[first + i * S + 1 : first + i * S + S + 1]) for i in mine]
            leaves = {name: weights[name].clone().requires_grad_() for name in learnable}
            value = loss({**weights, **leaves}, inputs, targets)
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
            per_group.append({name: g.double() for name, g in zip(leaves, found) if g is not None})
        gradients = {
            name: (sum(g[name] for g in per_group) / len(per_group)).to(weights[name].dtype) for name in per_group[0]
        }
        # One tensor's norm is a number of that tensor's format, as torch has it.
        norms = [g.double().square().sum().sqrt().to(g.dtype) for g in gradients.values()]
        norm = math.sqrt(sum(float(n) ** 2 for n in norms))
        if norm > clip_norm:
            gradients = {name: (g.double() * clip_norm / norm).to(g.dtype) for name, g in gradients.items()}
        optimizer.step(weights, gradients, lr)


def score_then_learn(
    loss, score, weights, learnable, tokens, *,
    window, stride, C, S, groups, epochs, optimizer, lr, clip_norm, constant=False,
):  # fmt: skip
    """#745: per chunk first its windows, then its rows; the last chunk is not learned; a cosine from lr to 0.

    constant: #761's rate instead, for its causal version.
    """
    N = len(tokens) - 1
    K = math.ceil(N / C)
    spans, records = windows_by_definition(N, window, stride), []
    for c in range(K):
        mine = [span for span in spans if (span[0] + span[2]) // C == c]
        records += scored_by_definition(score, weights, tokens, window, mine)
        if c < K - 1:
            lr_c = lr if constant else lr * 0.5 * (1 + math.cos(math.pi * c / (K - 1)))
            rows = (min((c + 1) * C, N) - c * C) // S
            learned_by_definition(
                loss, weights, learnable, tokens, c * C, rows, S,
                groups=groups, epochs=epochs, optimizer=optimizer, lr=lr_c, clip_norm=clip_norm,
            )  # fmt: skip
    return records


def learn_then_score(
    loss, score, weights, learnable, tokens, *, window, stride, C, S, groups, epochs, optimizer, lr, clip_norm
):
    """#761: every chunk is learned at a constant rate, then everything is scored."""
    N = len(tokens) - 1
    first = 0
    while first < N - S:
        rows = min(C, N - first) // S
        learned_by_definition(
            loss, weights, learnable, tokens, first, rows, S,
            groups=groups, epochs=epochs, optimizer=optimizer, lr=lr, clip_norm=clip_norm,
        )  # fmt: skip
        first += C
    return scored_by_definition(score, weights, tokens, window, windows_by_definition(N, window, stride))


def adapted_per_document(
    logits, weights, head, matrices, tokens, bos, *,
    window, S, rank, epochs, lr, betas, eps, weight_decay, seed, with_head,
):  # fmt: skip
    """#1610: (target, loss, entropy) of every document in turn, each with adapters and optimizer of its own.

    logits(weights, head, row) -> [T, V] for one row; matrices: names of the adapted weights in the order of the draws.
    The adapted matrices are written out: W + up @ down.
    """
    N = len(tokens) - 1
    starts = sorted({0} | {p for p in range(1, N) if tokens[p] == bos})
    records = []
    for start, stop in zip(starts, [*starts[1:], N], strict=True):
        random = torch.Generator().manual_seed(seed)
        adapters, moments, step = [], [], 0
        for W in [*(weights[name] for name in matrices), *([head] if with_head else [])]:
            bound = 1 / math.sqrt(W.shape[1])
            down = (2 * torch.rand(rank, W.shape[1], generator=random) - 1) * bound
            adapters += [down.requires_grad_(), torch.zeros(W.shape[0], rank).requires_grad_()]
        moments = [(torch.zeros_like(a), torch.zeros_like(a)) for a in adapters]

        def of_chunk(first, last, start=start, adapters=adapters):
            """Log-probabilities at positions first .. last - 1, read from the document alone and no further back."""
            changed = {name: weights[name] + adapters[2 * i + 1] @ adapters[2 * i] for i, name in enumerate(matrices)}
            H = head + adapters[-1] @ adapters[-2] if with_head else head
            begin = max(start, first + S - window)
            row = list(tokens[begin:last]) + [0] * (window - (last - begin))
            return torch.log_softmax(logits({**weights, **changed}, H, row), dim=-1)[first - begin : last - begin]

        for first in range(start, stop, S):
            last = min(first + S, stop)
            logp = of_chunk(first, last).detach().double()
            for p in range(first, last):
                q = logp[p - first].exp()
                entropy = -float((q * logp[p - first]).sum())
                records.append((p + 1, -float(logp[p - first][tokens[p + 1]]), entropy))
            if last == stop:
                break
            for _ in range(epochs):
                targets = torch.tensor([int(tokens[p + 1]) for p in range(first, last)])
                loss = -of_chunk(first, last).gather(1, targets[:, None]).mean()
                gradients = torch.autograd.grad(loss, adapters)
                step += 1
                with torch.no_grad():
                    for a, (m, v), g in zip(adapters, moments, gradients, strict=True):
                        m.mul_(betas[0]).add_((1 - betas[0]) * g)
                        v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
                        root = (v / (1 - betas[1] ** step)).sqrt() + eps
                        a.mul_(1 - lr * weight_decay).sub_(lr * m / (1 - betas[0] ** step) / root)
    return records
