"""When Prefect may run a task again: how often is the user's setting, but no error of ours that stands is retried."""

from typing import Any

from pgolf.errors import PgolfError


def may_pass(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether the failure may pass by itself: a crash, a network or a store, but not a budget that nothing meets."""
    error = state.data
    return not isinstance(error, PgolfError) or error.may_pass
