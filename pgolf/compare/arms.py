"""An arm of a comparison: the runs that were asked for, one scorer of theirs, and its score for every seed.

Rows of other runs never join, even those of the same configuration: a mean over seeds that nobody asked for is a choice
of seeds. Several runs make one arm only where they are named together (`first,second`).
"""

import difflib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import pyarrow as pa

from pgolf.errors import ConfigError, ResultsError
from pgolf.tables.declared_seeds import NOTHING_DECLARED, DeclaredSeeds, MissingSeed, missing_notes
from pgolf.tables.filters import Condition, parse_conditions
from pgolf.tables.gates import DECLARED, GATES
from pgolf.tables.named_runs import Run, rows_of, run_named
from pgolf.tables.ranked import ScorerResult, scorer_results
from pgolf.tables.schema import SCORER, SCORES
from pgolf.tables.scorer_names import settings_of, told_apart
from pgolf.tables.texts import Text, text_of

HEADLINE, NETWORK = "headline", "network"

# A score that fails these is no code length, and has nothing to be compared with.
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
    return text if text in (HEADLINE, NETWORK) else parse_conditions(text.split())


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
    result, notes = _scorer_of(asked, results, scorer)
    wrong = [GATES[gate].failed for gate in _HONEST if result.gate(gate) is False]
    if wrong and only_honest:
        raise ResultsError(
            f"{asked}: {scorer_text(result)} is {' and '.join(wrong)}, so its score is no code length and is compared "
            "with nothing; name another scorer (--scorer network)"
        )
    by_seed = {seed: Score(row["loss_nats"], row["bpb"]) for seed, row in result.by_seed.items()}
    names = [run.name if asked == run.key or run.key.startswith(asked) else asked for run in chosen]
    name = names[0] if len(chosen) == 1 else asked
    missing = declared.missing_of(result.config_keys)
    elsewhere = declared.seeds_of(result.config_keys) - {one.seed for one in missing} - set(by_seed)
    notes += [*missing_notes(missing), *_left_out(elsewhere), *cautions(result)]
    return Arm(
        name=name,
        runs=chosen,
        result=result,
        text=text,
        by_seed=by_seed,
        networks=dict(zip(own.column("seed").to_pylist(), own.column("checkpoint_sha256").to_pylist())),
        grid=tuple(results),
        missing=missing,
        elsewhere=tuple(sorted(elsewhere)),
        n_declared=declared.count(result.config_keys, by_seed),
        notes=tuple(notes),
    )


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


def _scorer_of(
    asked: str, results: Sequence[ScorerResult], scorer: Sequence[Condition] | str
) -> tuple[ScorerResult, list[str]]:
    """The scorer that is compared, and what to say of the choice."""
    network = next((result for result in results if _estimator(result) == "neural"), None)
    if scorer == NETWORK or (scorer == HEADLINE and not any(result.gate("declared") for result in results)):
        if network is None:
            raise ConfigError(f"{asked}: its rows have no score of the network alone")
        return network, [] if scorer == NETWORK else ["no headline is in its rows: the network alone is compared"]
    if scorer == HEADLINE:
        declared = [result for result in results if result.gate("declared")]
        honest = [result for result in declared if all(result.gate(gate) is not False for gate in _HONEST)]
        if not honest:
            legacy = ", ".join(map(scorer_text, declared))
            if network is None or any(network.gate(gate) is False for gate in _HONEST):
                return declared[0], []
            return network, [f"its headline ({legacy}) is no code length: the network alone is compared"]
        honest.sort(key=lambda result: (*_ORDER, _estimator(result)).index(_estimator(result)))
        notes = [] if honest[0].standing == "before scoring" else [_chosen_late(honest[0])]
        if others := ", ".join(told_apart(honest, scorer_text)[1:]):
            notes.append(f"also declared: {others} (--scorer compares another)")
        return honest[0], notes
    assert not isinstance(scorer, str)
    _refuse_unknown(results, scorer)
    found = [result for result in results if all(_fits(result, condition) for condition in scorer)]
    if len(found) == 1:
        return found[0], [] if found[0].standing in ("no choice", "before scoring") else [_chosen_late(found[0])]
    said = " ".join(map(str, scorer))
    there = told_apart(found or results, scorer_text)
    shown = "; ".join(there[:6]) + (f" and {len(there) - 6} more" if len(there) > 6 else "")
    if found:
        raise ConfigError(f"{asked}: {len(found)} scorers are {said}: {shown}; name one by more settings")
    raise ConfigError(f"{asked}: no scorer is {said}; there are {shown}")


def _chosen_late(result: ScorerResult) -> str:
    return (
        f"{scorer_text(result)} was not declared before scores of this text were there, which may have been seen: p "
        "holds for scorers named before"
    )


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


def _left_out(elsewhere: Set[int]) -> list[str]:
    """Declared seeds that have a result, and not in the runs of this arm."""
    seeds = ", ".join(map(str, sorted(elsewhere)))
    several = "s" if len(elsewhere) > 1 else ""
    return [f"declared seed{several} {seeds} of this configuration: scored in other runs"] if elsewhere else []


def _estimator(result: ScorerResult) -> str:
    return str(result.scorer[SCORER.index("estimator")])


def cautions(result: ScorerResult) -> list[str]:
    """Gates that it fails, though its losses are code lengths."""
    others = [gate for gate in GATES if gate not in (*_HONEST, DECLARED)]
    failed = [GATES[gate].failed for gate in others if result.gate(gate) is False]
    return [f"not ranked: {', '.join(failed)}"] if failed else []
