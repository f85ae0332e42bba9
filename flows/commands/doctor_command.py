"""`pgolf doctor`: every check of this node, each finding with its remedy."""

import argparse
import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows.commands.arguments import add_json, add_set, add_store, given_path, store_place
from flows.commands.folding import folded
from flows.commands.streams import hand_over, show
from flows.settings import Setting, auth_string, prefect_home, refuse_unwritable_home, server, without_secrets
from pgolf.errors import ConfigError, LeaseError, PgolfError
from pgolf.identity.loopback import is_loopback
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.node_checks import (
    FETCH,
    Check,
    check_clock,
    check_data,
    check_gpus,
    check_python,
    check_space,
    check_store,
    check_versions,
    needs,
)
from pgolf.pipeline.place import Place, lease_dir
from pgolf.pipeline.plan import GLANCE_BYTES, Step, make_plan
from pgolf.pipeline.revisions import pin
from pgolf.recipes.recipe import Recipe
from pgolf.store.remote import Remote

MARKS = {True: "✓", False: "✗", None: "-"}
ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 1 << 20  # of a server's answer


EXAMPLES = """examples:
  pgolf doctor                                     what this node has, and what it lacks
  pgolf doctor pr792 --json                        disk space and data for this recipe, too
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name from `pgolf recipes`")
    add_set(parser)
    add_store(parser)
    parser.add_argument(
        "--documents", type=given_path, metavar="PATH", help="documents to tokenize: a file or a folder"
    )
    parser.add_argument(
        "--data", type=given_path, metavar="DIR", help="shards that are on disk already, with their tokenizer"
    )
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per check; returns 1 if there is a finding."""
    checks = list(all_checks(arguments))
    if arguments.json:
        hand_over(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            set_in = " " * (width + 4)
            show(folded(f"{MARKS[check.ok]} {check.name:<{width}}  {check.said}", indent=set_in))
            if check.remedy:
                show(folded(f"{set_in}→ {check.remedy}", indent=f"{set_in}  "))
    return int(any(check.ok is False for check in checks))


def all_checks(arguments: argparse.Namespace) -> Iterator[Check]:
    """In the order in which a new node is set up."""
    documents = arguments.documents and arguments.documents.absolute()
    data = arguments.data and arguments.data.absolute()
    place = store_place(arguments, documents=documents, data=data)
    option = "--store" if place.remote is None else "--cache"
    recipe = _recipe(arguments)
    yield check_python()
    yield check_versions(ROOT / "constraints.txt")
    found, ahead_s = check_configured_server()
    yield found
    yield check_prefect_home()
    yield from check_gpus_and_leases()
    yield check_store(place.store, option)
    if place.remote is not None:
        yield check_object_store(place.remote)
    if recipe is None:
        yield from check_space(place.store, option=option)
    else:
        yield from _recipe_checks(recipe, place, option)
    yield check_clock([place.store, ROOT], ahead_s)
    said = "what these devices compute, and how fast, is not looked at here"
    yield Check("selftest", None, said, "before the first run: `pgolf selftest` (3 minutes on a GPU)")


def _recipe_checks(recipe: Recipe, place: Place, option: str) -> Iterator[Check]:
    """Whether this node has the recipe's data, and room for what is still to be made."""
    store = cache(place.open_store)

    @cache
    def steps() -> tuple[Step, ...]:
        pinned = pin(recipe.fetch, store(), place.sources()).of(recipe)
        nodes = pipeline(pinned, place.sources(), place.run_options())
        return make_plan(nodes, store(), place.memo(), most_read_bytes=GLANCE_BYTES)

    data = check_data(steps)
    yield data
    if data.ok or data.remedy == FETCH:
        yield from check_space(place.store, needs(steps(), recipe, store()), option=option)
    else:
        unknown = "mend the data first, then run this again to compare with what the recipe needs"
        yield from check_space(place.store, option=option, unknown=unknown)


def check_object_store(url: str) -> Check:
    """Whether the service answers, and takes these credentials."""
    try:
        Remote(url).size_bytes("records/none.json")
    except PgolfError as error:
        return Check("object store", False, str(error), "set what it names, then run this again")
    return Check("object store", True, f"{url} answers")


def _recipe(arguments: argparse.Namespace) -> Recipe | None:
    from pgolf.recipes.overrides import apply_overrides
    from pgolf.recipes.recipe_file import find_recipe

    return apply_overrides(find_recipe(arguments.recipe), arguments.overrides) if arguments.recipe else None


def check_prefect_home() -> Check:
    """Whether Prefect can keep its database."""
    try:
        refuse_unwritable_home()
    except PgolfError as error:
        return Check("prefect", False, str(error), "set what it names, then run this again")
    return Check("prefect", True, f"keeps its database in {prefect_home()}")


def check_configured_server() -> tuple[Check, float | None]:
    """As `check_server`, of what is configured."""
    try:
        return check_server(server(), auth_string())
    except ConfigError as error:
        return Check("server", False, str(error), "do what it says, then run this again"), None


def check_gpus_and_leases() -> Iterator[Check]:
    """As `check_gpus`, where this machine's devices are leased."""
    try:
        folder = lease_dir()
    except LeaseError as error:
        yield Check("leases", False, str(error), "do what it says, then run this again")
    else:
        yield from check_gpus(folder)


def check_server(configured: Setting | None, password: Setting | None) -> tuple[Check, float | None]:
    """Whether the Prefect server answers, with which version, and whether strangers can use it.

    The second value: seconds by which this clock is ahead of the server's, to about a second.
    """
    if configured is None:
        remedy = (
            "for deployments: `prefect server start --host 127.0.0.1` and PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
        return Check("server", None, "PREFECT_API_URL is not set: runs use a server of their own", remedy), None
    url, named = urlsplit(configured.value), str(configured)
    auth, host = password.value if password else None, url.netloc.rpartition("@")[2]
    if auth is None and url.username is not None:
        auth = f"{unquote(url.username)}:{unquote(url.password or '')}"
    try:
        request = urllib.request.Request(f"{url.scheme}://{host}{url.path}/admin/version")
        if auth:
            request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            version, date = json.loads(answer.read(_MOST_BYTES)), answer.headers.get("Date")
        ahead_s = time.time() - parsedate_to_datetime(date).timestamp() if date else None
    except urllib.error.HTTPError as error:
        remedy = "set PREFECT_API_AUTH_STRING to its user:password" if error.code in (401, 403) else "correct the URL"
        return Check("server", False, f"{named} answers {error.code}", remedy), None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        reason = without_secrets(str(getattr(error, "reason", error)) or type(error).__name__)
        return Check("server", False, f"{named}: {reason}", f"start it, or correct {configured.source}"), None
    said = f"{named} answers, Prefect {version}"
    installed = _installed("prefect")
    if installed != version:
        return Check("server", False, f"{said}; here {installed}", "install the same version on both"), ahead_s
    if not auth and not is_loopback(url.hostname or ""):
        remedy = "set PREFECT_SERVER_API_AUTH_STRING there and PREFECT_API_AUTH_STRING here, or bind it to 127.0.0.1"
        return Check(
            "server", False, f"{said}, to anybody who reaches it: whoever does can run code here", remedy
        ), ahead_s
    return Check("server", True, said), ahead_s


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
