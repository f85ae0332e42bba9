"""The tasks of a trial: one that asks a run's scorers, one per scorer that tells its verdicts; one for a program."""

import logging
from collections.abc import Sequence

from prefect import get_run_logger, task

from pgolf.audit.ruleset import Ruleset
from pgolf.audit.verdict import Outcome, Verdict
from pgolf.pipeline.place import Place
from pgolf.pipeline.program_trial import AskedProgram, program_on_trial
from pgolf.pipeline.run_outputs import Workshop
from pgolf.pipeline.tried_run import Asked, TriedRun, TriedScorer, tried_run
from tasks.artifacts import show_program_verdicts, show_verdicts
from tasks.listening import TaskListener
from tasks.retries import may_pass

_LEVELS: dict[Outcome, int] = {"fail": logging.WARNING, "inconclusive": logging.WARNING}


@task(name="audit", task_run_name="audit", retry_condition_fn=may_pass)
def try_scorers(asked: Asked, rules: Ruleset, place: Place) -> TriedRun:
    """Try the scorers, or open what an earlier trial of the same found; write their page, and show it as artifacts."""
    store, memo, log = place.open_store(), place.memo(), get_run_logger()
    with store.using(f"flow verdict {asked.run}", log.info):
        shop = Workshop(
            store=store,
            memo=memo,
            run=place.run_options(),
            listener=TaskListener(progress_key="audit"),
            results=place.results,
        )
        try:
            found = tried_run(asked, rules, shop, say=log.info)
        finally:
            store.save_memo()
            memo.save()
    show_verdicts(found, found.write(place.results))
    return found


@task(name="audit", task_run_name="audit", retry_condition_fn=may_pass)
def try_program(asked: AskedProgram, rules: Ruleset, place: Place) -> Outcome:
    """Try a program; log each verdict, write a page of them, and show them as artifacts."""
    log = get_run_logger()
    found = program_on_trial(asked, rules, say=log.info)
    _tell(found.verdicts)
    log.log(_LEVELS.get(found.outcome, logging.INFO), "%s: %s by %s", found.name, found.outcome, rules.label)
    page = found.write(place.results / "reports" / f"{found.id}.html", option="results")
    show_program_verdicts(found, page)
    return found.outcome


@task(name="verdict", task_run_name="verdict", retry_condition_fn=may_pass)
def tell_verdicts(scorer: TriedScorer, rules: Ruleset) -> Outcome:
    """Log what each check found of one scorer, and what it comes to; a scorer that fails is no failure of the task."""
    log = get_run_logger()
    _tell(scorer.verdicts)
    level = _LEVELS.get(scorer.outcome, logging.INFO)
    log.log(level, "%s, %s: %s by %s", scorer.name, scorer.said, scorer.outcome, rules.label)
    return scorer.outcome


def _tell(verdicts: Sequence[Verdict]) -> None:
    log = get_run_logger()
    for verdict in verdicts:
        settles = f"; what would settle it: {verdict.finding.settles}" if verdict.finding.settles else ""
        level = _LEVELS.get(verdict.outcome, logging.INFO)
        log.log(
            level, "%s %s: %s, %s%s", verdict.number, verdict.name, verdict.outcome, verdict.finding.because, settles
        )
