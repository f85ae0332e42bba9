"""The stages and what each reads, and the recipe: a section of settings per stage, and the seeds to run.

A new stage is declared here, as a `Stage` and the section of its name; its code is never imported for that.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pgolf.config import StageConfig
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.counts.config import MAX_ORDER, CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.eval.ttt_config import TttConfig
from pgolf.identity.stage import Reads, Stage
from pgolf.mix.cells import check_orders
from pgolf.mix.config import MixConfig
from pgolf.mix.product import FIELD, USES
from pgolf.model.config import UNTIED_BLOCKS, ModelConfig
from pgolf.pack.config import CompressConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.train.config import TrainConfig, TrainStageConfig, refuse_nothing_to_switch_on

_DATA_OUTPUTS = {
    "manifest": ("manifest.json",),
    "tokenizer": ("tokenizers/*.model",),
    "vocabulary": (),  # its size and document start, which is all that training asks of a tokenizer
    "train": ("datasets/*/fineweb_train_*.bin",),
    "val": ("datasets/*/fineweb_val_*.bin",),
}
FETCH = Stage(name="fetch", entry="pgolf.corpus.fetch_stage", network=True, outputs=_DATA_OUTPUTS)
TOKENIZE = Stage(
    name="tokenize", entry="pgolf.corpus.tokenize_stage", version_parts={"sentencepiece": 3}, outputs=_DATA_OUTPUTS
)
SHARDS = Stage(name="shards", entry="pgolf.corpus.shards_stage", outputs=_DATA_OUTPUTS)
_DATA = (FETCH, TOKENIZE, SHARDS)
_TRAINING_DATA = Reads(_DATA, ("train", "vocabulary"))
_VALIDATION_DATA = Reads(_DATA, ("val", "tokenizer"))
TRAIN = Stage(
    name="train",
    entry="pgolf.train.train_stage",
    # pyarrow writes the losses alone, which nothing reads that has a key: another version trains nothing anew.
    version_parts={"torch": 2, "pyarrow": 0},
    outputs={"checkpoint": ("checkpoint.safetensors",)},
    reads={"data": _TRAINING_DATA},
    per_seed=True,
    uses_gpu=True,
)
IMPORT = Stage(
    name="import",
    entry="pgolf.model.import_stage",
    version_parts={"torch": 2},
    outputs={"checkpoint": ("checkpoint.safetensors",)},
    per_seed=True,
)
_WEIGHTS = Reads((TRAIN, IMPORT), ("checkpoint",))
CALIBRATE = Stage(
    name="calibrate",
    entry="pgolf.quant.calibrate_stage",
    version_parts={"torch": 2},
    outputs={"hessians": ("hessians.safetensors",)},
    reads={"checkpoint": _WEIGHTS, "data": _TRAINING_DATA},
    per_seed=True,
    uses_gpu=True,
)
COMPRESS = Stage(
    name="compress",
    entry="pgolf.pack.compress_stage",
    version_parts={"torch": 2},
    outputs={"packed": ("model.pgolf",), "weights": ()},
    reads={"checkpoint": _WEIGHTS, "hessians": Reads((CALIBRATE,), ("hessians",))},
    per_seed=True,
)
COUNT = Stage(
    name="count",
    entry="pgolf.counts.count_stage",
    outputs={"counts": ("counts.arrow", "mass.arrow")},
    reads={"data": _VALIDATION_DATA},
    evaluates=True,
)
HINT = Stage(
    name="hint",
    entry="pgolf.counts.hint_stage",
    outputs={"hints": ("hints.arrow",)},
    reads={"data": _VALIDATION_DATA},
    evaluates=True,
)
_HINTS = Reads((HINT,), ("hints",))
SCORE = Stage(
    name="score",
    entry="pgolf.eval.score_stage",
    version_parts={"torch": 2},
    # The second only where the configuration asks for it.
    outputs={"trace": ("trace.arrow", "batches.arrow")},
    reads={"model": Reads((COMPRESS,), ("weights",)), "data": _VALIDATION_DATA, "hints": _HINTS},
    per_seed=True,
    evaluates=True,
    uses_gpu=True,
)
MIX = Stage(
    name="mix",
    entry="pgolf.mix.mix_stage",
    version_parts={"numba": 2},
    outputs={"cells": ("cells.parquet",)},
    reads={
        "trace": Reads((SCORE,), ("trace",)),
        "data": _VALIDATION_DATA,
        "counts": Reads((COUNT,), ("counts",)),  # one role per estimator: counts.hashed, counts.exact
        "hints": _HINTS,
    },
    per_seed=True,
    evaluates=True,
)

# No part of a run: made for the scorers that are compared, from what a mix has read (pgolf.compare).
BY_DOCUMENT = Stage(
    name="by_document",
    entry="pgolf.mix.by_document_stage",
    version_parts={"numba": 2},
    outputs={"losses": ("documents.parquet", "losses.parquet")},
    reads=MIX.reads,
    per_seed=True,
    evaluates=True,
)

# The last of a run, for its first seed: the scorers that may be ranked, on trial (pgolf.audit).
AUDIT = Stage(
    name="audit",
    entry="pgolf.audit.audit_stage",
    version_parts={"torch": 2, "numba": 2},
    outputs={"verdicts": ("verdicts.json",)},
    reads={"model": SCORE.reads["model"], "data": _VALIDATION_DATA},
    per_seed=True,
    evaluates=True,
)

# What runs once is made first, then each seed's in this order.
STAGES = {stage.name: stage for stage in (*_DATA, TRAIN, IMPORT, CALIBRATE, COMPRESS, SCORE, COUNT, HINT, MIX, AUDIT)}

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Estimator = Literal["hashed", "exact"]
Effort = Literal["quick", "default", "thorough"]


class Headline(StageConfig):
    """The one mixture shown beside the plain network in the report, declared before anything is scored.

    Choosing the best cell of a grid after looking at it would tune on the validation data.
    """

    mixer: Literal["fixed", "backoff", "adaptive"] = Field("fixed", description="Kind of mixture")
    order: int = Field(7, ge=2, le=MAX_ORDER, description="(Highest) n-gram order")
    alpha: float | None = Field(0.4, ge=0.0, le=1.0, description="Weight of the n-gram estimate; none for adaptive")

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        return {"alpha": ("mixer",)} if self.mixer == "adaptive" else {}

    @property
    def settings(self) -> dict[str, Any]:
        """What a cell of the grid must be to be the headline, by the names of its settings."""
        return {name: value for name, value in self.model_dump(exclude={*self.idle()}).items() if value is not None}


class OwnTrial(StageConfig):
    """How hard a run tries its own scorers before they may be ranked: those that are declared, on its first seed."""

    effort: Effort = Field("quick", description="How many questions are asked: quick, default or thorough")
    longest_row: int | None = Field(
        128,
        ge=2,
        description="Rows of at most so many tokens, and strides, chunks and delays shortened to fit; null: as scored",
    )
    targets: int = Field(
        0, ge=0, le=1 << 20, description="Validation targets that are tried; 0: a few windows and chunks"
    )


def why_not_typed(text: str) -> str:
    """Why a text cannot be typed as a name, with what it would take; empty where it can."""
    if len(text) > MOST_NAME:
        return f"{text!r:.60}… has {len(text):,} characters, and a name {MOST_NAME} at most; shorten it"
    if not text.isprintable() or text != text.strip() or text.startswith("-"):
        return f"{text!r:.60} cannot be typed as a name: printable, no blanks around it, no - first"
    return ""


def _every(name: str, section: StageConfig, causes: Sequence[str]) -> dict[str, Sequence[str]]:
    return dict.fromkeys((f"{name}.{field}" for field in type(section).model_fields), causes)


# Of a recipe what people say of it: no setting of any stage.
ABOUT = ("name", "description", "base", "run_name", "tags", "notes")
MOST_NAME = 200


class Recipe(StageConfig):
    """Everything that decides a result. Places and devices are `Sources` and `RunOptions`."""

    # The names of its tables' files are up to 60 characters longer.
    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=100, description="Name under which results are filed")
    description: str = Field("", description="One sentence for `pgolf recipes`")
    base: str = Field("", description="The recipe of pgolf that it began as")
    run_name: str = Field(
        "", max_length=MOST_NAME, description="What a run of it is called; empty: by what differs from its base"
    )
    tags: tuple[str, ...] = Field((), max_length=100, description="Words by which to find its runs")
    notes: str = Field("", max_length=10_000, description="What to remember of its runs")
    seeds: tuple[Seed, ...] = Field((1337, 42, 7), min_length=1, description="One training run per seed")
    fetch: FetchConfig | None = Field(None, description="The published data set, instead of tokenize")
    tokenize: TokenizeConfig | None = Field(None, description="Documents to token shards, instead of fetch")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The network")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Optimizers, schedule, averaging")
    calibrate: CalibrateConfig = Field(
        default_factory=CalibrateConfig, description="Tokens for the Hessians of quantization"
    )
    compress: CompressConfig = Field(
        default_factory=CompressConfig, description="Quantization and packing to the budget"
    )
    score: ScoreConfig = Field(default_factory=ScoreConfig, description="Sliding-window evaluation of the artifact")
    estimators: tuple[Estimator, ...] = Field(
        ("hashed", "exact"), description="n-gram count tables: published hashed ones (legacy), exact ones, or none"
    )
    count: CountConfig = Field(default_factory=CountConfig, description="n-gram counts, once per estimator")
    hint: HintConfig | None = Field(None, description="Tokens that tilted mixtures lean towards, where there are any")
    mix: MixConfig = Field(default_factory=MixConfig, description="The grid of mixtures")
    headline: Headline = Field(
        default_factory=Headline, description="The mixture shown in the report, declared before anything is scored"
    )
    audit: OwnTrial | None = Field(
        default_factory=OwnTrial, description="The trial of the declared scorers; null: none, and nothing is ranked"
    )

    @property
    def hinted(self) -> tuple[int, ...] | None:
        """Orders of the hint stage; None for a recipe without one."""
        return None if self.hint is None else self.hint.orders

    def idle(self) -> Mapping[str, Sequence[str]]:
        """The settings of a section that nothing reads because of another section; see `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        ttt = self.score.ttt
        if not self.model.embeds_besides_tokens:
            tables = ("model.bigram_buckets", "model.value_embedding_layers")
            found["train.projections_by"] = tables
            if isinstance(ttt, TttConfig):
                found["score.ttt.projection_bits"] = tables
        if not self.model.recurrence and isinstance(ttt, TttConfig):
            found["score.ttt.untie"] = ("model.recurrence",)
        if not self.compress.needs_hessians:
            found |= _every("calibrate", self.calibrate, ("compress.policy", "compress.method"))
        if self.audit is not None and not self.score.causal:
            found |= _every("audit", self.audit, ("score.ttt.order",))
        return found | self._idle_of_mixtures()

    def _idle_of_mixtures(self) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        mixers, causes = {*self.mix.mixers}, ["mix.mixers"]
        if not self.estimators:
            found |= _every("count", self.count, ("estimators",)) | _every("headline", self.headline, ("estimators",))
        else:
            found["count.estimator"] = ("estimators",)  # there are counts of each
            if "hashed" not in self.estimators:
                found |= dict.fromkeys(("count.buckets", "count.primes"), ("estimators",))
            # Script and trial mix the headline, whether the grid has its mixer or not.
            mixers.add(self.headline.mixer)
            causes.append("headline.mixer")
        read = {name for mixer in mixers for name in USES[mixer]}
        return found | {f"mix.{name}": causes for name in FIELD if name not in read}

    def config_of(self, stage: Stage) -> StageConfig | None:
        """What the stage is run with: as a rule the section of its name. None where the recipe does without it."""
        if stage is TRAIN:
            return TrainStageConfig(model=self.model, train=self.train)
        if stage in (SHARDS, IMPORT) or (stage is COUNT and not self.estimators):
            return None  # shards and weights are taken in where a run is given files of them
        if stage is CALIBRATE:
            if not self.compress.needs_hessians:
                return None
            sensitivities = self.calibrate.sensitivities or self.compress.needs_sensitivities
            table = self.calibrate.table or self.compress.needs_table
            return self.calibrate.model_copy(update={"sensitivities": sensitivities, "table": table})
        if stage is AUDIT and not self.score.causal:
            return None  # no score of it is ranked
        section: StageConfig | None = getattr(self, stage.name)
        return section

    @model_validator(mode="before")
    @classmethod
    def _hints_at_the_scored_segments(cls, data: Any) -> Any:
        """Hints that are given without their windows have those of scoring: there are no others that fit."""
        if isinstance(data, dict) and isinstance(data.get("hint"), dict):
            score = data.get("score", ScoreConfig())
            given = score if isinstance(score, dict) else score.model_dump()
            alike = {name: given[name] for name in ("window", "stride", "tail") if name in given}
            return data | {"hint": alike | data["hint"]}
        return data

    @field_validator("run_name", "tags")
    @classmethod
    def _can_be_typed(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for text in (value,) if isinstance(value, str) else value:
            if why := why_not_typed(text):
                raise ValueError(why)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.fetch is None) == (self.tokenize is None):
            raise ValueError(
                "a recipe has either fetch or tokenize, and this one has neither"
                if self.fetch is None
                else "a recipe has either fetch or tokenize, and this one has both: add --set fetch=null or "
                "--set tokenize=null"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds repeat: {self.seeds}; every seed is one run")
        if len(set(self.estimators)) != len(self.estimators):
            raise ValueError(f"estimators repeat: {self.estimators}")
        # Counts that nobody takes may be of any windows.
        for name, section in (("count", self.count if self.estimators else None), ("hint", self.hint)):
            if section is None:
                continue
            if section.window != self.score.window or section.stride != self.score.stride:
                raise ValueError(
                    f"{name}.window/stride {section.window}/{section.stride} differ from score.window/stride "
                    f"{self.score.window}/{self.score.stride}: {name}s are taken at the scored segments; "
                    f"--set {name}.window={self.score.window} --set {name}.stride={self.score.stride}"
                )
            if section.tail != self.score.tail:
                raise ValueError(
                    f"{name}.tail {section.tail!r} differs from score.tail {self.score.tail!r}; "
                    f"--set {name}.tail={self.score.tail}"
                )
        for estimator in self.estimators:
            self.count.of(estimator)
        ttt = self.score.ttt
        if isinstance(ttt, TttConfig):
            if ttt.frozen_blocks >= self.model.blocks:
                raise ValueError(
                    f"score.ttt.frozen_blocks {ttt.frozen_blocks} freezes all {self.model.blocks} "
                    f"blocks of the network; --set score.ttt.frozen_blocks={self.model.blocks - 1} is the most"
                )
            if ttt.untie and self.model.recurrence and self.model.recurrence_shares == "blocks":
                raise ValueError(UNTIED_BLOCKS)
        refuse_nothing_to_switch_on(self.model, self.train)
        ranks = self.train.data_ranks
        divides = self.compress.needs_hessians and self.calibrate.source == self.train.batches == "rows"
        if divides and self.calibrate.spans != ranks:
            raise ValueError(
                f"calibrate.source=rows takes the rows that the first of train.data_ranks={ranks} data ranks is "
                f"trained on, and calibrate.spans={self.calibrate.spans} divides them otherwise; "
                f"--set calibrate.spans={ranks}"
            )
        # Before any work: the mix stage would find it at the very end.
        check_orders(self.mix, dict.fromkeys(self.estimators, self.count.orders), self.hinted)
        for number, hedge in enumerate(self.mix.hedges):
            if hedge.batch_means not in (None, self.score.batch_means):
                raise ValueError(
                    f"hedge {number} moves its weights by means over batches of {hedge.batch_means}, score keeps "
                    f"{self.score.batch_means}; add "
                    f"--set 'score.batch_means={hedge.batch_means.model_dump_json()}'"
                )
        return self
