"""An arm of a comparison: the runs that were asked for, one scorer of theirs, and its score for every seed.

Rows of other runs never join, even those of the same configuration: a mean over seeds that nobody asked for is a choice
of seeds. Several runs make one arm only where they are named together (`first,second`).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import pyarrow as pa

from pgolf.errors import ConfigError, ResultsError
from pgolf.tables.declared_seeds import NOTHING_DECLARED, DeclaredSeeds, MissingSeed, missing_notes
from pgolf.tables.filters import Condition, parse_conditions
from pgolf.tables.gates import AUDITED, DECLARED, GATES
from pgolf.tables.named_runs import Run, rows_of, run_named
from pgolf.tables.ranked import ScorerResult, scorer_results
from pgolf.tables.schema import SCORER, SCORES
from pgolf.tables.scorer_names import settings_of, told_apart
from pgolf.tables.texts import Text, text_of

HEADLINE, NETWORK = "headline", "network"

# A score that fails these is no code length, and has nothing to be compared with.
NOT_AUDITED = f"not ranked: {GATES[AUDITED].unjudged}"
_HONEST = ("normalized", "causal")
# In which of several declared scorers an arm is compared: the mixture that the headline's settings name, or what needs
# no settings.
_ORDER = ("exact", "hint", "bayes", "hedge")


@dataclass(frozen=True, slots=True)
class Score:
    """What a seed came to. bpb: None where the bytes are not known."""

    loss_nats: float
    bpb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One side of a comparison. name: what it was asked for by. text: the validation text and its tokenization.

    networks: seed -> digest of the trained weights, where it was recorded. grid: every scorer of its rows. missing:
    declared seeds that have no result. elsewhere: declared seeds that other runs scored. n_declared: of how many
    declared seeds its are; None where none are known. notes: what a reader has to know of it beside its scores.

    automatic: nobody named the scorer. no_headline: why the network then stands for a headline, of this run. network:
    why it does in this comparison. late: why p does not hold, of a scorer that may have been chosen by its score.
    """

    name: str
    runs: tuple[Run, ...]
    result: ScorerResult
    text: Text
    by_seed: Mapping[int, Score]
    networks: Mapping[int, str | None] = field(default_factory=dict)
    grid: tuple[ScorerResult, ...] = ()
    missing: tuple[MissingSeed, ...] = ()
    elsewhere: tuple[int, ...] = ()
    n_declared: int | None = None
    notes: tuple[str, ...] = ()
    automatic: bool = False
    no_headline: str = ""
    network: str = ""
    late: str = ""

    @property
    def scorer(self) -> str:
        """The scorer in a few words: network, or exact dirichlet order 5."""
        return scorer_text(self.result)

    @property
    def n(self) -> str:
        """How many seeds it has, and of how many: `2 of 3`."""
        n = len(self.by_seed)
        return f"{n}" if self.n_declared in (None, n) else f"{n} of {self.n_declared}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds in ascending order."""
        return tuple(sorted(self.by_seed))

    @property
    def first_seed(self) -> int:
        """The one that a run tries its own scorers on: the first of its recipe; of runs that do not say, the lowest."""
        declared = [seed for run in self.runs for seed in run.config.get("seeds", ())]
        return next((seed for seed in declared if seed in self.by_seed), self.seeds[0])

    def run_of(self, seed: int) -> Run:
        """The run that a seed's score is of."""
        key = self.result.by_seed[seed]["run_key"]
        return next(run for run in self.runs if run.key == key)


def scorer_text(result: ScorerResult) -> str:
    """The settings that name a scorer in a sentence."""
    settings = dict(zip(SCORER, result.scorer))
    if settings["estimator"] == "neural":
        return NETWORK
    words = [str(settings["estimator"]), str(settings["mixer"])]
    shown = (("order", "order"), ("alpha", "alpha"), ("concentration", "concentration"), ("tilt_nats", "tilt"))
    words += [f"{word} {settings[name]:g}" for name, word in shown if settings[name] is not None]
    return " ".join(words)


def scorer_asked(text: str) -> Sequence[Condition] | str:
    """What `arm_of` takes as scorer, as written on a command line. Raises ResultsError for settings that are none."""
    example = f"estimator=exact mixer=dirichlet order=5; or {HEADLINE}, or {NETWORK}"
    return text if text in (HEADLINE, NETWORK) else parse_conditions(text.split(), example)


