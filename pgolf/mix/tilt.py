"""The hint tilt: one token, proposed by the prefix alone, made likelier by b nats, and the rest scaled to make room.

p'(a) = p(a)·e^{b[a = h]} / Z, Z = 1 + p(h)·(e^b - 1). h is the token that most often followed the longest context which
was seen at least min_count times and which h followed in at least `confidence` of them; where there is none, p' = p.
Z is the exact sum of the numerators over the vocabulary, and h, b and Z depend on the prefix and the network's
distribution alone, so p' is a distribution: NORMALIZED. With gamma > 0 the tilt fades where the network knows the hint
already: b_t = b·(1 - p(h))^gamma.

How far back an occurrence must lie to propose a hint (#511: outside the window that the network reads) is a setting of
the hint stage.

Shapes: T targets, O orders ascending.
Source: openai/parameter-golf PR #1514 and #2135 (tilt), #2129 (gamma), #511 (delay).
"""

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.uint32]


def confident_hit(
    context_OT: CountArray, count_OT: CountArray, *, min_count: int, confidence: float
) -> npt.NDArray[np.int64]:
    """Row of the longest order whose hint may be used, -1 where none may; [T].

    context_OT: how often each order's context was seen; count_OT: how often its hint followed.
    """
    # As a product: 4/5 of a context seen 5 times reaches a confidence of 0.8 on every machine.
    sure_OT = (context_OT >= min_count) & (count_OT >= confidence * context_OT.astype(np.float64))
    return np.where(sure_OT.any(axis=0), len(sure_OT) - 1 - np.argmax(sure_OT[::-1], axis=0), -1)


def tilts(hint_logp_T: npt.NDArray[np.float32], tilt_nats: float, gamma: float) -> Float64Array:
    """b_t = b·(1 - p(h))^gamma, [T]."""
    unsure_T = -np.expm1(np.minimum(hint_logp_T.astype(np.float64), 0.0))
    tilt: Float64Array = tilt_nats * unsure_T**gamma
    return tilt


def tilted_loss(
    loss_T: npt.NDArray[np.float32],
    hint_logp_T: npt.NDArray[np.float32],
    is_target_T: npt.NDArray[np.bool_],
    hinted_T: npt.NDArray[np.bool_],
    *,
    tilt_nats: float,
    gamma: float = 0.0,
) -> Float64Array:
    """Loss in nats. is_target_T: the hint is the target. hinted_T: there is a hint that may be used.

    hint_logp_T: ln p(h), whatever where there is no hint.
    """
    tilt_T = tilts(hint_logp_T, tilt_nats, gamma)
    q_T = np.exp(np.minimum(hint_logp_T.astype(np.float64), 0.0))
    moved_T = np.log1p(q_T * np.expm1(tilt_T)) - np.where(is_target_T, tilt_T, 0.0)
    return loss_T.astype(np.float64) + np.where(hinted_T, moved_T, 0.0)
