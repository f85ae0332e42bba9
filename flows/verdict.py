"""The flow `verdict`: the scorers of a finished run on trial."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.utilities.annotations import quote
from pydantic import Field

from flows.dead_runs import end_with_worker, note_process
from flows.record import STOP_GRACE_S
from flows.shutdown import end_within
from pgolf.audit.ruleset import DEFAULT
from pgolf.audit.ruleset import ruleset as rules_named
from pgolf.audit.tried_program import train_shards
from pgolf.audit.verdict import Outcome
from pgolf.errors import ConfigError
from pgolf.pipeline.place import Place
from pgolf.pipeline.tried_run import Asked
from tasks.trial_tasks import tell_verdicts, try_scorers

_HERE = Place()


@flow(name="verdict", flow_run_name="verdict on {run}", retries=0)
def verdict(
    run: Annotated[str, Field(min_length=1)],
    scorer: str | None = None,
    every_scorer: bool = False,
    of_seed: int | None = None,
    targets: Annotated[int, Field(ge=0, le=1 << 20)] = 0,
    seed: Annotated[int, Field(ge=0)] = 0,
    thorough: bool = False,
    trained_on: Path | None = None,
    ruleset: str = DEFAULT,
    place: Place = _HERE,
) -> dict[str, Outcome]:
    """Try the scorers of a finished run; a task per scorer logs what was found.

    Returns the outcome by scorer. Raises ConfigError for a run, a scorer or rules that are not there.

    Args:
        run: A finished run, by name or key
        scorer: One scorer, as `pgolf compare --scorer` takes it; empty: one of each kind
        every_scorer: All of them, not one of each kind
        of_seed: Whose outputs; empty: the first seed's
        targets: Of the validation text, from its start; 0: enough for a few windows and chunks
        seed: Of everything that the trial draws
        thorough: Ask at many more places, for many times as long
        trained_on: Folder of the training shards; empty: those of the run's data
        ruleset: Which checks must pass: the name of a rule set, or a file on the machine that runs it
        place: Folders and devices of the machine that runs it; relative paths begin in its PGOLF_HOME
    """
    if every_scorer and scorer is not None:
        raise ConfigError("every_scorer tries all scorers and scorer one of them; leave one of the two out")
    rules = rules_named(ruleset)
    asked = Asked(
        run=run,
        scorer=scorer,
        every=every_scorer,
        of_seed=of_seed,
        targets=targets,
        seed=seed,
        effort="thorough" if thorough else "default",
        trained_on=() if trained_on is None else train_shards(trained_on),
    )
    end_with_worker()
    note_process([run, "verdict"])
    try:
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