def arm_of(
    asked: str,
    runs: Sequence[Run],
    scores: pa.Table,
    *,
    scorer: Sequence[Condition] | str = HEADLINE,
    declared: DeclaredSeeds = NOTHING_DECLARED,
    only_honest: bool = True,
) -> Arm:
    """The arm that `asked` names: a run by name or key, or several, separated by commas.

    scores: rows of the scores' table. scorer: "headline" (the declared one, else the network), "network", or conditions
    on the columns of one scorer. declared: the seeds that were. Raises ConfigError for runs and scorers that are not
    there or not one, and for a seed in two runs; with only_honest ResultsError for a scorer that is no code length.
    """
    chosen = _runs_of(asked, runs)
    own = rows_of(scores, SCORES, chosen)
    results = scorer_results(own)
    text = text_of(own)
    if text is None:
        raise ResultsError(f"{asked}: no scores of {', '.join(run.key for run in chosen)} are in the tables")
    _refuse_shared_seeds(asked, own, chosen)
    if len({result.recipe_key for result in results}) > 1:
        raise ConfigError(
            f"{asked}: these runs are of {len({result.recipe_key for result in results})} configurations; a mean over "
            "seeds is of one: name them as arms of their own"
        )
    choice = _scorer_of(asked, results, scorer)
    result = _honest_of(asked, choice.result) if only_honest else choice.result
    by_seed = _scores(result)
    names = [run.name if asked == run.key or run.key.startswith(asked) else asked for run in chosen]
    missing = declared.missing_of(result.config_keys)
    elsewhere = declared.seeds_of(result.config_keys) - {one.seed for one in missing} - set(by_seed)
    arm = Arm(
        name=names[0] if len(chosen) == 1 else asked,
        runs=chosen,
        result=result,
        text=text,
        by_seed=by_seed,
        networks=dict(zip(own.column("seed").to_pylist(), own.column("checkpoint_sha256").to_pylist())),
        grid=tuple(results),
        missing=missing,
        elsewhere=tuple(sorted(elsewhere)),
        n_declared=declared.count(result.config_keys, by_seed),
        automatic=scorer == HEADLINE,
        no_headline=choice.no_headline,
        late=choice.late,
    )
    late = [f"{arm.scorer} {arm.late}, which may have been seen: p holds for scorers named before"] if arm.late else []
    return with_notes(arm, *late, *choice.notes)


def by_network(arm: Arm) -> Arm:
    """The arm by its network alone. Raises ConfigError where its rows have none, ResultsError for no code length."""
    choice = _scorer_of(arm.name, arm.grid, NETWORK)
    result = _honest_of(arm.name, choice.result)
    return with_notes(replace(arm, result=result, by_seed=_scores(result), late=""))


def with_notes(arm: Arm, *notes: str) -> Arm:
    """The arm with these notes, and those that any scorer of it has."""
    return replace(arm, notes=(*notes, *missing_notes(arm.missing), *_left_out(arm.elsewhere), *_cautions(arm.result)))


def refuse_unpassed(asked: str, said: str) -> NoReturn:
    """Raise the ResultsError for a scorer that an audit did not pass. said: which it is, or what was found."""
    raise ResultsError(
        f"{asked}: {said}: {GATES[AUDITED].failed}, so its score may be no code length and is compared with nothing; "
        "name another scorer (--scorer network)"
    )


def _honest_of(asked: str, result: ScorerResult) -> ScorerResult:
    """The scorer. Raises ResultsError for one that is no code length."""
    if result.gate(AUDITED) is False:
        refuse_unpassed(asked, scorer_text(result))
    if wrong := [GATES[gate].failed for gate in _HONEST if result.gate(gate) is False]:
        raise ResultsError(
            f"{asked}: {scorer_text(result)} is {' and '.join(wrong)}, so its score is no code length and is compared "
            "with nothing; name another scorer (--scorer network)"
        )
    return result


def _scores(result: ScorerResult) -> dict[int, Score]:
    return {seed: Score(row["loss_nats"], row["bpb"]) for seed, row in result.by_seed.items()}


def _runs_of(asked: str, runs: Sequence[Run]) -> tuple[Run, ...]:
    try:
        return (run_named(asked, runs),)
    except ConfigError:
        if "," not in asked:
            raise
    found = tuple(run_named(text.strip(), runs) for text in asked.split(","))
    if len({run.key for run in found}) < len(found):
        raise ConfigError(f"{asked} names a run twice; name each once")
    return found


