"""Stage `fetch`: download the published token shards and their tokenizer into a data folder.

There is no text to compare bytes with, so it says whether the tokenizer's byte table must be right for these tokens
(`pgolf.corpus.byte_proof`); byte shards that come with the tokens are used, and said not to be verified.
Source of the layout: openai/parameter-golf, data/cached_challenge_fineweb.py and its Hugging Face data set.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.utils.tqdm import tqdm

from pgolf.corpus.byte_proof import unverified
from pgolf.corpus.dataset import MANIFEST_NAME, VAL_BYTES_FILES, ShardKind, inside, shard_name, whole_number
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.corpus.hub import commit_of, translated_errors
from pgolf.corpus.shards import read_shard
from pgolf.corpus.tokenizer import load_tokenizer
from pgolf.corpus.vocabulary import check_vocabulary, vocabulary_digest
from pgolf.errors import FetchError
from pgolf.run_options import Made, Progress, RunOptions

_DIGEST_BLOCK_BYTES = 1 << 22


class _SilentBar(tqdm):
    """The Hub client's progress bar, disabled: progress goes to RunOptions.report."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Remote:
    """One commit of a Hub repository, read through a download cache."""

    repo_id: str
    root: str
    commit: str
    cache_dir: Path | None
    endpoint: str | None
    token: str | bool | None

    def fetch(self, path: str, to: Path) -> None:
        """Download the file at `path` below the remote root to `to`, or take it from the cache.

        The content must match the digest announced by the Hub; a damaged download or cache entry is fetched once more.
        Raises FetchError.
        """
        cached = self._download(path, again=False)
        if not _matches_digest(cached):
            cached = self._download(path, again=True)
            if not _matches_digest(cached):
                raise FetchError(
                    f"{self.name(path)}: downloaded twice, and both times its {cached.stat().st_size} bytes did not "
                    "match the digest announced by the Hub; the connection or a proxy alters data, try another one"
                )
        to.parent.mkdir(parents=True, exist_ok=True)
        # Hard-link if the cache is on the same file system: 80 shards are 16 GB, not worth storing twice.
        try:
            os.link(cached, to)
        except OSError:
            shutil.copyfile(cached, to)

    def _download(self, path: str, *, again: bool) -> Path:
        with translated_errors(self.name(path), self.repo_id, self.commit):
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
        """Full name, for messages, of the file at `path` below the remote root."""
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

    cache_dir: download cache, so that a rerun after an interruption fetches only what is missing (default: the Hub
    client's own cache). endpoint: URL of another hub. token: access token (False: none). None of the three changes the
    result. The local manifest is the published one, reduced to this data set, plus `files_train_fetched`. Raises
    FetchError, ShardError for a published file that is not a shard or whose bytes are not those of the tokens, and
    TokenizerError for a manifest that says other than the tokenizer's file.
    """
    assert not inputs, f"fetch reads no inputs, got {sorted(inputs)}"
    started = time.perf_counter()
    remote = _Remote(
        config.repo_id,
        config.remote_root.strip("/"),
        commit_of(config, endpoint, token),
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
        files_val_bytes = whole_number(dataset["stats"], VAL_BYTES_FILES) if VAL_BYTES_FILES in dataset["stats"] else 0
        if files_val_bytes not in (0, stats["files_val"]):
            raise ValueError(f"{VAL_BYTES_FILES} is {files_val_bytes}, expected one per val shard")
        folder, tokenizer_files = str(dataset["path"]), [str(tokenizer["model_path"])]
        if tokenizer.get("vocab_path"):
            tokenizer_files.append(str(tokenizer["vocab_path"]))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(
            f"{where}: not a manifest in the published format ({type(error).__name__}: {error})"
        ) from error
    if config.train_shards > stats["files_train"]:
        raise FetchError(
            f"{where}: {config.train_shards} train shards requested, {stats['files_train']} are published; "
            f"--set fetch.train_shards={stats['files_train']} is the most"
        )

    wanted: dict[ShardKind, int] = {
        "val": stats["files_val"],
        "val_bytes": files_val_bytes,
        "train": config.train_shards,
    }
    shards = {kind: [f"{folder}/{shard_name(kind, i)}" for i in range(count)] for kind, count in wanted.items()}
    paths = [*tokenizer_files, *(path for of_kind in shards.values() for path in of_kind)]
    size_bytes = 0
    for done, path in enumerate(paths, start=1):
        local = inside(out, path, manifest_path)
        remote.fetch(path, local)
        size_bytes += local.stat().st_size
        run.report(Progress(stage="fetch", done=done, total=len(paths), unit="files", facts={"size_bytes": size_bytes}))
    downloaded = time.perf_counter()

    processor = load_tokenizer(out / tokenizer_files[0])
    for entry in (dataset, tokenizer):
        check_vocabulary(processor, entry, f"{where}, {entry['name']}")
    tokens = {kind: sum(read_shard(out / path).size for path in shards[kind]) for kind in wanted}
    if tokens["val"] != stats["tokens_val"]:
        raise FetchError(
            f"{where}: announces {stats['tokens_val']} validation tokens, the {wanted['val']} val shards hold "
            f"{tokens['val']}; the published shards do not match the manifest"
        )
    val, val_bytes = ([out / path for path in shards[kind]] for kind in ("val", "val_bytes"))
    doubt = unverified(out / tokenizer_files[0], val, val_bytes)
    run.log_line(f"bytes not verified: {doubt}" if doubt else "the byte table is exact for these tokens")
    # The manifest may be a hard link into the cache: replace it, never write into it.
    manifest_path.unlink()
    manifest |= {"datasets": [dataset | {"files_train_fetched": config.train_shards}], "tokenizers": [tokenizer]}
    manifest_path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return Made(
        digests={"vocabulary": vocabulary_digest(processor)},
        phases_s={"download": downloaded - started, "check": time.perf_counter() - downloaded},
        facts={
            "revision": remote.commit,
            "vocab_size": len(processor),
            "tokens_train": tokens["train"],
            "tokens_val": tokens["val"],
            "files": sum(wanted.values()),
            "size_bytes": size_bytes,
            "bytes_verified": not doubt,
            "bytes_unverified": doubt or None,
        },
    )


def _published(manifest: Any, name: str, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest's entries for a data set and for its tokenizer."""
    datasets = {str(entry["name"]): entry for entry in manifest["datasets"]}
    if name not in datasets:
        raise FetchError(
            f"{where}: no data set {name!r}; published: {', '.join(sorted(datasets)) or 'none'}. "
            "Another repository is named by fetch.repo_id, its commit by fetch.revision"
        )
    dataset: dict[str, Any] = datasets[name]
    tokenizers = {str(entry["name"]): entry for entry in manifest["tokenizers"]}
    tokenizer = tokenizers.get(str(dataset["tokenizer_name"]), {})
    if not tokenizer.get("model_path"):
        raise FetchError(f"{where}: data set {name!r} has no SentencePiece model, which is needed to count bytes")
    return dataset, tokenizer


def _matches_digest(blob: Path) -> bool:
    """Whether a file in the Hub's cache matches the digest in its name.

    The cache names a file by its ETag: SHA-256 for large files, git's blob digest for small ones. Any other name says
    nothing about the content and passes.
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
