"""Stage `fetch`: the published token shards and their tokenizer, as a data folder.

Source of the layout: openai/parameter-golf, data/cached_challenge_fineweb.py and its Hugging Face data set.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

# HTTPError is the HTTP library's own, whichever one the hub client is built on.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from pgolf.corpus.dataset import MANIFEST_NAME, Split, inside, shard_name, whole_number
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.corpus.shards import read_shard
from pgolf.corpus.tokenizer import load_tokenizer
from pgolf.errors import FetchError
from pgolf.run import Made, Progress, RunOptions

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST_BLOCK_BYTES = 1 << 22


class _SilentBar(tqdm):
    """The hub's progress bar, switched off: progress goes to RunOptions.report."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Remote:
    """Where files come from: one commit of one repository, through a download cache."""

    repo_id: str
    root: str
    commit: str
    cache_dir: Path | None
    endpoint: str | None
    token: str | bool | None

    def fetch(self, path: str, to: Path) -> None:
        """Bring the file at `path` below the remote root to `to`, unless the cache has it whole already.

        The content must have the digest under which the hub names it; a damaged download or cache entry is fetched
        once more. Raises FetchError.
        """
        cached = self._download(path, again=False)
        if not _has_its_digest(cached):
            cached = self._download(path, again=True)
            if not _has_its_digest(cached):
                raise FetchError(
                    f"{self.name(path)}: downloaded twice, and both times its {cached.stat().st_size} bytes do not "
                    "have the digest the hub announces; the connection or a proxy alters data, try another one"
                )
        to.parent.mkdir(parents=True, exist_ok=True)
        # A link where the cache lies on the same file system: 80 shards are 16 GB that need not exist twice.
        try:
            os.link(cached, to)
        except OSError:
            shutil.copyfile(cached, to)

    def _download(self, path: str, *, again: bool) -> Path:
        with _telling(self.name(path), self.repo_id, self.commit):
            return Path(
                hf_hub_download(
                    self.repo_id,
                    self._path(path),
                    repo_type="dataset",
                    revision=self.commit,
                    cache_dir=self.cache_dir,
                    endpoint=self.endpoint,
                    token=self.token,
                    force_download=again,
                    tqdm_class=_SilentBar,
                )
            ).resolve()

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}" if self.root else path

    def name(self, path: str) -> str:
        """How messages call the file at `path` below the remote root."""
        return f"{self.repo_id}/{self._path(path)}"


def make(
    config: FetchConfig,
    inputs: Mapping[str, Path],
    out: Path,
    run: RunOptions,
    *,
    cache_dir: Path | None = None,
    endpoint: str | None = None,
    token: str | bool | None = None,
) -> Made:
    """Download the manifest, the tokenizer, all val shards and the first train shards into `out`.

    cache_dir: where downloads are kept, so that a rerun after an interruption fetches only what is missing (default:
    the hub client's own cache). endpoint: another hub's address. token: access token (False: none). None of the three
    changes what arrives. The local manifest is the published one, reduced to this data set and with
    `files_train_fetched`. Raises FetchError, and ShardError for a published file that is not a shard.
    """
    assert not inputs, f"fetch reads no inputs, got {sorted(inputs)}"
    started = time.perf_counter()
    remote = _Remote(
        config.repo_id,
        config.remote_root.strip("/"),
        _commit_of(config, endpoint, token),
        cache_dir,
        endpoint,
        token,
    )
    manifest_path = out / MANIFEST_NAME
    remote.fetch(MANIFEST_NAME, manifest_path)
    where = remote.name(MANIFEST_NAME)
    try:
        manifest = json.loads(manifest_path.read_bytes())
        dataset, tokenizer = _published(manifest, f"fineweb10B_{config.variant}", where)
        stats = {name: whole_number(dataset["stats"], name) for name in ("files_val", "files_train", "tokens_val")}
        folder, tokenizer_files = str(dataset["path"]), [str(tokenizer["model_path"])]
        if tokenizer.get("vocab_path"):
            tokenizer_files.append(str(tokenizer["vocab_path"]))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(f"{where}: not a manifest as published ({type(error).__name__}: {error})") from error
    if config.train_shards > stats["files_train"]:
        raise FetchError(
            f"{where}: {config.train_shards} train shards asked for, {stats['files_train']} are published; "
            f"set train_shards to at most {stats['files_train']}"
        )

    wanted: dict[Split, int] = {"val": stats["files_val"], "train": config.train_shards}
    shards = {split: [f"{folder}/{shard_name(split, i)}" for i in range(count)] for split, count in wanted.items()}
    paths = [*tokenizer_files, *shards["val"], *shards["train"]]
    size_bytes = 0
    for done, path in enumerate(paths, start=1):
        local = inside(out, path, manifest_path)
        remote.fetch(path, local)
        size_bytes += local.stat().st_size
        run.report(Progress(stage="fetch", done=done, total=len(paths), unit="files", facts={"size_bytes": size_bytes}))
    downloaded = time.perf_counter()

    processor = load_tokenizer(out / tokenizer_files[0])
    tokens = {split: sum(read_shard(out / path).size for path in shards[split]) for split in wanted}
    if tokens["val"] != stats["tokens_val"]:
        raise FetchError(
            f"{where}: announces {stats['tokens_val']} validation tokens, the {wanted['val']} val shards hold "
            f"{tokens['val']}; the published shards and manifest do not belong together"
        )
    # The cached manifest may be the same file under another name: replace it, never write into it.
    manifest_path.unlink()
    manifest |= {"datasets": [dataset | {"files_train_fetched": config.train_shards}], "tokenizers": [tokenizer]}
    manifest_path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return Made(
        phases_s={"download": downloaded - started, "check": time.perf_counter() - downloaded},
        facts={
            "revision": remote.commit,
            "vocab_size": len(processor),
            "tokens_train": tokens["train"],
            "tokens_val": tokens["val"],
            "files": wanted["val"] + wanted["train"],
            "size_bytes": size_bytes,
        },
    )


