"""The result tables, column by column: type, unit, meaning. A missing value is null, never 0 and never NaN.

Six tables, each an append-only folder of Parquet files (`pgolf.tables.parquet`):
scores        one row per recipe × seed × scorer cell
attempts      one row per packing tried to meet the byte budget
stages        one row per stage run, built or reused
declarations  one row per headline that a recipe has declared
seeds         one row per seed that was declared for a configuration
runs          one row per name that a run was given
A column once published keeps its name, type and meaning; new ones are added, and read as null from older files.
"""

import difflib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from pgolf.errors import ResultsError

TEXT = pa.string()
WHOLE = pa.int64()
REAL = pa.float64()
YES_NO = pa.bool_()
MOMENT = pa.timestamp("us", tz="UTC")
SECONDS_BY_PHASE = pa.map_(pa.string(), pa.float64())


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `unit` is empty for names, flags and plain counts of nothing in particular."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


@dataclass(frozen=True)
class TableSpec:
    """A table: its columns, those that may not be null, and those that together name a row within one run.

    earlier: column -> columns that are older, and whose null is an answer: a file that has the one has them too.
    telling: the columns that a reader looks for, the dearest first; on a narrow terminal the others leave before them.
    if_damaged: what to do about a file of it that cannot be read.
    """

    name: str
    columns: tuple[Column, ...]
    required: tuple[str, ...]
    identity: tuple[str, ...]
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    telling: tuple[str, ...] = ()
    if_damaged: str = "delete it, and run the recipe again to write its rows anew"

    def needed_beside(self, present: Set[str]) -> list[str]:
        """The columns that a file with the columns `present` must have."""
        return [*self.required, *(name for later in self.earlier if later in present for name in self.earlier[later])]

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema; each field carries its unit and meaning as metadata."""
        return pa.schema(
            [
                pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}, nullable=True)
                for c in self.columns
            ]
        )

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by their name."""
        return {column.name: column for column in self.columns}

    def column(self, name: str) -> Column:
        """The column of that name; raises ResultsError with the nearest name where there is none."""
        if (found := self.by_name.get(name)) is not None:
            return found
        near = difflib.get_close_matches(name, self.by_name, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.by_name)}"
        raise ResultsError(f"table {self.name} has no column {name!r}; {hint}")


RUN_KEY = Column("run_key", TEXT, "", "names the run and the file its rows stand in")
RECIPE = Column("recipe", TEXT, "", "name of the recipe")
RECIPE_KEY = Column(
    "recipe_key", TEXT, "", "digest of the stage configs up to score, seeds left out: what a mean shares"
)
CONFIG_KEY = Column(
    "config_key",
    TEXT,
    "",
    "digest of all that decides a seed's score but the seed and our code: the data and every setting from training to "
    "scoring; null where it was not recorded",
)
SEED = Column("seed", WHOLE, "", "seed of the training run")
CHECKPOINT = Column("checkpoint_sha256", TEXT, "", "digest of the trained weights")
GIT_COMMIT = Column("git_commit", TEXT, "", "commit of the code that ran; ends in + where files differed from it")
TORCH = Column("torch_version", TEXT, "", "torch that trained and scored")
GPU = Column("gpu", TEXT, "", "name of the accelerator; null on a CPU")
HOST = Column("host", TEXT, "", "name of the machine")
STARTED = Column("started_utc", MOMENT, "UTC", "when the run started")
CODE_BYTES = Column("code_bytes", WHOLE, "B", "packed training and evaluation code, counted against the budget")
TOTAL_BYTES = Column("total_bytes", WHOLE, "B", "code and packed model together")
BUDGET_BYTES = Column("budget_bytes", WHOLE, "B", "what total_bytes may be at most")
FITS = Column("fits_budget", YES_NO, "", "total_bytes <= budget_bytes")

# The settings that make one scorer; with recipe and seed they name a row of scores.
SCORER = (
    *("estimator", "counts", "mixer", "order", "alpha", "min_count", "entropy_base", "entropy_range", "entropy_slope"),
    *("entropy_threshold_nats", "concentration", "tilt_nats", "tilt_confidence", "members", "share_rate"),
    *("granularity", "ranks", "cell"),
)

