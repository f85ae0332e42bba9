"""Prefect's settings for pgolf, set before Prefect is first imported; anything the user has set wins.

Measured reasons: the in-process server needs more than the default 20 s on a cold start; task states of short runs are
lost unless the recorder writes in batches; a lease in memory outlives its holder. `prefect.toml` says the same for
commands run from the checkout (Prefect reads it from the current folder only).
"""

import os

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # whole seconds: of 0.5 Prefect makes 0
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pgolf",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
# The command line prints stage lines of its own; Prefect's INFO lines still reach the run's log in the UI.
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}


def apply_settings(*, quiet: bool) -> None:
    """Put the settings into the environment where the user has not; quiet keeps Prefect's own lines off the console."""
    for name, value in (SETTINGS | (QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)


def calm_threads() -> None:
    """Have idle OpenMP threads sleep, before torch is loaded: spinning, they cost a busy machine most of its time."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def server_configured() -> bool:
    """Whether the user has pointed Prefect at a server of their own."""
    return bool(os.environ.get("PREFECT_API_URL"))