@contextmanager
def _telling(name: str, repo_id: str, revision: str) -> Iterator[None]:
    """Turn what the hub client raises into a FetchError that names the file and says what to do."""
    try:
        yield
    except RepositoryNotFoundError as error:
        raise FetchError(f"{name}: the data set repository {repo_id} does not exist, or needs a token") from error
    except RevisionNotFoundError as error:
        raise FetchError(f"{name}: {repo_id} has no revision {revision!r}") from error
    except RemoteEntryNotFoundError as error:
        raise FetchError(f"{name}: the file is missing at revision {revision}; ask for what is published") from error
    except (HTTPError, OSError) as error:
        # With an errno it is this machine's own trouble (a full disk), which keeps its type.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FetchError(
            f"{name}: download failed ({_first_line(error)}); run again, complete files are kept"
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _commit_of(config: FetchConfig, endpoint: str | None, token: str | bool | None) -> str:
    """The commit a branch or tag stands for now, so that all files come from one state of the repository."""
    if _COMMIT.fullmatch(config.revision):
        return config.revision
    path = f"{config.remote_root.strip('/')}/{MANIFEST_NAME}".removeprefix("/")
    url = hf_hub_url(config.repo_id, path, repo_type="dataset", revision=config.revision, endpoint=endpoint)
    with _telling(f"{config.repo_id}/{path}", config.repo_id, config.revision):
        commit = get_hf_file_metadata(url, token=token, endpoint=endpoint).commit_hash
    if commit is None:
        raise FetchError(f"{url}: the server names no commit, so it does not speak the hub's protocol")
    return commit


def _published(manifest: Any, name: str, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest's entries of one data set and of its tokenizer."""
    datasets = {str(entry["name"]): entry for entry in manifest["datasets"]}
    if name not in datasets:
        raise FetchError(f"{where}: no data set {name!r}; published are {', '.join(sorted(datasets)) or 'none'}")
    dataset: dict[str, Any] = datasets[name]
    tokenizers = {str(entry["name"]): entry for entry in manifest["tokenizers"]}
    tokenizer = tokenizers.get(str(dataset["tokenizer_name"]), {})
    if not tokenizer.get("model_path"):
        raise FetchError(f"{where}: data set {name!r} has no SentencePiece model; its bytes could not be counted")
    return dataset, tokenizer


def _has_its_digest(blob: Path) -> bool:
    """Whether a file in the hub's cache has the content its name promises.

    The cache names a file by its ETag: sha256 for large files, git's blob digest for small ones. Under any other name
    nothing is promised.
    """
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return True
    with open(blob, "rb") as file:
        while block := file.read(_DIGEST_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == blob.name
