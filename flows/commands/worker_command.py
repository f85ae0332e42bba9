"""`pgolf worker`: take runs from a Prefect server, after checking and preparing what that needs."""

import argparse
import asyncio
import os
from pathlib import Path

from flows.commands.streams import tell
from flows.settings import apply_settings, refuse_unusable_settings, server_configured, use_passive_openmp
from pgolf.errors import ConfigError
from pgolf.pipeline.place import lease_dir

HOME = "PGOLF_HOME"


EXAMPLES = """examples:
  pgolf worker                                     take runs from the server in PREFECT_API_URL, one at a time
  pgolf worker --pool gpu-node --limit 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--pool", default="gpu-node", metavar="NAME", help="process work pool (default: %(default)s)")
    parser.add_argument(
        "--limit", type=int, default=1, metavar="N", help="runs at once on this node (default: %(default)s)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Prepare pool and the watch on heartbeats, then work in the foreground until told to end."""
    if arguments.limit < 1:
        raise ConfigError(f"--limit is {arguments.limit}; a worker takes at least 1 run at once")
    if not server_configured():
        raise ConfigError(
            "PREFECT_API_URL is not set, nor does Prefect's active profile have it, so there is no server to take runs "
            "from; start one with `prefect server start --host 127.0.0.1` and export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    apply_settings(quiet=False)
    refuse_unusable_settings()
    use_passive_openmp()
    leases = lease_dir()
    # Where the deployments' pull step goes.
    os.environ.setdefault(HOME, str(Path(__file__).resolve().parents[2]))

    from flows.node_worker import prepare_server, serve
    from flows.prefect_server import configured_server

    with configured_server() as client:
        said = prepare_server(client, arguments.pool, arguments.limit)
    tell(f"{said}; leases in {leases}; runs start in {os.environ[HOME]}")
    asyncio.run(serve(arguments.pool, arguments.limit))
    tell("stopped; finished stages are kept and will be reused")
    return 0