def _refuse_shared_seeds(asked: str, own: pa.Table, runs: Sequence[Run]) -> None:
    runs_of: dict[int, set[str]] = {}
    for seed, key in set(zip(own.column("seed").to_pylist(), own.column("run_key").to_pylist())):
        runs_of.setdefault(seed, set()).add(key)
    for seed, keys in sorted(runs_of.items()):
        if len(keys) > 1:
            raise ConfigError(
                f"{asked}: seed {seed} is in {len(keys)} of its {len(runs)} runs ({', '.join(sorted(keys))}); a seed "
                "counts once: name the run that counts"
            )


@dataclass(frozen=True, slots=True)
class _Choice:
    """The scorer that is compared, and what to say of the choice: no_headline and late as in Arm."""

    result: ScorerResult
    notes: tuple[str, ...] = ()
    no_headline: str = ""
    late: str = ""


def _scorer_of(asked: str, results: Sequence[ScorerResult], scorer: Sequence[Condition] | str) -> _Choice:
    network = next((result for result in results if _estimator(result) == "neural"), None)
    declared = [result for result in results if result.gate("declared") and result is not network]
    if scorer == NETWORK or (scorer == HEADLINE and not declared):
        if network is None:
            raise ConfigError(f"{asked}: its rows have no score of the network alone")
        if scorer == NETWORK:
            return _Choice(network)
        return _Choice(network, ("no headline is in its rows: the network alone is compared",), "no declared mixture")
    if scorer == HEADLINE:
        honest = [result for result in declared if all(result.gate(gate) is not False for gate in _HONEST)]
        if not honest:
            legacy = ", ".join(map(scorer_text, declared))
            if network is None or any(network.gate(gate) is False for gate in _HONEST):
                return _Choice(declared[0])
            note = f"its headline ({legacy}) is no code length: the network alone is compared"
            return _Choice(network, (note,), f"declared {legacy}, which is no code length")
        honest.sort(key=lambda result: (*_ORDER, _estimator(result)).index(_estimator(result)))
        others = ", ".join(told_apart(honest, scorer_text)[1:])
        notes = (f"also declared: {others} (--scorer compares another)",) if others else ()
        return _Choice(honest[0], notes, late=_late(honest[0]))
    assert not isinstance(scorer, str)
    _refuse_unknown(results, scorer)
    found = [result for result in results if all(_fits(result, condition) for condition in scorer)]
    if len(found) == 1:
        return _Choice(found[0], late=_late(found[0]))
    said = " ".join(map(str, scorer))
    there = told_apart(found or results, scorer_text)
    shown = "; ".join(there[:6]) + (f" and {len(there) - 6} more" if len(there) > 6 else "")
    if found:
        raise ConfigError(f"{asked}: {len(found)} scorers are {said}: {shown}; name one by more settings")
    raise ConfigError(f"{asked}: no scorer is {said}; there are {shown}")


def _late(result: ScorerResult) -> str:
    """Why a p of this scorer does not hold; empty for one that cannot have been chosen by its score."""
    match result.standing:
        case "no choice" | "before scoring":
            return ""
        case None:
            return "was not known to be declared before scores of this text were there"
        case _:
            return "was not declared before scores of this text were there"


def _fits(result: ScorerResult, condition: Condition) -> bool:
    return condition.holds(settings_of(result).get(condition.name))


def _refuse_unknown(results: Sequence[ScorerResult], conditions: Sequence[Condition]) -> None:
    """A setting that no scorer has."""
    known = list(dict.fromkeys((*SCORER, *(name for result in results for name in settings_of(result)))))
    for condition in conditions:
        if condition.name not in known:
            near = difflib.get_close_matches(condition.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"these are {', '.join(known)}"
            raise ConfigError(f"--scorer {condition}: a scorer has no setting {condition.name}; {hint}")


def _left_out(elsewhere: Iterable[int]) -> list[str]:
    """Declared seeds that have a result, and not in the runs of this arm."""
    seeds = [str(seed) for seed in sorted(elsewhere)]
    several = "s" if len(seeds) > 1 else ""
    return [f"declared seed{several} {', '.join(seeds)} of this configuration: scored in other runs"] if seeds else []


def _estimator(result: ScorerResult) -> str:
    return str(result.scorer[SCORER.index("estimator")])


def _cautions(result: ScorerResult) -> list[str]:
    """Gates that it fails, though its losses are code lengths."""
    others = [gate for gate in GATES if gate not in (*_HONEST, DECLARED, AUDITED)]
    failed = [GATES[gate].failed for gate in others if result.gate(gate) is False]
    audit = [NOT_AUDITED] if result.gate(AUDITED) is None else []
    return [*([f"not ranked: {', '.join(failed)}"] if failed else []), *audit]