SCORES = TableSpec(
    name="scores",
    columns=(
        RUN_KEY,
        RECIPE,
        RECIPE_KEY,
        SEED,
        Column(
            "estimator",
            TEXT,
            "",
            "what predicts beside the network: neural (nothing), exact, hashed, hint, bayes, hedge",
        ),
        Column("counts", TEXT, "", "the count stage whose table is used; null for neural, hint, bayes and hedge"),
        Column(
            "mixer",
            TEXT,
            "",
            "how network and counts are mixed: fixed, dirichlet, tilt, fixed-share, …; null for neural",
        ),
        Column("order", WHOLE, "tokens", "longest n-gram used, target included; null for neural"),
        Column("alpha", REAL, "", "weight of the counts; null for neural and where the weight is not one number"),
        Column("min_count", WHOLE, "", "how often a context must have been seen to be used"),
        Column("entropy_base", REAL, "", "adaptive: weight at low entropy"),
        Column("entropy_range", REAL, "", "adaptive: what high entropy adds to it"),
        Column("entropy_slope", REAL, "1/nat", "adaptive: steepness of the rise"),
        Column("entropy_threshold_nats", REAL, "nats", "adaptive: entropy at which half the range is added"),
        Column("concentration", REAL, "", "dirichlet: what the shorter orders are worth, in counts"),
        Column("tilt_nats", REAL, "nats", "tilt: what the hint's logit gains"),
        Column("tilt_confidence", REAL, "", "tilt: least share of a context's occurrences that the hint followed"),
        Column("members", WHOLE, "", "bayes, fixed-share: how many mixtures are mixed, the network among them"),
        Column("share_rate", REAL, "", "fixed-share: what every update deals out evenly"),
        Column(
            "granularity", TEXT, "", "targets after which their n-grams, or losses, are taken in: segment, or a number"
        ),
        Column("ranks", WHOLE, "", "count tables that start empty"),
        Column("cell", TEXT, "", "every setting of the scorer as JSON; tells apart what the columns before do not"),
        Column("loss_nats", REAL, "nats/token", "mean over the scored targets"),
        Column("loss_sum_nats", REAL, "nats", "sum over the scored targets"),
        Column("bpb", REAL, "bits/byte", "bits over bytes"),
        Column("bits", REAL, "bits", "loss_sum_nats in bits: the length of the code"),
        Column("targets", WHOLE, "tokens", "scored targets"),
        Column("bytes", WHOLE, "B", "UTF-8 bytes the scored targets stand for"),
        Column("bytes_verified", YES_NO, "", "bytes are those of the text: compared with it, or proved without it"),
        Column(
            "dropped_share",
            REAL,
            "",
            "share of the validation text's bytes that no token holds, because normalization drops them; they count in "
            "bytes; null where there is no text to compare with",
        ),
        Column("matched", WHOLE, "tokens", "targets for which there was an estimate to mix in"),
        Column("vocab", WHOLE, "tokens", "size of the vocabulary the distribution covers"),
        Column("mass_mean", REAL, "", "mean total probability over the vocabulary; 1 for a normalized scorer"),
        Column("normalized", YES_NO, "", "the scorer gives a distribution over the whole vocabulary"),
        Column("causal", YES_NO, "", "a score depends on the artifact and on tokens before the target alone"),
        Column("audit_id", TEXT, "", "the trial of this scorer, an output of the store; null where there was none"),
        Column(
            "audited",
            YES_NO,
            "",
            "true: the trial found that its scores are code lengths; false: it did not; null: not tried",
        ),
        Column("artifact_bytes", WHOLE, "B", "the packed model"),
        CODE_BYTES,
        TOTAL_BYTES,
        BUDGET_BYTES,
        FITS,
        Column("train_clock_s", REAL, "s", "training and calibration on the challenge's clock"),
        Column("eval_clock_s", REAL, "s", "everything evaluation does, on the challenge's clock"),
        Column("within_train_clock", YES_NO, "", "train_clock_s is within the rule set's limit"),
        Column("within_eval_clock", YES_NO, "", "eval_clock_s is within the rule set's limit"),
        Column(
            "interrupted",
            YES_NO,
            "",
            "training stopped by the clock and had gone on after a kill: what it reached is no run of that clock",
        ),
        Column("ruleset", TEXT, "", "the rules the gates were checked against, with their date"),
        Column("data_name", TEXT, "", "name of the data set that was validated on"),
        Column("val_sha256", TEXT, "", "digest of the validation tokens, whatever the data set is called"),
        Column("tokenizer_sha256", TEXT, "", "digest of the tokenizer's model file"),
        Column("text_sha256", TEXT, "", "digest of the raw validation text, whatever the tokenizer; null without text"),
        Column("declared", YES_NO, "", "the recipe's headline; null for the network alone, which is no choice"),
        Column(
            "declared_utc", MOMENT, "UTC", "when a run that declared this headline started; null where none is known"
        ),
        Column(
            "declared_before_scoring",
            YES_NO,
            "",
            "it was the headline when the first score of this recipe on this text was begun; false for other cells, "
            "true for the network alone",
        ),
        CONFIG_KEY,
        Column("trace_key", TEXT, "", "key of the score stage's output"),
        CHECKPOINT,
        GIT_COMMIT,
        TORCH,
        GPU,
        HOST,
        STARTED,
    ),
    required=("run_key", "recipe", "seed", "estimator", "loss_nats", "targets"),
    identity=("recipe", "recipe_key", "seed", *SCORER),
    # A training that does not stop by the clock says nothing of interruptions, and passes.
    earlier={"bytes_verified": ("interrupted",)},
    telling=("bpb", "seed", "estimator", "mixer", "order", "alpha", "loss_nats", "recipe", "fits_budget"),
)

