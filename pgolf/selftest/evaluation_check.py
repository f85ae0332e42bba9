"""The evaluation of a published system at full size: seconds of a batch of windows times batches, with what is learned.

Left out: the n-gram tables, which are counted beside it on the CPU, and reading the model file.
"""

from collections.abc import Callable, Sequence
from functools import partial

from pgolf.eval.chunks import learned_rows
from pgolf.eval.forward import Stream, windows_at_a_time
from pgolf.eval.scoring import window_pieces
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import plan_windows
from pgolf.model.checkpoint import build_model
from pgolf.model.untie import untie
from pgolf.ranks.devices import seconds_when_done
from pgolf.ranks.group import Ranks
from pgolf.recipes.recipe import Recipe
from pgolf.selftest.check import Check, Numbers, Place, Verdict
from pgolf.selftest.exercised import exercised_network, random_tokens
from pgolf.selftest.published_runs import EVALUATION_LIMIT_S, GPUS, PUBLISHED, VAL_TARGETS

_BATCHES = 2
_CHUNKS = 3  # of which the last is not learned and the first is warm-up


def measure(place: Place, recipe_of: Callable[[], Recipe], published: str, *, toy: bool = False) -> Numbers:
    """Seconds of some windows on this rank and, where the system learns, of one chunk on all ranks together."""
    recipe = recipe_of()
    config, ttt = recipe.score, recipe.score.ttt
    network, state = recipe.model, dict(exercised_network(recipe.model).state_dict())
    if isinstance(ttt, TttConfig) and ttt.untie:
        network, state = untie(network, state)
    model = build_model(network, state, place.device).eval()
    if config.batch_means is not None:
        size = config.batch_means.windows
        fixed = config.model_copy(update={"ttt": None})
    else:
        size = windows_at_a_time(config, network, place.device.type)
        fixed = config
    windows = _BATCHES * size * (1 if config.batch_means is None else config.batch_means.ranks)
    targets = config.window + config.stride * windows
    tokens = random_tokens(network.vocab_size, targets + 1).numpy().astype("uint16")
    plan = plan_windows(targets, window=config.window, stride=config.stride)
    stream = Stream.on(place.device, tokens)

    def score() -> float:
        began_s = seconds_when_done(place.device)
        for _ in window_pieces(model, stream, plan, fixed, ranks=Ranks()):
            pass
        return seconds_when_done(place.device) - began_s

    score()
    score_s = score()
    learn_s, chunks = 0.0, 0
    if isinstance(ttt, TttConfig):
        long = random_tokens(network.vocab_size, _CHUNKS * ttt.chunk_tokens + 1).numpy().astype("uint16")
        learner = Learner(model, long, ttt, threads=1, ranks=place.ranks)
        learner.learn(0)
        began_s = seconds_when_done(place.device)
        learner.learn(1)
        learn_s = seconds_when_done(place.device) - began_s
        chunks = len(learned_rows(VAL_TARGETS, ttt))
    (score_s, learn_s) = place.ranks.largest(score_s, learn_s)
    return {
        "published": published,
        "toy": toy,
        "ranks": place.ranks.world_size,
        "batch_windows": size,
        "batches": -(-plan.windows // size),
        "windows": plan.windows,
        "score_s": score_s,
        "val_windows": -(-VAL_TARGETS // config.stride),
        "learn_chunk_s": learn_s,
        "val_chunks": chunks,
    }


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Whether all windows, and all chunks that are learned, fit into 600 s on the published eight GPUs."""
    of = by_rank[0]
    run = PUBLISHED[of["published"]]
    batch_s = of["score_s"] / of["batches"]
    score_s = of["score_s"] / of["windows"] * of["val_windows"] / GPUS
    learn_s = of["learn_chunk_s"] * of["val_chunks"] * of["ranks"] / GPUS
    learned = f" + {of['val_chunks']:,} chunks of {1e3 * of['learn_chunk_s']:.0f} ms" if of["val_chunks"] else ""
    size = "toy size: " if of["toy"] else ""
    return Verdict(
        None if of["toy"] else score_s + learn_s <= EVALUATION_LIMIT_S,
        f"{size}{1e3 * batch_s:.0f} ms per batch of {of['batch_windows']} windows; {of['val_windows']:,} windows"
        f"{learned} on {GPUS} GPUs: {score_s + learn_s:.0f} of {EVALUATION_LIMIT_S:.0f} s (published "
        f"{run.evaluation_s:.0f} s, with its n-gram tables)",
    )


def check_of(recipe_of: Callable[[], Recipe], published: str, *, toy: bool) -> Check:
    """The check of one system. toy: of its small twin, whose seconds are not judged."""
    return Check(
        name=f"evaluation {recipe_of().name}",
        proves="600 s of evaluation suffice for the validation set",
        measure=partial(measure, recipe_of=recipe_of, published=published, toy=toy),
        judge=judge,
        means="the evaluation takes longer than the rules allow, so its result would not count",
        remedy="look at the lines of attention and of the step: a slow kernel or a busy GPU slows both; else raise "
        "score.stride, which is another score",
        needs_gpu=not toy,
        limit_s=60.0,
    )
