"""Client of the user's Prefect server, with a clear error if it cannot be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from pgolf.errors import ConfigError


@contextmanager
def configured_server() -> Iterator[SyncPrefectClient]:
    """A client of the server at PREFECT_API_URL. Raises ConfigError if it does not answer or rejects us."""
    url = os.environ["PREFECT_API_URL"]
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise ConfigError(
            f"{url} responds with HTTP status {error.response.status_code}; if it is 401, set PREFECT_API_AUTH_STRING "
            "to the server's user:password"
        ) from None
    except (httpx.HTTPError, RuntimeError) as error:
        raise ConfigError(
            f"no Prefect server answers at {url}: {error}; start that server, or unset PREFECT_API_URL"
        ) from None