ATTEMPTS = TableSpec(
    name="attempts",
    columns=(
        RUN_KEY,
        RECIPE,
        RECIPE_KEY,
        SEED,
        Column("compress_key", TEXT, "", "key of the compress stage's output"),
        Column("attempt", WHOLE, "", "0 for the first packing tried, in the order tried"),
        Column("rung", TEXT, "", "how far the weights were downgraded, in words"),
        Column("codec", TEXT, "", "the compressor of the payload"),
        Column("level", WHOLE, "", "the compressor's level"),
        Column("artifact_bytes", WHOLE, "B", "the packed model of this attempt"),
        CODE_BYTES,
        TOTAL_BYTES,
        BUDGET_BYTES,
        FITS,
        Column("chosen", YES_NO, "", "this attempt became the artifact"),
        Column("wall_s", REAL, "s", "time the attempt took"),
        CHECKPOINT,
        GIT_COMMIT,
        HOST,
        STARTED,
    ),
    required=("run_key", "recipe", "attempt", "total_bytes"),
    identity=("recipe", "seed", "compress_key", "attempt"),
    telling=("total_bytes", "seed", "level", "fits_budget", "chosen", "codec", "rung", "recipe"),
)

STAGES = TableSpec(
    name="stages",
    columns=(
        RUN_KEY,
        RECIPE,
        RECIPE_KEY,
        Column("stage", TEXT, "", "name of the stage"),
        Column("node", TEXT, "", "the stage's place in the recipe: train.1337"),
        SEED,
        Column("key", TEXT, "", "key of the stage's output"),
        Column("folder", TEXT, "", "folder of the output in the store"),
        Column("built", YES_NO, "", "true: built in this run; false: reused"),
        Column("reason", TEXT, "", "why it was built"),
        Column("size_bytes", WHOLE, "B", "all files of the output"),
        Column("wall_s", REAL, "s", "time this run spent on the stage; null where it was reused"),
        Column(
            "phases_s",
            SECONDS_BY_PHASE,
            "s",
            "wall_s by phase; `before` comes on top: killed runs that it went on from",
        ),
        Column("processes", WHOLE, "", "ranks"),
        Column("device", TEXT, "", "cpu or cuda"),
        HOST,
        GPU,
        TORCH,
        GIT_COMMIT,
        STARTED,
    ),
    required=("run_key", "recipe", "stage", "node", "key", "built"),
    identity=("recipe", "node"),
    telling=("node", "wall_s", "built", "size_bytes", "reason", "recipe"),
)

# No run can say again that something was declared before it was scored.
_NEVER_AGAIN = (
    "restore it from a copy: it is the proof of what was declared before scoring; without a copy move it away, and "
    "what it declared counts as not declared"
)

DECLARATIONS = TableSpec(
    name="declarations",
    columns=(
        RUN_KEY,
        RECIPE,
        Column("headline", TEXT, "", "the declared scorers with every setting, as JSON"),
        Column("declared_utc", MOMENT, "UTC", "when the run that declared it started"),
        HOST,
    ),
    required=("run_key", "recipe", "headline", "declared_utc"),
    identity=("recipe",),
    telling=("headline", "declared_utc", "recipe"),
    if_damaged=_NEVER_AGAIN,
)

SEEDS = TableSpec(
    name="seeds",
    columns=(
        RUN_KEY,
        RECIPE,
        SEED,
        CONFIG_KEY,
        Column("declared_utc", MOMENT, "UTC", "when a run with this seed started; of several rows the first counts"),
        Column("base", TEXT, "", "the recipe of pgolf that its recipe began as; null where it began as none"),
        Column("changed", TEXT, "", "the settings that differ from the base's, by their dotted names, as JSON"),
        Column("configuration", TEXT, "", "what config_key is the digest of, as JSON"),
        HOST,
    ),
    required=("run_key", "recipe", "seed", "config_key", "declared_utc"),
    identity=("config_key", "seed"),
    telling=("seed", "declared_utc", "recipe", "config_key"),
    if_damaged=_NEVER_AGAIN,
)

RUNS = TableSpec(
    name="runs",
    columns=(
        RUN_KEY,
        Column("run", TEXT, "", "run_key of the scores that it tells of"),
        RECIPE,
        RECIPE_KEY,
        Column("name", TEXT, "", "what the run is called"),
        Column("base", TEXT, "", "the recipe of pgolf that its recipe began as; null where it began as none"),
        Column("changed", TEXT, "", "the settings that differ from the base's, by their dotted names, as JSON"),
        Column("config", TEXT, "", "the whole recipe as JSON"),
        Column("tags", TEXT, "", "words by which to find it, as a JSON list"),
        Column("note", TEXT, "", "what to remember of it"),
        Column("named_utc", MOMENT, "UTC", "when that was said; of one run the latest counts"),
        HOST,
    ),
    required=("run_key", "run", "recipe", "name", "named_utc"),
    identity=("run",),
    telling=("run", "name", "tags", "note", "named_utc", "recipe"),
    if_damaged="delete it, and name the run again with `pgolf rename`",
)

TABLES = {spec.name: spec for spec in (SCORES, ATTEMPTS, STAGES, DECLARATIONS, SEEDS, RUNS)}
