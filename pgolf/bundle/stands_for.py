"""What a bundled script takes other things for, and what its settings say it never comes to.

Each entry says why. What is left out here raises where it is reached after all, so that a mistake is loud. That the
results are the pipeline's, and no function is left without use, show `tests/bundle` and `tests/recipes`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pgolf.bundle.script_settings import Settings

STAND_INS = "pgolf.bundle.stand_ins"

# (module, name) -> name in `stand_ins`.
STANDS_FOR = {
    # Settings were checked where the script was made.
    ("pydantic", "BaseModel"): "BaseModel",
    ("pydantic", "ValidationError"): "ValidationError",
    ("pgolf.config", "complaint"): "complaint",
    # Messages are numbers and values (`messages`).
    ("pgolf.errors", "PgolfError"): "PgolfError",
    ("pgolf.pack.compress_stage", "_over_budget"): "over_budget",
    # A machine is looked at before a run is started there (`pgolf doctor`); torch takes the GPUs that it sees.
    ("pgolf.ranks.devices", "usable_gpus"): "usable_gpus",
    ("pgolf.ranks.devices", "take_device"): "take_device",
}


def _always(_settings: Settings) -> bool:
    return True


def _no_counts(settings: Settings) -> bool:
    return not settings.counts


def _no_hints(settings: Settings) -> bool:
    return settings.hint is None


def _no_bayes(settings: Settings) -> bool:
    return not settings.mix.bayes


def _no_sensitivities(settings: Settings) -> bool:
    return settings.calibrate is None or not settings.calibrate.sensitivities


def _mixers(settings: Settings) -> set[str]:
    products = (*settings.mix.every_product,)
    return {mixer for product in products for mixer in product.mixers} if settings.counts or settings.hint else set()


def _without(*mixers: str) -> Callable[[Settings], bool]:
    return lambda settings: not _mixers(settings) & set(mixers)


def _no_mixers(settings: Settings) -> bool:
    return not _mixers(settings)


def _reads_no_columns(settings: Settings) -> bool:
    return _no_counts(settings) and _no_hints(settings) and settings.score.batch_means is None


def _no_banks(settings: Settings) -> bool:
    return settings.training.train.muon_layout != "banks"


def _scores_first(settings: Settings) -> bool:
    return settings.score.causal


def _is_published(settings: Settings) -> bool:
    return settings.compress.policy == "published"


def _takes_scales(settings: Settings) -> bool:
    """Whether all that is rounded is rounded to row scales: what has no matrices to quantize has no policy of them."""
    compress, model = settings.compress, settings.training.model
    return compress.policy != "published" and model.width * model.mlp_width > compress.fp16_max_elements


def _all_by_hessian(settings: Settings) -> bool:
    """Whether there is a Hessian for all that is rounded: of tables, for the token table alone."""
    compress, model = settings.compress, settings.training.model
    other_tables = model.bigram_buckets or model.value_embedding_layers
    return compress.method == "gptq_hessian" and not other_tables and _always_by_hessian(settings)


def _always_by_hessian(settings: Settings) -> bool:
    """Whether every matrix is rounded by its Hessian, and one that is singular is an error."""
    compress = settings.compress
    return compress.method in ("gptq", "gptq_hessian") and compress.singular_hessian == "error"


# Functions that settings rule out, in a way that no constant shows: which files lie in a folder, which cells there are.
RULED_OUT: tuple[tuple[str, str, Callable[[Settings], bool]], ...] = (
    ("pgolf.counts.count_stage", "open_counts", _no_counts),
    ("pgolf.counts.mass", "read_mass", _no_counts),
    ("pgolf.mix.mix_inputs", "MixInputs._plan_of_counts", _no_counts),
    ("pgolf.mix.cells", "_combinations", _no_mixers),
    ("pgolf.mix.cells", "_orders", _no_mixers),
    ("pgolf.mix.cells", "_tables", _no_mixers),
    ("pgolf.mix.cells", "_hinted", _no_hints),
    ("pgolf.mix.mix_rows", "_of_counts", _no_mixers),
    ("pgolf.mix.mix_rows", "_shorter", _no_mixers),
    ("pgolf.mix.mix_unit", "Prepared.__len__", _no_mixers),
    ("pgolf.mix.mix_unit", "Prepared.counts", _no_mixers),
    ("pgolf.mix.mix_unit", "Prepared.once", _no_mixers),
    ("pgolf.mix.mixture", "Scores.add", _no_mixers),
    ("pgolf.mix.mixture", "Mixture.mass", _without("tilt")),
    ("pgolf.eval.arrow_file", "ArrowFile.columns", _reads_no_columns),
    ("pgolf.eval.hints", "read_hints", _no_hints),
    ("pgolf.eval.hints", "hint_orders", _no_hints),
    ("pgolf.mix.grid", "_Work._add_left_out", _no_mixers),
    ("pgolf.mix.grid", "Grid.mixed", _no_bayes),
    ("pgolf.mix.bayes", "Sharing", _no_bayes),
    ("pgolf.mix.mix_inputs", "_HintFile", _no_hints),
    ("pgolf.ranks.group", "Ranks.part", _no_banks),
    ("pgolf.pack.quantizer", "Quantizer._to_known_scales", _is_published),
    ("pgolf.pack.quantizer", "Quantizer.weights", _is_published),
    ("pgolf.pack.quantizer", "Quantizer._to_bits", _takes_scales),
    ("pgolf.pack.quantizer", "Quantizer.layers", _takes_scales),
    ("pgolf.pack.container", "_decompressed", lambda settings: settings.compress.codec == "rans"),
    ("pgolf.quant.rounding", "round_to_scale", _all_by_hessian),
    ("pgolf.quant.rounding", "search_percentile", _always_by_hessian),
    # Of texts that are learned before they are scored.
    ("pgolf.eval.scoring", "_Meter.expect", _scores_first),
    ("pgolf.eval.scoring", "_Meter.learned", _scores_first),
    ("pgolf.eval.ttt", "Learner.targets_of", _scores_first),
    # Nobody asks: they would be there because something else has their name.
    ("pgolf.bundle.script_settings", "Settings.model", _always),
    ("pgolf.eval.batch_means", "BatchMeans.__len__", _always),
    ("pgolf.eval.windows", "WindowPlan.windows", _always),
    ("pgolf.mix.hedge_pass", "Hedges.losses", _always),
    ("pgolf.mix.hedge_pass", "Hedges.told", _always),
    ("pgolf.mix.hedge_pass", "_Stream._of_all", _always),
    ("pgolf.mix.grid", "Grid.restore", _always),
    ("pgolf.eval.scoring", "Scoring.facts", _always),
    ("pgolf.eval.ttt", "Learner.steps", _always),
    ("pgolf.corpus.model_proto", "ModelSettings.read", _always),
)


def _codec(settings: Settings) -> set[str]:
    return {settings.compress.codec}


def _mixtures(settings: Settings) -> set[str]:
    mixers = _mixers(settings)
    kinds = {"Interpolation": {"fixed", "backoff", "adaptive"}, "Dirichlet": {"dirichlet"}, "Tilt": {"tilt"}}
    return {name for name, own in kinds.items() if own & mixers}


# (module, name) of a table -> the keys, or for a tuple the names, that settings choose of it. A model is packed and
# read by one codec; what has no matrices to quantize takes the published policy.
CHOSEN: Mapping[tuple[str, str], Callable[[Settings], set[Any]]] = {
    ("pgolf.pack.codec", "CODECS"): _codec,
    ("pgolf.pack.compress_stage", "POLICIES"): lambda settings: (
        {settings.compress.policy} | (set() if _takes_scales(settings) else {"published"})
    ),
    ("pgolf.mix.grid", "MIXTURES"): _mixtures,
    ("pgolf.mix.product", "USES"): _mixers,
    ("pgolf.counts.hashed", "PRIMES"): lambda settings: {one.primes for one in settings.counts},
}

# Functions that have but one result in a script, and that: nothing is resumed there, and what one stage has written
# fits the next.
FIXED: tuple[tuple[str, str, str, Callable[[Settings], bool]], ...] = (
    ("pgolf.mix.mix_progress", "MixProgress.load", "0, {}", _always),
    ("pgolf.mix.mix_progress", "MixProgress.keep", "None", _always),
    ("pgolf.identity.fingerprint", "digest", "None", _always),
    ("pgolf.ranks.job", "print_progress", "None", _always),
    ("pgolf.mix.mix_inputs", "MixInputs._check_finite", "None", _always),
    ("pgolf.mix.mix_inputs", "MixInputs._check_records", "None", _always),
    ("pgolf.mix.mix_inputs", "MixInputs._checked_stream", "None", _always),
    ("pgolf.eval.trace", "_check_finite", "None", _always),
    ("pgolf.eval.arrow_file", "ArrowFile.require", "None", _always),
    ("pgolf.counts.count_stage", "_require_columns", "None", _always),
    ("pgolf.model.misfits", "misfits", "None", _always),
    ("pgolf.mix.mix_rows", "EntropyAt.add", "None", _no_counts),
    ("pgolf.mix.mix_inputs", "MixInputs._hints_of", "None", _no_hints),
    ("pgolf.mix.interpolation", "_alphas", "None", _without("fixed", "backoff")),
    ("pgolf.mix.interpolation", "_by_shape", "None", _without("adaptive")),
    ("pgolf.eval.scoring", "hints_of", "None", _no_hints),
    ("pgolf.mix.grid", "Grid._slices", "()", _no_bayes),
    ("pgolf.pack.named_arrays", "may_have_bits", "False", lambda settings: settings.compress.codec != "rans"),
    ("pgolf.pack.quantizer", "Quantizer.predicted_loss", "None", _no_sensitivities),
    (
        "pgolf.train.loop",
        "_set_fake_bits",
        "None",
        lambda settings: settings.training.train.late_qat_below_scale is None,
    ),
)

# Modules that check what the pipeline's stages have written for one another. In a script the stages run one after the
# other, in one folder that nobody else writes to.
CHECKS_ITS_OWN = (
    "pgolf.counts.config",
    "pgolf.counts.count_stage",
    "pgolf.counts.mass",
    "pgolf.eval.arrow_file",
    "pgolf.eval.batch_means",
    "pgolf.eval.hints",
    "pgolf.eval.pieces",
    "pgolf.eval.trace",
    "pgolf.mix.cells",
    "pgolf.mix.hedge_pass",
    "pgolf.mix.hedge_config",
    "pgolf.mix.mix_inputs",
    "pgolf.mix.mix_progress",
    "pgolf.model.tensor_file",
    "pgolf.pack.compress_stage",
    "pgolf.quant.calibration",
)

# Functions whose result the script has no use for: accounts of what was done.
ACCOUNTS = (
    ("pgolf.counts.count_stage", "make"),
    ("pgolf.counts.hint_stage", "make"),
    ("pgolf.mix.mix_stage", "make"),
    ("pgolf.eval.in_process", "write_outputs"),
)
