"""A run's scorers with shorter rows: the same code, with everything that is measured in tokens cut to fit.

A trial asks hundreds of questions, each an evaluation. With rows of 2048 tokens and chunks of 131,072 one of them takes
an hour on a CPU. What breaks a rule does so at the ends of rows, strides, chunks and documents, however long they are,
and in a second epoch if in later ones.
"""

from typing import TypeVar

from pgolf.audit.audit_config import AuditConfig
from pgolf.audit.named_scorers import named_scorers
from pgolf.config import StageConfig
from pgolf.counts.config import CountConfig, VisibleConfig
from pgolf.errors import ConfigError
from pgolf.eval.config import ScoreConfig
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.hedge_config import HedgeConfig

# Of a row: its strides at least, and the chunks of adapters at most.
_LEAST_STRIDES = 8
_ADAPTED_CHUNKS = 2
# Of a row that is scored: rows that are learned.
_LEARNED_ROWS = 2
# Of rows: what is learned, or counted, at a time at most.
_ROWS_PER_CHUNK = 2
_MOST_EPOCHS = 2
# A share of the text, and a table, must fill as they do over a whole text: in a few hundred targets eight caches of
# four million buckets hold nothing twice.
_MOST_RANKS = 2
_MOST_BUCKETS = 1 << 10

Config = TypeVar("Config", bound=StageConfig)
Visible = TypeVar("Visible", bound=VisibleConfig)


def shortened(config: AuditConfig) -> AuditConfig:
    """The configuration with rows of `config.longest_row` tokens at most; itself where they are no longer than that."""
    window = config.longest_row
    if window is None:
        return config
    score = _score(config.score, window)
    mix = _with(
        config.mix,
        # Two that differ in what is cut alone become one.
        bayes=tuple(dict.fromkeys(_bayes(config))),
        hedges=tuple(dict.fromkeys(_hedges(config))),
    )
    counts = tuple(_fuller(_visible(one, score, window)) for one in config.counts)
    hint = None if config.hint is None else _visible(config.hint, score, window)
    return _with(config, score=score, mix=mix, counts=counts, hint=hint, scorers=None)


def shortened_names(config: AuditConfig) -> dict[str, str]:
    """Name of each of the configuration's scorers that are tried -> its name with shorter rows.

    Raises ConfigError for a name of none.
    """
    cut = shortened(config)
    named = named_scorers(config.mix, config.by_estimator, config.hint)
    short = named_scorers(cut.mix, cut.by_estimator, cut.hint, bayes=_bayes(config), hedges=_hedges(config))
    every = {one.name: (one, other.name) for one, other in zip(named, short, strict=True)}
    if config.scorers is None:
        return {name: other for name, (one, other) in every.items() if one.normalized}
    if missing := set(config.scorers) - every.keys():
        raise ConfigError(f"the mix has no scorer {min(missing)}")
    return {name: every[name][1] for name in config.scorers}


def _bayes(config: AuditConfig) -> list[BayesConfig]:
    window = config.longest_row
    if window is None:
        return list(config.mix.bayes)
    return [_with(own, chunk_targets=min(own.chunk_targets, window)) for own in config.mix.bayes]


def _hedges(config: AuditConfig) -> list[HedgeConfig]:
    window = config.longest_row
    if window is None:
        return list(config.mix.hedges)
    row = _row(config.score, window)
    return [
        _with(own, chunk_tokens=_chunk(own.chunk_tokens, row), warmup_tokens=min(own.warmup_tokens, window))
        for own in config.mix.hedges
    ]


def _score(score: ScoreConfig, window: int) -> ScoreConfig:
    row = _row(score, window)
    window = min(score.window, window)
    ttt, means = score.ttt, score.batch_means
    if ttt is not None:
        ttt = _with(ttt, epochs=min(ttt.epochs, _MOST_EPOCHS))
    if isinstance(ttt, TttConfig):
        chunk = _chunk(ttt.chunk_tokens, row)
        # Where each row is a group of its own, the mean of the groups' means is that of all rows.
        groups = 1 if chunk // row <= ttt.groups else ttt.groups
        ttt = _with(ttt, sequence_length=row, chunk_tokens=chunk, groups=groups)
    elif isinstance(ttt, LoraConfig):
        ttt = _with(ttt, chunk_targets=min(ttt.chunk_targets, max(1, window // _ADAPTED_CHUNKS)))
    if means is not None:
        means = _with(means, chunk_tokens=_chunk(means.chunk_tokens, row))
    return _with(score, window=window, stride=_stride(score, window), ttt=ttt, batch_means=means)


def _stride(score: ScoreConfig, window: int) -> int:
    """The stride's share of a row, but an eighth of it at least: more windows would be no other ones."""
    if window == score.window:
        return score.stride
    return min(score.stride, max(1, score.stride * window // score.window, window // _LEAST_STRIDES))


def _row(score: ScoreConfig, window: int) -> int:
    """Tokens of what is learned at a time: of a row where the weights learn, else as many as are scored."""
    if not isinstance(score.ttt, TttConfig):
        return window
    return min(score.ttt.sequence_length, max(1, window // _LEARNED_ROWS))


def _chunk(tokens: int, row: int) -> int:
    """A chunk that is learned or counted, in whole rows where it has any."""
    shorter = min(tokens, _ROWS_PER_CHUNK * row)
    return shorter // row * row if tokens % row == 0 and shorter >= row else shorter


def _visible(config: Visible, score: ScoreConfig, window: int) -> Visible:
    """Counts or hints at the shortened segments."""
    granularity = config.granularity
    return _with(
        config,
        window=score.window,
        stride=score.stride,
        granularity=granularity if isinstance(granularity, str) else min(granularity, window),
        delay_targets=min(config.delay_targets, window),
    )


def _fuller(config: CountConfig) -> CountConfig:
    buckets = {} if config.estimator == "exact" else {"buckets": min(config.buckets, _MOST_BUCKETS)}
    return _with(config, ranks=min(config.ranks, _MOST_RANKS), **buckets)


def _with(config: Config, **changes: object) -> Config:
    return type(config).model_validate({name: getattr(config, name) for name in type(config).model_fields} | changes)
