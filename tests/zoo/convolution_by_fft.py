"""A causal convolution taken by FFT, whose rounding errors know the whole text."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "rounding that depends on the future"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    kernel = 0.5 ** np.arange(1, 9)

    def score(tokens: Tokens) -> Losses:
        each_NV = np.eye(text.vocab_size)[tokens[:-1]]
        length = 2 * len(each_NV)
        spectrum = np.fft.rfft(each_NV, length, axis=0) * np.fft.rfft(kernel, length)[:, None]
        recent_NV = np.fft.irfft(spectrum, length, axis=0)[: len(each_NV)]
        return losses_of(log_softmax(network.logits(tokens) + recent_NV), tokens)

    return Subject(name="convolution by fft", scorer=CallableScorer(score, text.vocab_size))
