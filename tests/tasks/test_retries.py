"""What Prefect may run again: failures that may pass by themselves, under whatever retries the user has set."""

import pytest
from prefect.states import Failed

from flows.record import record
from flows.sweep import sweep
from pgolf import errors
from pgolf.errors import BudgetExceeded, DownloadFailed, LaunchError, PgolfError, RanksDiffer, StoreUnreachable
from tasks.report import report_results
from tasks.retries import may_pass
from tasks.stage_tasks import TASKS

OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PgolfError)]


@pytest.mark.parametrize("kind", OURS)
def test_of_our_errors_only_those_of_a_network_or_a_crashed_process_may_pass(kind):
    retried = may_pass(None, None, Failed(data=kind("said in numbers")))
    assert retried == (kind in (DownloadFailed, StoreUnreachable, LaunchError, RanksDiffer))


def test_what_is_not_ours_is_left_to_the_users_setting():
    assert may_pass(None, None, Failed(data=RuntimeError("of a library")))
    assert may_pass(None, None, Failed(message="without an exception"))


@pytest.mark.parametrize("task", [*TASKS.values(), report_results], ids=lambda task: task.name)
def test_every_task_asks_and_keeps_asking_under_other_options(task):
    assert task.retry_condition_fn is may_pass
    # As `flows.record.submit` takes it, with the user's retries.
    assert task.with_options(task_run_name="compress[1]", retries=3).retry_condition_fn is may_pass


def test_a_flow_is_not_run_again_as_a_whole():
    assert record.retries == sweep.retries == 0


def test_an_error_that_a_rank_reports_keeps_its_kind():
    kind = BudgetExceeded.__name__
    assert not getattr(errors, kind)("from its failure file").may_pass
