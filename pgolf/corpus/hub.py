"""Ask the Hugging Face Hub which commit a name stands for, and say what went wrong in our own words."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import get_hf_file_metadata, hf_hub_url

# HTTPError is the HTTP library's own, whichever one the hub client is built on.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pgolf.corpus.dataset import MANIFEST_NAME
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.errors import DownloadFailed, FetchError

# What the Hub has answered; all else may be another answer tomorrow.
ANSWERS = (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError)


def commit_of(config: FetchConfig, endpoint: str | None = None, token: str | bool | None = None) -> str:
    """Resolve a branch or tag to its current commit, so that all files come from one state of the repository.

    Asks nobody for what is a commit already. Raises FetchError, with one of ANSWERS as its cause where there is one.
    """
    if config.is_pinned:
        return config.revision
    path = f"{config.remote_root.strip('/')}/{MANIFEST_NAME}".removeprefix("/")
    url = hf_hub_url(config.repo_id, path, repo_type="dataset", revision=config.revision, endpoint=endpoint)
    with translated_errors(f"{config.repo_id}/{path}", config.repo_id, config.revision):
        commit = get_hf_file_metadata(url, token=token, endpoint=endpoint).commit_hash
    if commit is None:
        raise FetchError(f"{url}: the server reports no commit, so it does not speak the Hub's protocol")
    return commit


@contextmanager
def translated_errors(name: str, repo_id: str, revision: str) -> Iterator[None]:
    """Turn errors of the Hub client into a FetchError that names the file and says what to do."""
    try:
        yield
    except RepositoryNotFoundError as error:
        raise FetchError(f"{name}: the data set repository {repo_id} does not exist, or needs a token") from error
    except RevisionNotFoundError as error:
        raise FetchError(f"{name}: {repo_id} has no revision {revision!r}") from error
    except RemoteEntryNotFoundError as error:
        raise FetchError(f"{name}: the file is missing at revision {revision}; request a published one") from error
    except (HTTPError, OSError) as error:
        # An errno means a local problem (a full disk): let it through.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DownloadFailed(
            f"{name}: download failed ({first_line(error)}); run again, finished files are kept"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line that an error's text has, or else its name."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
