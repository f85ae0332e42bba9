"""Client of the user's Prefect server, with a clear error if it cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from flows.settings import server, without_secrets
from pgolf.errors import ConfigError


@contextmanager
def configured_server() -> Iterator[SyncPrefectClient]:
    """A client of the server that is configured. Raises ConfigError if it does not answer or rejects us."""
    configured = server()
    assert configured is not None, "asked for without a server"
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise ConfigError(
            f"{configured} responds with HTTP status {error.response.status_code}; if it is 401, set "
            "PREFECT_API_AUTH_STRING to the server's user:password"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"no Prefect server answers at {without_secrets(configured.value)}: {without_secrets(str(error))}; start "
            f"that server, or unset {configured.source}"
        ) from None
