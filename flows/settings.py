"""Prefect settings for pgolf, applied before Prefect is imported; the user's own settings take precedence.

Reasons, measured: the in-process server needs more than the default 20 s on a cold start; task states of short runs are
lost unless the recorder writes in batches; an in-memory lease outlives its holder. `prefect.toml` sets the same for
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
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # whole seconds: Prefect truncates 0.5 to 0
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pgolf",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
# The command line prints its own stage lines; Prefect's INFO lines still reach the run's log in the UI.
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}


def apply_settings(*, quiet: bool) -> None:
    """Set environment variables that the user has not set; quiet: keep Prefect's own lines off the console."""
    for name, value in (SETTINGS | (QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)


def use_passive_openmp() -> None:
    """Make idle OpenMP threads sleep instead of spin, which slows a busy machine badly. Call before importing torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def server_configured() -> bool:
    """Whether the user has configured a Prefect server."""
    return bool(os.environ.get("PREFECT_API_URL"))
