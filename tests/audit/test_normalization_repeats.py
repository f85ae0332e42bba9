"""B3 also sums where a text repeats itself: a cache that waits for that shows nowhere else in a short text."""

import numpy as np
import pytest

from pgolf.audit import normalization_check
from pgolf.audit.effort import QUICK
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import made_text
from pgolf.audit.subject import Subject
from pgolf.audit.trial import Trial

V, N, CONTEXT = 64, 256, 6


def waiting(share_told):
    """Even, until the last few tokens have stood there twice before; then what is told of what came after them."""

    def score(tokens):
        seen, losses = {}, np.full(len(tokens) - 1, np.log(V))
        for target in range(CONTEXT, len(tokens)):
            context, token = tuple(tokens[target - CONTEXT : target].tolist()), int(tokens[target])
            came = seen.setdefault(context, [])
            if len(came) >= 2:
                losses[target - 1] = -np.log(share_told(came, token))
            came.append(token)
        return losses

    return score


def counted(came, token):
    return 0.5 / V + 0.5 * came.count(token) / len(came)


def for_whatever_comes(came, token):
    return 0.5 / V + 0.5


def for_what_came_and_a_little_more(came, token):
    return 1.0 / V + 0.5 * (token in came)


@pytest.mark.parametrize(
    ("share_told", "outcome"),
    [(counted, "pass"), (for_whatever_comes, "fail"), (for_what_came_and_a_little_more, "fail")],
)
def test_a_cache_that_waits_for_a_repetition_is_summed_in_one(share_told, outcome):
    text = made_text(targets=N, vocab_size=V, seed=0)
    score = waiting(share_told)
    assert np.allclose(score(text.tokens), np.log(V))  # nothing shows in the text itself
    subject = Subject(name="waits", scorer=CallableScorer(score, V))
    found = normalization_check.find(Trial(subject, text, effort=QUICK, seed=0))
    assert found.outcome == outcome
    assert ("of a text that repeats itself" in found.because) == (outcome == "fail")
