"""The flow `verdict`: the scorers of a finished run on trial, or a program with its submission."""

from collections.abc import Mapping
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.utilities.annotations import quote
from pydantic import Field

from flows.dead_runs import end_with_worker, note_process
from flows.record import STOP_GRACE_S
from flows.shutdown import end_within
from pgolf.audit.program_process import Limits
from pgolf.audit.ruleset import DEFAULT
from pgolf.audit.ruleset import ruleset as rules_named
from pgolf.audit.tried_program import train_shards
from pgolf.audit.verdict import Outcome
from pgolf.errors import ConfigError
from pgolf.pipeline.place import Place
from pgolf.pipeline.program_trial import AskedProgram
from pgolf.pipeline.tried_run import Asked
from tasks.trial_tasks import tell_verdicts, try_program, try_scorers

_HERE = Place()
# What belongs to one of the two and means nothing for the other.
_OF_RUN = ("scorer", "every_scorer", "longest_row")
_OF_PROGRAM = (
    *("tokens", "tokenizer", "folder", "show", "declare", "piece_targets", "reported_bpb", "reported_loss"),
    *("size_bytes", "whole_text", "start_s", "answer_s", "evaluation_s"),
)
_LIMITS = Limits()


def _name() -> str:
    parameters = flow_run.parameters
    return f"verdict on {parameters['run'] or parameters['program']}"


@flow(name="verdict", flow_run_name=_name, retries=0)
def verdict(
    run: Annotated[str, Field(min_length=1)] | None = None,
    scorer: str | None = None,
    every_scorer: bool = False,
    of_seed: int | None = None,
    targets: Annotated[int, Field(ge=0, le=1 << 20)] = 0,
    longest_row: Annotated[int, Field(ge=2)] | None = None,
    seed: Annotated[int, Field(ge=0)] | None = None,
    thorough: bool = False,
    trained_on: Path | None = None,
    ruleset: str = DEFAULT,
    program: Annotated[str, Field(min_length=1)] | None = None,
    tokens: Path | None = None,
    tokenizer: Path | None = None,
    folder: Path | None = None,
    show: tuple[Path, ...] = (),
    declare: tuple[str, ...] = (),
    piece_targets: Annotated[int, Field(ge=1)] | None = None,
    reported_bpb: Annotated[Decimal, Field(gt=0)] | None = None,
    reported_loss: Annotated[Decimal, Field(gt=0)] | None = None,
    size_bytes: Annotated[int, Field(ge=0)] | None = None,
    whole_text: bool = False,
    start_s: float = _LIMITS.start_s,
    answer_s: float = _LIMITS.answer_s,
    evaluation_s: float = _LIMITS.evaluation_s,
    place: Place = _HERE,
) -> dict[str, Outcome]:
    """Try the scorers of a finished run, or a program with its submission; tasks log what was found.

    Returns the outcome by scorer. Raises ConfigError for a run, a scorer, a program or rules that are not there.

    Args:
        run: A finished run, by name or key; empty for a program
        scorer: One scorer, as `pgolf compare --scorer` takes it; empty: one of each kind
        every_scorer: All of them, not one of each kind
        of_seed: Whose outputs; empty: the recipe's first; of a submission whose model the program evaluates
        targets: Of the validation text, from its start; 0: enough for a few windows and chunks, for a program 2,048
        longest_row: Of a run: rows of so many tokens at most, as in its own trial; empty: as scored
        seed: Of everything that the trial draws; empty: 0, for a program one that nobody knows before
        thorough: Ask at many more places, for many times as long
        trained_on: Folder of the training shards; empty: those of the run's data
        ruleset: Which checks must pass: the name of a rule set, or a file on the machine that runs it
        program: In place of a run: any program, as typed in its folder
        tokens: Of a program: a token shard, or a data folder
        tokenizer: Of a program: default is that of the data folder
        folder: Of a program: its folder, and its submission if there is one in it
        show: Of a program: further folders that it finds
        declare: Of a program: what its author says, such as documents_apart=true
        piece_targets: Of a program: tokens that its own run reads at a time; empty: all at once
        reported_bpb: Of a program: its val_bpb of all tokens; empty: of submission.json
        reported_loss: Of a program: its val_loss of them, nats per token; empty: of submission.json
        size_bytes: Of a program: code and model, as its author counts them
        whole_text: Of a program: score all tokens once, and hold the report against that
        start_s: Of a program: time for its first answer
        answer_s: Of a program: time for each answer
        evaluation_s: Of a program: time for an evaluation
        place: Folders and devices of the machine that runs it; relative paths begin in its PGOLF_HOME
    """
    given = dict(locals())
    _refuse_mixed(given)
    if every_scorer and scorer is not None:
        raise ConfigError("every_scorer tries all scorers and scorer one of them; leave one of the two out")
    rules = rules_named(ruleset)
    common: dict[str, Any] = {"of_seed": of_seed, "effort": "thorough" if thorough else "default"}
    if program is not None:
        own = {name: given[name] for name in _OF_PROGRAM}
        asked_program = AskedProgram(
            program=program, seed=seed, targets=targets or None, train_shards=trained_on, **own, **common
        )
        asked_program.check()
    else:
        assert run is not None
        shards = () if trained_on is None else train_shards(trained_on)
        asked = Asked(
            run=run,
            seed=seed or 0,
            scorer=scorer,
            every=every_scorer,
            targets=targets,
            longest_row=longest_row,
            trained_on=shards,
            **common,
        )
    end_with_worker()
    note_process([run or "program", "verdict"])
    try:
        if program is not None:
            return {program: try_program(quote(asked_program), quote(rules), quote(place))}
        found = try_scorers(quote(asked), quote(rules), quote(place))
        told = {
            one.name: tell_verdicts.with_options(
                name=f"verdict[{one.name}]", task_run_name=f"verdict[{one.name}]"
            ).submit(quote(one), quote(rules))
            for one in found.scorers
        }
        return {name: future.result() for name, future in told.items()}
    except BaseException as error:
        if not isinstance(error, Exception):  # SIGTERM, Ctrl-C, cancelled
            end_within(STOP_GRACE_S)
        raise


def _refuse_mixed(given: Mapping[str, Any]) -> None:
    """Raises ConfigError unless it is a run or a program, and nothing is given that only the other takes."""
    if (given["run"] is None) == (given["program"] is None):
        raise ConfigError("a trial is of a run, by its name, or of a program, as typed in its folder: give one of them")
    whose, others = ("run", _OF_PROGRAM) if given["program"] is None else ("program", _OF_RUN)
    defaults = {name: one.default for name, one in signature(verdict.fn).parameters.items()}
    if wrong := [name for name in others if given[name] != defaults[name]]:
        raise ConfigError(f"{', '.join(wrong)} means nothing for a {whose}; leave it out")
